"""The state of an interrupted fit on disk, found again by what it was learning."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from edgesr.atomic import write_atomically
from edgesr.quant.learning.patches import Patches
from edgesr.quant.learning.plan import FitPlan
from edgesr.quant.learning.student import Parameters, Student


class SavedFit:
    """One file of a folder, named by a digest."""

    def __init__(self, folder: Path, digest: str) -> None:
        self.path = folder / f"fit-{digest}.safetensors"

    def write(self, tensors: Mapping[str, Tensor]) -> None:
        """Replace the state, whole or not at all."""
        content = save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()})
        with write_atomically(self.path) as temporary:
            temporary.write_bytes(content)

    def read(self) -> dict[str, Tensor] | None:
        """The state, None where there is none that can be read: learning then starts anew."""
        try:
            return load(self.path.read_bytes())
        except (OSError, SafetensorError):
            return None


def digest_of(student: Student, start: Parameters, patches: Patches, plan: FitPlan) -> str:
    """Everything that decides what is learned: weights, ranges, where parameters start, patches, plan, torch."""
    digest = hashlib.sha256(f"{plan}{torch.__version__}{sorted(student.activations.items())}".encode())
    tensors = [patches.inputs, patches.targets, patches.labels]
    tensors += [tensor for pair in student.base for tensor in pair] + [p for values in start.values() for p in values]
    for tensor in tensors:
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
