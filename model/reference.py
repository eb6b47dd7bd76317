"""The reference file: one SRModel as safetensors, so that an export folder carries the network that it must match.

The tensors are the module's state dict, bit for bit; the metadata (strings, as the format demands) holds the model's
contract and where its weights came from. `load_reference` gives back what `save_reference` was given.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from edgesr.architecture import SRModel
from edgesr.atomic import write_atomically
from edgesr.errors import CheckpointError
from edgesr.model.checkpoint import Format, load_state_dict, recognise_format
from edgesr.model.registry import build_frozen, find_architecture

FIELDS = ("name", "architecture", "config", "source", "sha256", "scale", "value_range", "size_multiple")


def save_reference(model: SRModel, path: Path) -> None:
    """Write `model` to `path`, whole or not at all.

    Raises:
        CheckpointError: the architecture is not in the registry, so that nothing could load the file again.
        ExportError: the file cannot be written.

    """
    find_architecture(model.architecture)
    metadata = {
        "name": model.name,
        "architecture": model.architecture,
        "config": json.dumps(dict(model.config)),
        "source": model.source,
        "sha256": model.sha256,
        "scale": str(model.scale),
        "value_range": repr(model.value_range),
        "size_multiple": str(model.size_multiple),
    }
    tensors = {key: value.contiguous() for key, value in model.module.state_dict().items()}
    with write_atomically(path) as temporary:
        temporary.write_bytes(save(tensors, metadata))


def load_reference(path: Path) -> SRModel:
    """Read what `save_reference` wrote; `source` and `sha256` are those of the original weights.

    Raises:
        CheckpointError: the file is unreadable, no reference, or its metadata and tensors contradict each other.

    """
    metadata = _read_metadata(path)
    state = load_state_dict(path)
    try:
        return _rebuild(metadata, state)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except ValueError as error:
        raise CheckpointError(f"{path}: damaged reference metadata ({error}): export again") from error


def _read_metadata(path: Path) -> dict[str, str]:
    """Return the file's metadata, with every field of a reference."""
    if recognise_format(path) is not Format.SAFETENSORS:
        raise CheckpointError(f"{path}: not a reference file: give the .safetensors that export wrote")
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
    except Exception as error:  # the decoder documents no closed list of what it raises on damaged bytes
        raise CheckpointError(f"{path}: truncated or damaged safetensors file: export again") from error
    missing = [field for field in FIELDS if field not in metadata]
    if missing:
        raise CheckpointError(
            f"{path}: weights, but not a reference file (no {', '.join(missing)} in its metadata): "
            "give the one that export wrote"
        )
    return metadata


def _rebuild(metadata: Mapping[str, str], state: Mapping[str, Tensor]) -> SRModel:
    """Build the model that `metadata` describes and `state` fills."""
    architecture = find_architecture(metadata["architecture"])
    config = architecture.deduce(state)
    if json.loads(metadata["config"]) != config or int(metadata["scale"]) != config["scale"]:
        raise CheckpointError("its metadata contradicts its tensors: export again")
    return SRModel(
        name=metadata["name"],
        architecture=architecture.name,
        module=build_frozen(architecture, config, state),
        config=config,
        scale=config["scale"],
        source=metadata["source"],
        sha256=metadata["sha256"],
        value_range=float(metadata["value_range"]),
        size_multiple=int(metadata["size_multiple"]),
    )
