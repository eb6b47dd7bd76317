"""Which of the CUDA backends runs here, on what, and why the others do not.

Nothing falls back: a runner opens on what `fused_backend` or `eager_backend` names, and every result carries that name.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from edgesr.errors import DeviceError
from edgesr.runtime.cuda.triton_kernel import INSTALL_LINE, require_triton

EAGER, FUSED = "torch-cuda", "cuda-fused"
INTERPRETER = "Triton interpreter on the CPU"
FIRST_CAPABILITY = (8, 0)
"""Ampere: the first generation that the kernels are compiled for."""


@dataclass(frozen=True)
class Backend:
    """Where kernels run: a torch device, and its name for reports; `interpreted` where no GPU computes."""

    device: torch.device
    name: str
    interpreted: bool = False


@dataclass(frozen=True)
class BackendState:
    """One backend for `edgesr doctor`: where it runs, or why it does not and what to do."""

    runner: str
    runs_on: str | None
    why_not: str
    remedy: str


def why_no_gpu() -> str | None:
    """Why torch reaches no GPU; None where it does."""
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is built without CUDA"
    return None if torch.cuda.is_available() else "torch sees no CUDA GPU"


def gpu() -> Backend:
    """The current GPU; raises `DeviceError` where there is none."""
    why = why_no_gpu()
    if why is not None:
        raise DeviceError(f"{why}; run this on a machine with an NVIDIA GPU and PyTorch's CUDA build")
    device = torch.device("cuda", torch.cuda.current_device())
    major, minor = torch.cuda.get_device_capability(device)
    return Backend(device, f"{torch.cuda.get_device_name(device)}, sm_{major}{minor}")


def eager_backend() -> Backend:
    """Where PyTorch eager runs; raises `DeviceError` without a GPU."""
    try:
        return gpu()
    except DeviceError as error:
        raise DeviceError(f"{EAGER} cannot run: {error}") from error


def fused_backend() -> Backend:
    """Where the Triton kernels run: the GPU, or the interpreter where there is none.

    Raises `MissingBackendError` without Triton, and `DeviceError` for a GPU older than the kernels.
    """
    require_triton()
    if why_no_gpu() is not None:
        return Backend(torch.device("cpu"), INTERPRETER, interpreted=True)
    found = gpu()
    if torch.cuda.get_device_capability(found.device) < FIRST_CAPABILITY:
        raise DeviceError(f"{FUSED} needs a GPU of sm_80 or later, this is {found.name}; use {EAGER}")
    return found


def backend_states() -> tuple[BackendState, ...]:
    """Both backends as they are here."""
    why = why_no_gpu()
    remedy = "use a machine with an NVIDIA GPU and PyTorch's CUDA build"
    eager = BackendState(EAGER, None, why, remedy) if why else BackendState(EAGER, gpu().name, "", "")
    if importlib.util.find_spec("triton") is None:
        return eager, BackendState(FUSED, None, "Triton is not installed", INSTALL_LINE)
    try:
        found = fused_backend()
    except DeviceError as error:
        return eager, BackendState(FUSED, None, str(error), "")
    if found.interpreted:
        return eager, BackendState(FUSED, found.name, f"{why}: numbers alone, no speed", remedy)
    return eager, BackendState(FUSED, found.name, "", "")


@contextmanager
def tf32_off() -> Iterator[None]:
    """Let PyTorch multiply float32 as float32 within the block, in convolutions and in matrix products."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
