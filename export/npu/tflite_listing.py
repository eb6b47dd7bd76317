"""The operators of a TFLite file, also a foreign one: what a compiler was given, and what it left.

An operator is known by its subgraph and its first output's name, as TFLite has no names of its own for operators.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ai_edge_litert import schema_py_generated as schema

from edgesr.errors import ArtifactError
from edgesr.export.tflite_builder import FILE_IDENTIFIER

KINDS: dict[int, str] = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}


@dataclass(frozen=True)
class ListedOperator:
    """One operator: `kind` is its builtin's name, or a custom operator's own."""

    subgraph: int
    index: int
    name: str
    kind: str

    @property
    def key(self) -> tuple[int, str]:
        """What an operator keeps when a compiler takes others away."""
        return self.subgraph, self.name


def list_operators(content: bytes, source: str) -> tuple[ListedOperator, ...]:
    """All operators in the file's order; raises `ArtifactError` where `source` is no TFLite file or a broken one."""
    if content[4:8] != FILE_IDENTIFIER:
        raise ArtifactError(f"{source} is no TFLite file; give a .tflite file")
    try:
        operators = tuple(_operators(schema.Model.GetRootAsModel(content, 0)))
    except Exception as error:  # the generated reader meets broken offsets with errors of any kind
        raise ArtifactError(f"{source} is cut short or corrupt; write or copy it again") from error
    if not operators:
        raise ArtifactError(f"{source} holds no operators; give the file of a network")
    return operators


def count_subgraphs(content: bytes) -> int:
    """How many subgraphs, and so image sizes, a listed file has."""
    return int(schema.Model.GetRootAsModel(content, 0).SubgraphsLength())


def _operators(model: schema.Model) -> Iterator[ListedOperator]:
    for position in range(model.SubgraphsLength()):
        graph = model.Subgraphs(position)
        for index in range(graph.OperatorsLength()):
            operator = graph.Operators(index)
            name = graph.Tensors(operator.Outputs(0)).Name() if operator.OutputsLength() else b""
            kind = _kind(model.OperatorCodes(operator.OpcodeIndex()))
            yield ListedOperator(position, index, (name or b"").decode(errors="replace") or f"#{index}", kind)


def _kind(code: schema.OperatorCode) -> str:
    builtin = max(code.DeprecatedBuiltinCode(), code.BuiltinCode())  # newer files write large codes in the second field
    if builtin == schema.BuiltinOperator.CUSTOM:
        return str((code.CustomCode() or b"CUSTOM").decode(errors="replace"))
    return KINDS[builtin]
