"""`torch.ops.edgesr.span_attn(x, f, w, b)`: SPANV2's gate (x + f) * (W f + b) as one operator of PyTorch.

x, f: (N, C, H, W) in any strides, float16, bfloat16, float32 or float64; w: (C, C, 1, 1); b: (C,); all of one dtype and
device. The output has x's memory format: channels_last where x is that and not contiguous, else contiguous.

On a CUDA device the Triton kernel runs, or the call fails with the line that installs Triton: nothing falls back. Every
other device, and float64 everywhere (the kernel accumulates in float32), runs the native operators. To it belong
gradients of any order, autocast to the dtype that was asked for, fake tensors (torch.compile, torch.export) and the
decomposition to native operators (`edgesr.span_gate`). With s = x + f, g = W f + b and the output's gradient u:

    dx = u g        df = u g + W^T (u s)        dW = sum (u s) f^T        db = sum u s

Nothing is registered at import: `span_attn_operator()` defines the operator once and returns it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from edgesr.span_gate import NAMESPACE, OPERATOR, span_gate

NAME = f"{NAMESPACE}::{OPERATOR}"
SCHEMA = "(Tensor x, Tensor f, Tensor w, Tensor b) -> Tensor"
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
AUTOCAST_KEYS = {"cuda": "AutocastCUDA", "cpu": "AutocastCPU"}

Gate = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


@functools.cache
def span_attn_operator() -> Any:
    """The operator `torch.ops.edgesr.span_attn.default`, defined on the first call."""
    operator = torch.library.custom_op(NAME, native, mutates_args=(), schema=SCHEMA)
    operator.register_fake(_fake)
    operator.register_kernel("cuda")(_on_gpu)
    operator.register_autograd(_backward, setup_context=_keep_inputs)
    packet = getattr(getattr(torch.ops, NAMESPACE), OPERATOR).default
    for device, key in AUTOCAST_KEYS.items():
        torch.library.impl(NAME, key, lib=_autocast_library())(_under_autocast(packet, device))
    return packet


def native(x: Tensor, f: Tensor, w: Tensor, b: Tensor) -> Tensor:
    """The operator in native operators, in the memory format that the operator promises."""
    refuse_mismatch(x, f, w, b)
    return span_gate(x, f, w, b).contiguous(memory_format=_layout(x))


def refuse_mismatch(x: Tensor, f: Tensor, w: Tensor, b: Tensor) -> None:
    """Raise `ValueError` for shapes and `TypeError` for dtypes that do not fit, naming the argument."""
    if x.dim() != 4:
        raise ValueError(f"span_attn: x has shape {tuple(x.shape)}, wanted (N, C, H, W)")
    channels = x.shape[1]
    wanted = {"f": (f, tuple(x.shape)), "w": (w, (channels, channels, 1, 1)), "b": (b, (channels,))}
    for name, (tensor, shape) in wanted.items():
        if tuple(tensor.shape) != shape:
            raise ValueError(f"span_attn: {name} has shape {tuple(tensor.shape)}, wanted {shape}")
    if x.dtype not in DTYPES:
        raise TypeError(f"span_attn: x is {x.dtype}, wanted one of {', '.join(map(str, DTYPES))}")
    for name, (tensor, _) in wanted.items():
        if tensor.dtype != x.dtype:
            raise TypeError(f"span_attn: {name} is {tensor.dtype}, x is {x.dtype}; give both one dtype")
        if tensor.device != x.device:
            raise ValueError(f"span_attn: {name} is on {tensor.device}, x on {x.device}; move one of them")


def _layout(x: Tensor) -> torch.memory_format:
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format


def _fake(x: Tensor, f: Tensor, w: Tensor, b: Tensor) -> Tensor:
    refuse_mismatch(x, f, w, b)
    return torch.empty_like(x, memory_format=_layout(x))


def _on_gpu(x: Tensor, f: Tensor, w: Tensor, b: Tensor) -> Tensor:
    refuse_mismatch(x, f, w, b)
    if x.dtype is torch.float64:
        return native(x, f, w, b)
    from edgesr.runtime.cuda.triton_kernel import require_triton

    require_triton()
    from edgesr.runtime.cuda.gate_kernel import fused_gate

    return fused_gate(x, f, w, b, "tf32" if x.dtype is torch.float32 and allows_tf32() else "ieee")


def allows_tf32() -> bool:
    """Whether the user let PyTorch's own convolutions round float32 factors to TF32."""
    return torch.backends.cudnn.allow_tf32 and torch.backends.cuda.matmul.allow_tf32


def _keep_inputs(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(context: Any, u: Tensor) -> tuple[Tensor, ...]:
    x, f, w, b = context.saved_tensors
    through_sum = u * F.conv2d(f, w, b)
    through_gate = u * (x + f)
    df = through_sum + F.conv2d(through_gate, w.transpose(0, 1))
    dw = torch.einsum("nohw,nihw->oi", through_gate, f)[..., None, None]
    return through_sum, df, dw, through_gate.sum((0, 2, 3))


@functools.cache
def _autocast_library() -> torch.library.Library:
    """A library lives as long as what it registered."""
    return torch.library.Library(NAMESPACE, "FRAGMENT")  # type: ignore[no-untyped-call]  # torch left it untyped


def _under_autocast(operator: Gate, device: str) -> Gate:
    def cast(*inputs: Tensor) -> Tensor:
        dtype = torch.get_autocast_dtype(device)
        with torch.autocast(device, enabled=False):
            return operator(*(tensor.to(dtype) for tensor in inputs))

    return cast
