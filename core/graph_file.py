"""A graph, float or quantized, as one safetensors file: tensors beside a JSON description of the operators."""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from edgesr.errors import ArtifactError
from edgesr.graph import Graph
from edgesr.ops import VOCABULARY, Activation, Op, ShuffleOrder, TensorSpec
from edgesr.quantized import QuantizedGraph, QuantizedWeight, QuantParams, float_graph

METADATA_KEY = "edgesr_graph"
KINDS = {kind.__name__: kind for kind in VOCABULARY}
ENUMS: tuple[type[enum.Enum], ...] = (Activation, ShuffleOrder)


def serialize_graph(network: Graph | QuantizedGraph) -> bytes:
    """The bytes of a file that `load_graph` reads; the same network gives the same bytes."""
    description, tensors = describe_network(network)
    return bytes(save(tensors, {METADATA_KEY: json.dumps(description, sort_keys=True)}))


def describe_network(network: Graph | QuantizedGraph) -> tuple[dict[str, object], dict[str, Tensor]]:
    """What `restore_network` takes: plain values of JSON, and the tensors by name."""
    graph = float_graph(network)
    tensors: dict[str, Tensor] = {}
    description: dict[str, object] = {
        "name": graph.name,
        "input": {"name": graph.input.name, "channels": graph.input.channels},
        "output": graph.output,
        "ops": [_describe(op, tensors) for op in graph],
    }
    if isinstance(network, QuantizedGraph):
        description["activations"] = {name: dataclasses.asdict(q) for name, q in network.activations.items()}
        for name, weight in network.weights.items():
            for part in dataclasses.fields(weight):
                tensors[f"{name}/integer_{part.name}"] = _own(getattr(weight, part.name))
    return description, tensors


def load_graph(path: Path) -> Graph | QuantizedGraph:
    """The network that `serialize_graph` described; raises `ArtifactError` for any other file."""
    try:
        with safe_open(path, "pt") as file:
            description = json.loads((file.metadata() or {})[METADATA_KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
        return restore_network(description, tensors)
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror or error}; export again") from error
    except Exception as error:  # a damaged description fails wherever its first wrong value is used
        why = " ".join(f"{type(error).__name__}: {error}".split())
        raise ArtifactError(f"{path} is no graph that edgesr wrote ({why}); export again") from error


def _describe(op: Op, tensors: dict[str, Tensor]) -> dict[str, object]:
    plain: dict[str, object] = {"kind": type(op).__name__}
    for part in dataclasses.fields(op):
        value = getattr(op, part.name)
        if isinstance(value, Tensor):
            tensors[f"{op.name}/{part.name}"] = _own(value)
        else:
            plain[part.name] = value.value if isinstance(value, enum.Enum) else value
    return plain


def _own(tensor: Tensor) -> Tensor:
    """A copy: operators may share one tensor, which safetensors refuses to write twice."""
    return tensor.detach().clone(memory_format=torch.contiguous_format)


def restore_network(description: Mapping[str, object], tensors: Mapping[str, Tensor]) -> Graph | QuantizedGraph:
    """The network that `describe_network` took apart; for any other description raises whatever its values raise."""
    plain_ops, plain_input = description["ops"], description["input"]
    assert isinstance(plain_ops, list) and isinstance(plain_input, dict)
    ops = tuple(_restore_op(plain, tensors) for plain in plain_ops)
    spec = TensorSpec(plain_input["name"], plain_input["channels"], Fraction(1))
    graph = Graph(str(description["name"]), spec, ops, str(description["output"]))
    activations = description.get("activations")
    if not isinstance(activations, dict):
        return graph
    convolutions = [name.removesuffix("/integer_values") for name in tensors if name.endswith("/integer_values")]
    weights = {
        name: QuantizedWeight(*(tensors[f"{name}/integer_{part.name}"] for part in dataclasses.fields(QuantizedWeight)))
        for name in convolutions
    }
    return QuantizedGraph(graph, {name: QuantParams(**q) for name, q in activations.items()}, weights)


def _restore_op(plain: Mapping[str, object], tensors: Mapping[str, Tensor]) -> Op:
    kind = KINDS[str(plain["kind"])]
    values: dict[str, object] = {}
    for part in dataclasses.fields(kind):
        key = f"{plain['name']}/{part.name}"
        value = tensors[key] if key in tensors else plain.get(part.name)
        if isinstance(value, list):
            value = tuple(value)
        values[part.name] = _restore_enum(str(part.type), value)
    return kind(**values)  # type: ignore[arg-type]  # the dataclass names the fields


def _restore_enum(annotation: str, value: object) -> object:
    return next((kind(value) for kind in ENUMS if kind.__name__ == annotation), value)
