"""The reference file: one SRModel as safetensors, so that an export folder carries the network that it must match.

The tensors are the module's state dict, bit for bit; the metadata entry `edgesr` is a JSON object of the model's
contract and origin: the fields of SRModel but for the module. One entry, because the format keeps no order among
several, and the same model must give the same bytes. `load_reference` gives back what was saved.

A network that is in no registry is a `CapturedNetwork`: its entry also describes the graph, with float64 tensors. One
that no graph holds is a `ProgramNetwork`: its entry describes the program instead. No kind of file holds code, and to
load one runs none but edgesr's own and torch's operators.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from edgesr.architecture import SRModel
from edgesr.atomic import write_atomically
from edgesr.errors import CheckpointError, ExportError
from edgesr.graph import Graph
from edgesr.graph_file import describe_network, restore_network
from edgesr.model.aten_program import PROGRAM, AtenProgram, ProgramNetwork
from edgesr.model.captured import CAPTURED, CapturedNetwork
from edgesr.model.checkpoint import Format, load_state_dict, recognise_format
from edgesr.model.registry import build_frozen, find_architecture

ENTRY = "edgesr"
GRAPH = "graph"
EXTRA = {CAPTURED: GRAPH, PROGRAM: PROGRAM}
"""What the entry holds besides, by architecture."""
FIELDS = ("name", "architecture", "config", "source", "sha256", "scale", "value_range", "size_multiple")


def save_reference(model: SRModel, path: Path) -> None:
    """Write `model` to `path`, whole or not at all.

    Raises:
        CheckpointError: the architecture is not in the registry, so that nothing could load the file again.
        ExportError: the file cannot be written.

    """
    content = serialize_reference(model)
    with write_atomically(path) as temporary:
        temporary.write_bytes(content)


def serialize_reference(model: SRModel) -> bytes:
    """The bytes of the file; raises as `save_reference` does."""
    contract = {field: getattr(model, field) for field in FIELDS} | {"config": dict(model.config)}
    if isinstance(model.module, CapturedNetwork):
        description, tensors = describe_network(model.module.graph)
        return bytes(save(tensors, {ENTRY: json.dumps(contract | {GRAPH: description})}))
    if isinstance(model.module, ProgramNetwork):
        program = model.module.program
        tensors = {name: value.clone(memory_format=torch.contiguous_format) for name, value in program.tensors.items()}
        return bytes(save(tensors, {ENTRY: json.dumps(contract | {PROGRAM: program.to_json()})}))
    find_architecture(model.architecture)
    tensors = {key: value.contiguous() for key, value in model.module.state_dict().items()}
    return bytes(save(tensors, {ENTRY: json.dumps(contract)}))


def load_reference(path: Path) -> SRModel:
    """Read what `save_reference` wrote; `source` and `sha256` are those of the original weights.

    Raises:
        CheckpointError: the file is unreadable, no reference, or its metadata and tensors contradict each other.

    """
    contract = _read_contract(path)
    try:
        if str(contract["architecture"]) in EXTRA:
            return _rebuild_described(contract, path)
        return _rebuild(contract, load_state_dict(path))
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from error
    except (KeyError, AttributeError, AssertionError, ExportError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: damaged reference metadata ({error}); export again") from error


def _read_contract(path: Path) -> dict[str, Any]:
    """Return what `save_reference` said of the model."""
    if recognise_format(path) is not Format.SAFETENSORS:
        raise CheckpointError(f"{path}: not a reference file; give the .safetensors that export wrote")
    try:
        with safe_open(path, framework="pt") as file:
            entry = (file.metadata() or {}).get(ENTRY)
        contract = {} if entry is None else json.loads(entry)
    except Exception as error:  # the decoder documents no closed list of what it raises on damaged bytes
        raise CheckpointError(f"{path}: truncated or damaged safetensors file; export again") from error
    extra = EXTRA.get(str(contract.get("architecture"))) if isinstance(contract, dict) else None
    if not isinstance(contract, dict) or set(contract) != {*FIELDS, *([extra] if extra else [])}:
        raise CheckpointError(f"{path}: weights, but not a reference file; give the one that export wrote")
    return contract


def _rebuild(contract: Mapping[str, Any], state: Mapping[str, Tensor]) -> SRModel:
    """Build the model that `contract` describes and `state` fills."""
    architecture = find_architecture(contract["architecture"])
    config = architecture.deduce(state)
    if contract["config"] != config or contract["scale"] != config["scale"]:
        raise CheckpointError("its metadata contradicts its tensors; export again")
    module = build_frozen(architecture, config, state)
    return SRModel(module=module, **{field: contract[field] for field in FIELDS})


def _rebuild_described(contract: Mapping[str, Any], path: Path) -> SRModel:
    """Build the module that executes what is described in the file, at the precision that it has there."""
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
    if contract["architecture"] == PROGRAM:
        module: nn.Module = ProgramNetwork(AtenProgram.from_json(contract[PROGRAM], tensors))
    else:
        graph = restore_network(contract[GRAPH], tensors)
        if not isinstance(graph, Graph) or graph.scale != contract["scale"]:
            raise CheckpointError("its metadata contradicts its graph; export again")
        module = CapturedNetwork(graph)
    return SRModel(module=module.eval(), **{field: contract[field] for field in FIELDS})
