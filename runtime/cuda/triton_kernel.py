"""A Triton kernel as an explicit object: one source, compiled for the GPU or interpreted on the CPU.

Triton's decorator decides at import, by the environment variable TRITON_INTERPRET, which of the two a kernel is. Here
the tensors decide at each launch: those on a GPU go to the compiled kernel, those on the CPU to the interpreter, and no
environment variable matters. Kernels may therefore call builtins of `triton.language` alone, none of its own functions
in Triton (`tl.zeros`, `tl.cdiv`), which are bound to one of the two at import. What `tl.reduce` combines by may be one:
the compiler takes it as it is, and the interpreter knows Triton's own.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from edgesr.errors import MissingBackendError

INSTALL_LINE = 'pip install "edgesr[cuda]"'


def require_triton() -> None:
    """Raise `MissingBackendError` where Triton is not installed."""
    if importlib.util.find_spec("triton") is None:
        raise MissingBackendError(f"the fused CUDA kernels need Triton; run {INSTALL_LINE}")


@dataclass(frozen=True)
class Launch:
    """The compile-time side of a launch: constants by name, warps for each program, pipeline stages."""

    constants: Mapping[str, Any]
    warps: int = 4
    stages: int = 3

    @property
    def options(self) -> Mapping[str, Any]:
        """What the compiler is told; products and sums may fuse, which rounds once less."""
        return {"num_warps": self.warps, "num_stages": self.stages, "enable_fp_fusion": True}


@dataclass(frozen=True, eq=False)
class TritonKernel:
    """A kernel's source; the parameters annotated `tl.constexpr` are its constants."""

    source: Callable[..., None]

    @cached_property
    def compiled(self) -> Any:
        """The kernel for GPUs; nothing is compiled before its first launch."""
        import triton

        return triton.JITFunction(self.source)

    @cached_property
    def interpreted(self) -> Any:
        """The same source run by NumPy, program by program."""
        from triton.runtime.interpreter import InterpretedFunction

        return InterpretedFunction(self.source)

    def __call__(self, grid: tuple[int, ...], arguments: tuple[Tensor | int, ...], launch: Launch) -> None:
        """Run the kernel on the device of its tensors: the first argument's."""
        first = arguments[0]
        assert isinstance(first, Tensor)
        if first.device.type == "cpu":
            self.interpreted[grid](*arguments, **launch.constants)
            return
        with torch.cuda.device(first.device):
            self.compiled[grid](*arguments, **launch.constants, **launch.options)


def power_of_two(count: int) -> int:
    """The smallest width that Triton's matrix products take for `count` channels: a power of two, at least 16."""
    return max(16, 1 << (count - 1).bit_length())
