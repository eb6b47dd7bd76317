import json
from pathlib import Path
from typing import Any

import pytest

from edgesr.errors import EdgeSRError
from edgesr.export.npu.rule_facts import FACTS
from edgesr.export.npu.table_verdict import PROBE_VARIANTS
from edgesr.export.npu.tables import FOLDER, TABLE_NAMES, Acceptance, NpuTable, Relation, load_table, load_tables


@pytest.fixture(params=TABLE_NAMES)
def table(request: pytest.FixtureRequest) -> NpuTable:
    return next(table for table in load_tables() if table.npu == request.param)


def test_every_rule_asks_what_the_evaluator_knows(table: NpuTable) -> None:
    assert {c.fact for rule in table.all_rules for c in rule.conditions} <= set(FACTS)


def test_comparisons_have_something_to_compare_with(table: NpuTable) -> None:
    for rule in table.all_rules:
        for condition in rule.conditions:
            is_list = condition.relation in (Relation.IN, Relation.NOT_IN)
            assert isinstance(condition.value, tuple) == is_list
            if condition.relation in (Relation.GT, Relation.LT):
                assert isinstance(condition.value, int | float)


def test_every_table_names_its_sources_and_dates(table: NpuTable) -> None:
    day = "2026-11-25" if table.acceptance is Acceptance.VALIDATED else "2026-11-21"
    assert table.as_of == day and table.source == f"table {table.npu} of {day}"
    assert all(table.origin[key] for key in ("source", "source_date", "kind", "gate"))
    measured = any(row.is_measured for row in table.rows.values())
    assert bool(table.origin["measured_with"]) or not measured
    assert len(table.rows) == 52


def test_refused_variants_are_facts_of_the_evaluator() -> None:
    assert {fact for facts in PROBE_VARIANTS.values() for fact in facts} <= set(FACTS)


def test_the_folder_holds_the_tables_and_nothing_else() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {f"{name}.json" for name in (*TABLE_NAMES, "socs")}
    assert all(path.stat().st_size < 40_000 for path in FOLDER.iterdir())


def changed(key: str, value: Any) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads((FOLDER / "ethos-u85.json").read_text())
    return plain | {key: value}


ROW = {"supported": "yes", "dtypes": ["int8"], "constraints": "", "evidence": "source"}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("schema", "edgesr-npu-table/9"),
        ("npu", ""),
        ("formats", ["pdf"]),
        ("acceptance", "perhaps"),
        ("rules", [{"if": {"dtype": "int8"}, "then": "explode", "why": "x"}]),
        ("rules", [{"if": {}, "then": "reject", "why": "x"}]),
        ("rules", [{"if": {"dtype": "int8"}, "then": "reject", "why": ""}]),
        ("rules", [{"if": {"stride": {"gt": 1, "lt": 3}}, "then": "reject", "why": "x"}]),
        ("rules", [{"if": {"stride": {"about": 1}}, "then": "reject", "why": "x"}]),
        ("rules", [{"if": {"stride": {"gt": None}}, "then": "reject", "why": "x"}]),
        ("operators", {"ADD": ROW | {"supported": "maybe"}}),
        ("operators", {"ADD": ROW | {"dtypes": ["int7"]}}),
        ("operators", {"ADD": {}}),
        ("operators", [1]),
    ],
)
def test_malformed_tables_are_refused(key: str, value: Any, tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    path.write_text(json.dumps(changed(key, value)))
    with pytest.raises(EdgeSRError, match=r"is no table of an NPU .*; install edgesr again"):
        load_table(path)


def test_missing_and_broken_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EdgeSRError, match="cannot read"):
        load_table(tmp_path / "none.json")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(EdgeSRError, match="is no table"):
        load_table(tmp_path / "broken.json")
