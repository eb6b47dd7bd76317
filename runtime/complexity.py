"""What a network costs, counted as the NTIRE efficient super-resolution challenge counts it, on one 256x256 image.

- FLOPs: one for each multiply-accumulate of every convolution (1x1, grouped, depthwise and transposed ones too) and of
  every matrix product. So fvcore counts, which the challenge uses: a convolution with weight (O, I/groups, kh, kw) has
  O * I/groups * kh * kw for each output position. Additions, activations, gates and moves count nothing.
- Activations: the values that all two-dimensional convolutions put out.
- Convolutions: how often one is called.
- Parameters: the numbers in the module's parameters, a shared one once; buffers are none.

Sources: the README and `utils/model_summary.py` of the challenge's code, github.com/Amazingren/NTIRE2026_ESR and
NTIRE2024_ESR.

The network runs once and every operator that PyTorch dispatches is seen, so that what no `nn.Conv2d` holds
(`F.conv2d`, attention) is counted. An operator from outside PyTorch hides its products: edgesr's own gate is taken
apart, any other one is refused, since a count that leaves one out is worth nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from edgesr.architecture import SRModel
from edgesr.errors import CheckpointError, EdgeSRError, UnsupportedOpError, first_line
from edgesr.span_gate import native_decompositions

CHALLENGE_SIZE = (256, 256)
FLOPS_PER_MAC = 2
"""In PyTorch's counter, for which a multiplication and an addition are two."""
NAMESPACES = ("aten", "prims", "prim")
"""Of the operators whose work PyTorch's counter knows."""
CONVOLUTIONS = (torch.ops.aten.convolution, torch.ops.aten._convolution)
UNCOUNTED = tuple(getattr(torch.ops.aten, name) for name in ("mv", "addmv", "dot", "mkldnn_rnn_layer"))
"""PyTorch's own operators with products that its counter does not know."""
IMAGE_AXES = 4


@dataclass(frozen=True)
class Complexity:
    """The challenge's figures of one network, for one input of `size` (H, W).

    `largest` is how many values the largest output of a convolution has: what memory a run takes follows from it.
    """

    parameters: int
    macs: int
    activations: int
    convolutions: int
    largest: int
    size: tuple[int, int] = CHALLENGE_SIZE

    def __post_init__(self) -> None:
        """Refuse what no count gives."""
        if min(self.parameters, self.macs, self.activations, self.convolutions, self.largest) < 0:
            raise ValueError(f"a network has no negative figures: {self}")

    def to_json(self) -> dict[str, object]:
        """Plain values; the challenge's word for multiply-accumulates is FLOPs."""
        return {
            "parameters": self.parameters, "flops": self.macs, "activations": self.activations,
            "convolutions": self.convolutions, "size": list(self.size),
        }  # fmt: skip


def count_complexity(model: SRModel, size: tuple[int, int] = CHALLENGE_SIZE) -> Complexity:
    """Run the network once, on noise, and count.

    Raises `EdgeSRError` where its forward fails at this size, `CheckpointError` where its output is no image of its
    scale or holds values that are no numbers, and `UnsupportedOpError` for an operator whose work is not known.
    """
    if any(side % model.size_multiple for side in size):
        raise EdgeSRError(
            f"{model.name} takes sizes in multiples of {model.size_multiple}, not {size[0]}x{size[1]}; choose another"
        )
    image = torch.rand(1, model.in_channels, *size, generator=torch.Generator().manual_seed(0))
    counter, watch = FlopCounterMode(display=False), _ConvolutionWatch()
    with torch.no_grad(), _attention_taken_apart(), counter, watch:
        output = _forward(model.module, image * model.value_range, model.name)
    _check_output(output, model, size)
    macs = counter.get_total_flops() // FLOPS_PER_MAC
    parameters = sum(parameter.numel() for parameter in model.module.parameters())
    return Complexity(parameters, macs, watch.values, watch.calls, watch.largest, size)


class _ConvolutionWatch(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
    """Counts the calls of two-dimensional convolutions and the values that they give; refuses unknown operators."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self.calls = 0
        self.values = 0
        self.largest = 0
        self._decompositions = native_decompositions()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """See one operator run."""
        with self:
            parts = self._decompositions.get(func, func.decompose)(*args, **(kwargs or {}))
        if parts is not NotImplemented:
            return parts
        if func.namespace not in NAMESPACES or func.overloadpacket in UNCOUNTED:
            raise UnsupportedOpError(
                f"what the operator {func.name()} multiplies cannot be counted; "
                "replace it by PyTorch's convolutions and matrix products to score the network"
            )
        output = func(*args, **(kwargs or {}))
        if func.overloadpacket in CONVOLUTIONS and output.ndim == IMAGE_AXES:
            self.calls += 1
            self.values += output.numel()
            self.largest = max(self.largest, output.numel())
        return output


@contextmanager
def _attention_taken_apart() -> Iterator[None]:
    """Attention as matrix products, not as PyTorch's single operators for a CPU, which the counter does not know."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _forward(module: nn.Module, image: Tensor, name: str) -> object:
    try:
        return module(image)
    except EdgeSRError:
        raise
    except Exception as error:  # whatever the network's own code raises
        height, width = image.shape[2:]
        raise EdgeSRError(
            f"{name}: its forward fails on a {height}x{width} image: {first_line(error)}; "
            "the challenge counts at this size, make the network take it"
        ) from error


def _check_output(output: object, model: SRModel, size: tuple[int, int]) -> None:
    if not isinstance(output, Tensor):
        kind = type(output).__name__
        raise CheckpointError(f"{model.name}: its forward returns a {kind}; let it return the image alone")
    wanted = tuple(model.scale * side for side in size)
    if output.ndim != IMAGE_AXES or output.shape[2:] != wanted:
        raise CheckpointError(
            f"{model.name}: it makes {tuple(output.shape)} of a {size[0]}x{size[1]} image, not {wanted[0]}x{wanted[1]} "
            f"pixels; give weights of scale {model.scale}"
        )
    if not output.isfinite().all():
        raise CheckpointError(
            f"{model.name}: it answers noise in [0, {model.value_range:g}] with values that are no numbers; "
            "give a checkpoint from before it diverged"
        )
