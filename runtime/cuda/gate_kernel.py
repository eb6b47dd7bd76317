"""The gate o = (x + f) * (W f + b) in one pass over memory: three tensors of C channels in and out, nothing between.

A program computes `pixels` positions of one image with all their channels: a matrix product of (pixels, C) and (C, C)
that is accumulated in float32, the sum and the product in float32, and one rounding where the result is stored. NCHW
and NHWC differ only in the addresses and in the side that W stands on. Channels are padded to a power of two in
registers, never in memory. Offsets within an image are 32 bits wide, those between images 64.

float32 whose products are not to round to TF32 goes to `split_gate_kernel`.
"""

from __future__ import annotations

import torch
import triton.language as tl
from torch import Tensor

from edgesr.errors import DeviceError
from edgesr.runtime.cuda.split_gate_kernel import SPLIT_GATE
from edgesr.runtime.cuda.triton_kernel import Launch, TritonKernel, power_of_two

LARGEST_IMAGE = 2**31 - 1
"""Values of one image that 32-bit offsets reach."""

NARROW = 32
MOST_CHANNELS = 64
"""Wider gates would spill registers."""


def gate_source(
    x_ptr: tl.tensor, f_ptr: tl.tensor, w_ptr: tl.tensor, b_ptr: tl.tensor, o_ptr: tl.tensor, positions: tl.tensor,
    channels: tl.constexpr, padded: tl.constexpr, pixels: tl.constexpr, nhwc: tl.constexpr, precision: tl.constexpr,
    widen: tl.constexpr,
) -> None:  # fmt: skip
    """x, f, o: (N, C, positions) or (N, positions, C); w: (C out, C in); b: (C,) in float32."""
    image = tl.program_id(1).to(tl.int64) * positions * channels
    p = tl.program_id(0) * pixels + tl.arange(0, pixels)
    c = tl.arange(0, padded)
    inside = c < channels
    w = tl.load(w_ptr + c[:, None] * channels + c[None, :], mask=inside[:, None] & inside[None, :], other=0.0)
    b = tl.load(b_ptr + c, mask=inside, other=0.0)
    if nhwc:
        offset = p[:, None] * channels + c[None, :]
        mask = (p < positions)[:, None] & inside[None, :]
    else:
        offset = c[:, None] * positions + p[None, :]
        mask = inside[:, None] & (p < positions)[None, :]
    f = tl.load(f_ptr + image + offset, mask=mask, other=0.0)
    x = tl.load(x_ptr + image + offset, mask=mask, other=0.0).to(tl.float32)
    total = x + f.to(tl.float32)
    if widen:  # the interpreter multiplies bfloat16 as the integers that it is stored in
        f = f.to(tl.float32)
        w = w.to(tl.float32)
    if nhwc:
        gate = tl.dot(f, tl.trans(w), input_precision=precision) + b[None, :]
    else:
        gate = tl.dot(w, f, input_precision=precision) + b[:, None]
    tl.store(o_ptr + image + offset, (total * gate).to(o_ptr.dtype.element_ty), mask=mask)


GATE = TritonKernel(gate_source)


def gate_launch(
    channels: int, nhwc: bool, precision: str, wide_values: bool, widen: bool = False
) -> tuple[TritonKernel, Launch]:
    """Which kernel computes the gate of that many channels, and how: more float32 needs more warps not to spill."""
    padded = power_of_two(channels)
    constants = {"channels": channels, "padded": padded, "nhwc": nhwc}
    warps = 8 if wide_values and padded > NARROW else 4
    if wide_values and precision == "ieee":
        return SPLIT_GATE, Launch(constants | {"pixels": 64}, warps)
    return GATE, Launch(constants | {"pixels": 128, "precision": precision, "widen": widen}, warps)


def fused_gate(x: Tensor, f: Tensor, w: Tensor, b: Tensor, precision: str = "ieee") -> Tensor:
    """The gate of x and f, (N, C, H, W) in any strides; the output is in x's memory format, NCHW where x has neither.

    `precision` is Triton's name for float32 products: ieee, or tf32. Raises `DeviceError` for an
    image or channels too many.
    """
    count, channels, height, width = x.shape
    if channels > MOST_CHANNELS:
        raise DeviceError(f"span_attn: x has {channels} channels, the kernel takes {MOST_CHANNELS}")
    if channels * height * width > LARGEST_IMAGE:
        raise DeviceError(f"span_attn: an image of {channels}x{height}x{width} has too many values; cut it into tiles")
    nhwc = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    layout = torch.channels_last if nhwc else torch.contiguous_format
    x, f = x.contiguous(memory_format=layout), f.contiguous(memory_format=layout)
    output = torch.empty_like(x, memory_format=layout)
    if output.numel() == 0:
        return output
    weight, bias = w.reshape(channels, channels).contiguous(), b.float().contiguous()
    widen = x.dtype is torch.bfloat16 and x.device.type == "cpu"
    kernel, launch = gate_launch(channels, nhwc, precision, x.dtype is torch.float32, widen)
    grid = (-(-height * width // launch.constants["pixels"]), count)
    kernel(grid, (x, f, weight, bias, output, height * width), launch)
    return output
