"""Dated facts about what NPUs take, operator by operator: the files in `tables/`, read and checked.

A table says for each operator whether it is supported, with which types of activations, under which rules, and which
single-operator probes were accepted and refused. What 'supported' proves is the table's `acceptance`: the vendor's own
compiler took the operator (validated), or the operator only reaches a closed compiler whose verdict nobody saw
(offered). Sources and dates stand in every table.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from edgesr.errors import EdgeSRError
from edgesr.export.npu.file_operator import DType
from edgesr.target import Format

FOLDER = Path(__file__).parent / "tables"
SCHEMA = "edgesr-npu-table/1"
TABLE_NAMES = (
    "qualcomm-htp", "mediatek-neuropilot", "samsung-exynos", "google-tensor", "intel-npu", "ethos-u55", "ethos-u65",
    "ethos-u85",
)  # fmt: skip


class Acceptance(enum.Enum):
    """What it proves that a table supports an operator."""

    VALIDATED = "validated"
    OFFERED = "offered"


class Supported(enum.Enum):
    """Whether the table's source takes an operator at all."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


class Outcome(enum.Enum):
    """What follows where a rule holds; `unsure` is for sources that contradict one another."""

    REJECT = "reject"
    FAIL_MODEL = "fail_model"
    WRONG_RESULT = "wrong_result"
    UNSURE = "unsure"
    WARN = "warn"


class Relation(enum.Enum):
    """How a condition compares; `is` for a value alone."""

    IS = "is"
    NE = "ne"
    GT = "gt"
    LT = "lt"
    IN = "in"
    NOT_IN = "not_in"


Value = str | float | bool | tuple[str | float, ...]


@dataclass(frozen=True)
class Condition:
    """One fact about an operator compared with a value."""

    fact: str
    relation: Relation
    value: Value


@dataclass(frozen=True)
class Rule:
    """Where all conditions hold, the outcome follows. `is_derived` rules are in words in the source."""

    conditions: tuple[Condition, ...]
    outcome: Outcome
    why: str
    is_derived: bool = False

    def __post_init__(self) -> None:
        """Refuse rules that always hold, or for no reason."""
        if not self.conditions or not self.why:
            raise ValueError("a rule needs a condition and a reason")


@dataclass(frozen=True)
class TableRow:
    """One operator of a table; probes are variants of a single-operator model, by type."""

    supported: Supported
    dtypes: tuple[DType, ...]
    constraints: str
    evidence: str
    rules: tuple[Rule, ...]
    accepted: Mapping[DType, tuple[str, ...]]
    refused: Mapping[DType, tuple[str, ...]]

    @property
    def is_measured(self) -> bool:
        """Whether the operator was compiled, not only found in a source."""
        return "measured" in self.evidence


@dataclass(frozen=True)
class NpuTable:
    """All that is known about one family of NPUs; `models` are its members by name, where a name is all they need."""

    npu: str
    vendor: str
    title: str
    formats: tuple[Format, ...]
    acceptance: Acceptance
    as_of: str
    origin: Mapping[str, str]
    models: tuple[str, ...]
    rules: tuple[Rule, ...]
    rows: Mapping[str, TableRow]

    @property
    def source(self) -> str:
        """The table and its date."""
        return f"table {self.npu} of {self.as_of}"

    @property
    def all_rules(self) -> tuple[Rule, ...]:
        """The rules of the whole table and of every row."""
        return (*self.rules, *(rule for row in self.rows.values() for rule in row.rules))

    @property
    def takes_floats(self) -> bool:
        """Whether any operator may have real activations, or nobody says which types it may have."""
        known = [row.dtypes for row in self.rows.values() if row.dtypes]
        return not known or any(dtype.is_float for dtypes in known for dtype in dtypes)


ORIGIN = ("facts_id", "source", "source_date", "kind", "measured_with", "measured_date", "gate", "soc_differences")


@cache
def load_tables() -> tuple[NpuTable, ...]:
    """Every table; raises `EdgeSRError` for one that is missing or malformed."""
    return tuple(load_table(FOLDER / f"{name}.json") for name in TABLE_NAMES)


def load_table(path: Path) -> NpuTable:
    """One table; raises `EdgeSRError` where it is missing or malformed."""
    try:
        return _table(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise EdgeSRError(f"cannot read {path}: {error.strerror or error}; install edgesr again") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        why = f"{type(error).__name__}: {error}"
        raise EdgeSRError(f"{path} is no table of an NPU ({why}); install edgesr again") from error


def _table(plain: Mapping[str, Any]) -> NpuTable:
    if plain["schema"] != SCHEMA:
        raise ValueError(f"schema {plain['schema']!r}, wanted {SCHEMA!r}")
    return NpuTable(
        npu=_text(plain, "npu"),
        vendor=_text(plain, "vendor"),
        title=_text(plain, "title"),
        formats=tuple(Format(x) for x in plain["formats"]),
        acceptance=Acceptance(plain["acceptance"]),
        as_of=_text(plain, "as_of"),
        origin={key: str(plain[key]) for key in ORIGIN},
        models=tuple(str(x) for x in plain["models"]),
        rules=tuple(_rule(x) for x in plain["rules"]),
        rows={str(kind): _row(x) for kind, x in plain["operators"].items()},
    )


def _row(plain: Mapping[str, Any]) -> TableRow:
    return TableRow(
        supported=Supported(plain["supported"]),
        dtypes=tuple(DType(x) for x in plain["dtypes"]),
        constraints=str(plain["constraints"]),
        evidence=_text(plain, "evidence"),
        rules=tuple(_rule(x) for x in plain.get("rules", ())),
        accepted=_probes(plain.get("probes_accepted", {})),
        refused=_probes(plain.get("probes_refused", {})),
    )


def _rule(plain: Mapping[str, Any]) -> Rule:
    conditions = tuple(_condition(str(fact), value) for fact, value in plain["if"].items())
    return Rule(conditions, Outcome(plain["then"]), _text(plain, "why"), "derived_from" in plain)


def _condition(fact: str, plain: Any) -> Condition:
    if not isinstance(plain, Mapping):
        return Condition(fact, Relation.IS, _value(plain))
    ((relation, value),) = plain.items()
    return Condition(fact, Relation(relation), _value(value))


def _value(plain: Any) -> Value:
    if isinstance(plain, list):
        return tuple(_scalar(x) for x in plain)
    return _scalar(plain)


def _scalar(plain: Any) -> str | float | bool:
    if not isinstance(plain, str | int | float):
        raise TypeError(f"{plain!r:.40} is no value of a condition")
    return plain


def _probes(plain: Mapping[str, Any]) -> Mapping[DType, tuple[str, ...]]:
    return {DType(dtype): tuple(str(x) for x in variants) for dtype, variants in plain.items()}


def _text(plain: Mapping[str, Any], key: str) -> str:
    value = plain[key]
    if not isinstance(value, str) or not value:
        raise TypeError(f"{key} is {value!r:.40}, wanted words")
    return value
