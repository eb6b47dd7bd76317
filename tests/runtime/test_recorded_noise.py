"""`bench compare` on noise that a machine of two cores really made: data/recorded_noise.json says how and on what.

Every pair of records is of the same files; whatever is called different is a false call. In the sets `busy` and
`neighbour` others had half of the machine and more, so that the allowance b alone hides a factor of two: they show that
load is allowed for, nothing of the rest. In `quiet` others had under 1 %, and there the comparison is not good enough.
"""

import dataclasses
import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from edgesr.runtime.bench import Benchmark
from edgesr.runtime.bench_compare import Measure, Verdict, compare_records
from edgesr.runtime.bench_record import BenchRecord

DATA = json.loads((Path(__file__).parent / "data" / "recorded_noise.json").read_text(encoding="utf-8"))
FALSE_CALLS = 0.02
SETS = ["busy", "neighbour"]
QUIET_SHARE = 0.1


def as_record(row: Mapping[str, Any]) -> BenchRecord:
    """A record of the first subject, PyTorch eager, and the files that are ratios to it."""
    names = [label.split(" | ") for label in row["latencies_ms"]]
    results = tuple(
        Benchmark(name, runner, tuple(samples), 5, sha256="ab" * 32)
        for (name, runner), samples in zip(names, row["latencies_ms"].values(), strict=True)
    )
    machine = DATA["provenance"]["machine"]
    environment = {"others": row["others"], **{k: machine[k] for k in ("processor", "cores", "packages")}}
    height, width = DATA["size"]
    return BenchRecord("host", (height, width), 1, 50, 5, row["started"], environment, results,
                       baselines=(0,) * len(results))  # fmt: skip


def quiet() -> list[BenchRecord]:
    return [as_record(row) for row in DATA["sets"]["quiet"]]


def alone(record: BenchRecord) -> BenchRecord:
    """Without the yardstick, as a phone's record is."""
    return dataclasses.replace(record, results=record.results[1:], baselines=None)


@pytest.fixture(params=SETS)
def records(request: pytest.FixtureRequest) -> list[BenchRecord]:
    return [as_record(row) for row in DATA["sets"][request.param]]


@pytest.mark.parametrize("measure", [Measure.RATIO, Measure.MILLISECONDS])
def test_the_same_files_are_not_called_different(records: list[BenchRecord], measure: Measure) -> None:
    shown = records if measure is Measure.RATIO else [alone(record) for record in records]
    rows = [row for pair in itertools.combinations(shown, 2) for row in compare_records(*pair).rows]
    assert len(rows) >= 60 and {row.measure for row in rows} == {measure}
    false = [row for row in rows if row.verdict is not Verdict.NO_DIFFERENCE]
    assert len(false) <= FALSE_CALLS * len(rows), [(row.name, row.ratio, row.low, row.high) for row in false]


def test_a_true_change_larger_than_what_could_be_seen_is_called(records: list[BenchRecord]) -> None:
    """Each file made slower by the smallest change that the pair says it would show, in 95 of 100 pairs."""
    called = []
    for old, new in itertools.pairwise(records):
        for row in compare_records(old, new).rows:
            slower = dataclasses.replace(new, results=tuple(
                dataclasses.replace(r, latencies_ms=tuple(ms * row.smallest for ms in r.latencies_ms))
                if isinstance(r, Benchmark) and (r.name, r.runner) == (row.name, row.runner) else r
                for r in new.results
            ))  # fmt: skip
            found = compare_records(old, slower).rows
            called += [x.verdict is Verdict.SLOWER for x in found if (x.name, x.runner) == (row.name, row.runner)]
    assert sum(called) >= 0.9 * len(called), (sum(called), len(called))


def test_the_quiet_set_was_quiet() -> None:
    cores = DATA["provenance"]["machine"]["cores"]
    shares = [sum(row["others"].values()) / cores for row in DATA["sets"]["quiet"]]
    assert len(shares) == 11 and max(shares) < QUIET_SHARE


@pytest.mark.xfail(strict=True, reason="19 of 110 equal pairs are called by ratio, 45 by milliseconds: b is too small")
@pytest.mark.parametrize("measure", [Measure.RATIO, Measure.MILLISECONDS])
def test_the_same_files_are_not_called_different_on_a_quiet_machine(measure: Measure) -> None:
    shown = quiet() if measure is Measure.RATIO else [alone(record) for record in quiet()]
    rows = [row for pair in itertools.combinations(shown, 2) for row in compare_records(*pair).rows]
    assert len(rows) == 110 and {row.measure for row in rows} == {measure}
    assert sum(row.verdict is not Verdict.NO_DIFFERENCE for row in rows) <= FALSE_CALLS * len(rows)


@pytest.mark.xfail(strict=True, reason="up to 1.31 here: jitter within these records hides a change of 5 % in most")
def test_a_small_change_could_be_seen_on_a_quiet_machine() -> None:
    rows = [row for pair in itertools.combinations(quiet(), 2) for row in compare_records(*pair).rows]
    assert max(row.smallest for row in rows) < 1.10
