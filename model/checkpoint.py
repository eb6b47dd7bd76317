"""Reading weights files: PyTorch (`.pth`, `.pt`, `.ckpt`) and safetensors, told apart by content, without running code.

Training frameworks wrap the state dict and prefix its keys; `load_state_dict` undoes both. What comes out maps key to a
finite float32 tensor on the CPU. Everything else is refused in one line that says what, where and what to do.
"""

from __future__ import annotations

import hashlib
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from enum import Enum
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from edgesr.errors import CheckpointError
from edgesr.model.keys import first_few

WRAPPERS = ("params_ema", "params", "state_dict", "model")
PREFIXES = ("module.", "_orig_mod.")
# A batch norm's step counter is the one integer that belongs to a float network.
COUNTER_SUFFIX = "num_batches_tracked"
# A pickle may contain itself; real files nest two levels.
MAX_NESTING = 8
SAVE_ADVICE = "save only the weights, with torch.save(module.state_dict(), ...)"
# How torch names, in its refusal, the function or class that a pickle wants to call.
FORBIDDEN_GLOBAL = re.compile(r"GLOBAL (\S+)|Unsupported class (\S+)")


class Format(Enum):
    """How a weights file is encoded."""

    TORCH_ZIP = "PyTorch"
    TORCH_LEGACY = "PyTorch (before 1.6)"
    SAFETENSORS = "safetensors"


def load_state_dict(path: Path) -> dict[str, Tensor]:
    """Read `path` into {key: float32 tensor}; raise CheckpointError where it is no usable weights file."""
    content = _read(path, recognise_format(path))
    if not isinstance(content, Mapping):
        raise CheckpointError(f"{path}: holds a {type(content).__name__}, not a state dict; {SAVE_ADVICE}")
    inner = _unwrap(content)
    tensors = {key: value for key, value in inner.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if not tensors:
        found = first_few(map(str, inner)) or "nothing"
        raise CheckpointError(f"{path}: no tensors in it (it holds {found}); {SAVE_ADVICE}")
    return {key: _as_float32(path, key, value) for key, value in _strip_prefixes(tensors).items()}


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal; raise CheckpointError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _unreadable(path, error) from error


def recognise_format(path: Path) -> Format:
    """Tell a weights file's encoding from its first bytes; raise CheckpointError where it is none."""
    head = _first_bytes(path)
    if head.startswith(b"PK\x03\x04"):
        return Format.TORCH_ZIP
    # A safetensors file is the length of a JSON header in eight little-endian bytes, then that header.
    if head[8:9] == b"{":
        return Format.SAFETENSORS
    if head[:1] == b"\x80" and 2 <= head[1] <= pickle.HIGHEST_PROTOCOL:
        return Format.TORCH_LEGACY
    raise CheckpointError(f"{path}: neither a PyTorch nor a safetensors file; give a .pth, .pt, .ckpt or .safetensors")


def _first_bytes(path: Path) -> bytes:
    """Return the first nine bytes of a regular file with content."""
    try:
        if path.is_dir():
            raise CheckpointError(f"{path}: is a folder; name the weights file in it")
        if not path.exists():
            raise CheckpointError(f"{path}: no such weights file; check the path")
        if not path.is_file():
            raise CheckpointError(f"{path}: not a regular file; copy the weights to one")
        with path.open("rb") as file:
            head = file.read(9)
    except OSError as error:
        raise _unreadable(path, error) from error
    if not head:
        raise CheckpointError(f"{path}: is empty; copy or download it again")
    if len(head) < 9:
        raise CheckpointError(f"{path}: truncated to {len(head)} bytes; copy or download it again")
    return head


def _read(path: Path, kind: Format) -> object:
    """Decode the file, turning what the decoders raise into CheckpointError."""
    try:
        if kind is Format.SAFETENSORS:
            return load_file(path)
        if kind is Format.TORCH_ZIP:
            _require_torch_archive(path)
        return _read_torch(path)
    except CheckpointError:
        raise
    except Exception as error:  # neither decoder documents a closed list of what it raises on foreign bytes
        raise _decoding_error(path, kind, error) from error


def _read_torch(path: Path) -> object:
    """Unpickle tensors and plain containers only; any other class or function in the file raises."""
    # Given an open file, because torch takes a path that ends in .safetensors for one whatever it holds.
    with path.open("rb") as file, warnings.catch_warnings():
        # torch warns of unusual pickle protocols, even where it then reads the file without loss.
        warnings.simplefilter("ignore", UserWarning)
        content: object = torch.load(file, map_location="cpu", weights_only=True)
    return content


def _require_torch_archive(path: Path) -> None:
    """Refuse a cut or foreign zip, and TorchScript, before torch.load words it obscurely."""
    if not zipfile.is_zipfile(path):
        raise CheckpointError(f"{path}: truncated or damaged {Format.TORCH_ZIP.value} file; copy or download it again")
    with zipfile.ZipFile(path) as archive:
        files = {name.rpartition("/")[2] for name in archive.namelist()}
    if "data.pkl" not in files:
        raise CheckpointError(f"{path}: a zip archive, but not a PyTorch checkpoint; give a .pth, .pt or .safetensors")
    if "constants.pkl" in files:
        raise CheckpointError(f"{path}: a TorchScript program, not weights; save the module's state_dict() instead")


def _decoding_error(path: Path, kind: Format, error: Exception) -> CheckpointError:
    """Say whether the file needs code, cannot be read, or is damaged."""
    if isinstance(error, OSError):
        return _unreadable(path, error)
    if isinstance(error, pickle.UnpicklingError):
        forbidden = FORBIDDEN_GLOBAL.search(str(error))
        if forbidden:
            name = (forbidden[1] or forbidden[2]).rstrip(".,")
            return CheckpointError(f"{path}: holds code ({name}), which is never run; {SAVE_ADVICE}")
        if kind is Format.TORCH_LEGACY:
            return CheckpointError(f"{path}: a pickle not written by torch.save; its code is never run; {SAVE_ADVICE}")
    return CheckpointError(f"{path}: truncated or damaged {kind.value} file; copy or download it again")


def _unreadable(path: Path, error: OSError) -> CheckpointError:
    """Make the error for a file that the system does not let us read."""
    return CheckpointError(f"{path}: cannot be read ({error.strerror or error}); check the path and its permissions")


def _unwrap(content: Mapping[object, object]) -> Mapping[object, object]:
    """Descend into the dictionaries that trainers put around a state dict, averaged weights first."""
    for _ in range(MAX_NESTING):
        inner = next((content[key] for key in WRAPPERS if isinstance(content.get(key), Mapping)), None)
        if not isinstance(inner, Mapping):
            break
        content = inner
    return content


def _strip_prefixes(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Take off what DataParallel and torch.compile put before every key."""
    while prefix := next((p for p in PREFIXES if all(key.startswith(p) for key in tensors)), None):
        tensors = {key.removeprefix(prefix): value for key, value in tensors.items()}
    return tensors


def _as_float32(path: Path, key: str, value: Tensor) -> Tensor:
    """Check one tensor and give it as contiguous float32 of its own."""
    if value.layout is not torch.strided or value.is_meta:
        raise CheckpointError(f"{path}: {key} is not a dense tensor with values; save dense weights")
    if key.endswith(COUNTER_SUFFIX):
        return value.detach()
    if not value.is_floating_point():
        kind = str(value.dtype).removeprefix("torch.")
        raise CheckpointError(f"{path}: {key} holds {kind} values; give the float weights from before quantization")
    weights = value.detach().to(torch.float32).contiguous()
    bad = weights.numel() - int(weights.isfinite().sum())
    if bad:
        raise CheckpointError(
            f"{path}: {key} holds {bad} NaN or infinite of {weights.numel()} values; give a checkpoint from before "
            "training diverged"
        )
    return weights
