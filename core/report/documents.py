"""What the JSON files are that commands print, by their content: a foreign one is refused, whatever it is called."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from edgesr.report.values import Plain


class Kind(enum.Enum):
    """Which command printed it."""

    PARITY = "edgesr verify parity"
    QUALITY = "edgesr verify quality"
    BENCH = "edgesr bench"
    AUDIT = "edgesr audit"


KEYS: Mapping[Kind, frozenset[str]] = {
    Kind.PARITY: frozenset({"passed", "end_to_end", "operators", "first_divergences", "error_sources", "emulated"}),
    Kind.AUDIT: frozenset({"subjects"}),
    Kind.BENCH: frozenset({"schema", "device", "environment", "results", "warnings"}),
    Kind.QUALITY: frozenset({"results"}),
}
"""The keys that each has at least; the more particular ones first."""
OF_A_RESULT = frozenset({"file", "runner", "drop_db", "quality", "reference"})
OF_A_SUBJECT = frozenset({"name", "gated", "notes", "npus"})


@dataclass(frozen=True)
class Document:
    """One command's output: where it lies, what it is, its values. A bench of several devices holds several."""

    name: str
    kind: Kind
    values: tuple[Plain, ...]


def recognise(value: object, name: str) -> Document | None:
    """The document that plain values are; None for foreign ones."""
    if not isinstance(value, Mapping):
        return None
    records = value.get("records")
    if isinstance(records, list) and records:
        found = [recognise(record, name) for record in records]
        if all(one is not None and one.kind is Kind.BENCH for one in found):
            return Document(name, Kind.BENCH, tuple(records))
        return None
    kind = next((kind for kind, keys in KEYS.items() if keys <= value.keys()), None)
    if kind is None or not _has_parts(value, kind):
        return None
    return Document(name, kind, (value,))


def _has_parts(value: Plain, kind: Kind) -> bool:
    """Whether the lists within hold what this kind's do."""
    if kind is Kind.QUALITY:
        return _all_have(value["results"], OF_A_RESULT)
    if kind is Kind.AUDIT:
        return _all_have(value["subjects"], OF_A_SUBJECT)
    if kind is Kind.PARITY:
        return isinstance(value["operators"], list) and _all_have(value["end_to_end"], frozenset({"file", "case"}))
    return _all_have(value["results"], frozenset({"name", "runner"}))


def _all_have(entries: object, keys: frozenset[str]) -> bool:
    return (
        isinstance(entries, list)
        and len(entries) > 0
        and all(isinstance(entry, Mapping) and keys <= entry.keys() for entry in entries)
    )
