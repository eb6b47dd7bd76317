"""An ONNX file whose nodes all have a name of their own, so that what a compiler says of one can be told apart.

Names in ONNX are optional. A node without one, or with one that an earlier node has, is called by its first output,
which is unique. Functions of the file are inlined first: compilers see their bodies.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx.inliner

from edgesr.errors import ArtifactError, first_line
from edgesr.qnn_session import COMPILED_KIND


@dataclass(frozen=True)
class NamedNode:
    """A top-level node: its name, kind, first output, and the values that it reads and makes."""

    name: str
    kind: str
    first_output: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def read_onnx(path: Path) -> onnx.ModelProto:
    """The model with its external data; raises `ArtifactError` for what is no ONNX file, or not a whole one."""
    try:
        model = onnx.load(path)
        if not model.graph.node:
            raise ValueError("it has no operators")
    except Exception as error:  # onnx and protobuf raise many kinds
        raise ArtifactError(f"{path} is no whole ONNX file ({first_line(error)}); give one, or export again") from error
    return onnx.inliner.inline_local_functions(model) if model.functions else model


def with_names(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same model, each of its nodes with a name of its own."""
    named = onnx.ModelProto()
    named.CopyFrom(model)
    taken: Counter[str] = Counter()
    for node in named.graph.node:
        if not node.name or taken[node.name]:
            node.name = _free(_first_output(node) or node.op_type, taken)
        taken[node.name] += 1
    return named


def _free(wanted: str, taken: Counter[str]) -> str:
    name, count = wanted, 1
    while taken[name]:
        count += 1
        name = f"{wanted}.{count}"
    return name


def nodes_of(model: onnx.ModelProto) -> tuple[NamedNode, ...]:
    """The top-level nodes in the file's order."""
    return tuple(
        NamedNode(node.name, node.op_type, _first_output(node) or node.name, tuple(filter(None, node.input)),
                  tuple(filter(None, node.output)))
        for node in model.graph.node
    )  # fmt: skip


def is_compiled(model: onnx.ModelProto) -> bool:
    """Whether the file is the wrapper of a context binary."""
    return any(node.op_type == COMPILED_KIND for node in model.graph.node)


def _first_output(node: onnx.NodeProto) -> str:
    return next(iter(filter(None, node.output)), "")
