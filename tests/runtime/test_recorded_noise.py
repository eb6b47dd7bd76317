"""`bench compare` on noise that virtual machines of two cores really made; data/*.json say how.

All records are of the same files; whatever is called different is a false call. On the quiet machine processes differ
by 2 to 4 %. On the restless one a neighbour, whom the machine's own counters do not show, slows every fourth process by
a tenth to a half, and whole records differ by 7 %. On the fresh ones nothing was decided.
"""

import dataclasses
import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from edgesr.runtime.bench import Benchmark
from edgesr.runtime.bench_compare import Comparison, Measure, Verdict, compare_records
from edgesr.runtime.bench_record import BenchRecord

FOLDER = Path(__file__).parent / "data"
FALSE_CALLS, POWER, CHANGE = 0.02, 0.95, 1.05
QUIET_CORES = 0.05
RECORDS = {"quiet": 16, "restless": 10, "fresh": 6}


def as_record(data: Any, row: Any) -> BenchRecord:
    """A record of the first subject, PyTorch eager, and the files that are ratios to it."""
    results = []
    for index, (label, samples) in enumerate(row["latencies_ms"].items()):
        name, runner = label.split(" | ")
        results.append(Benchmark(name, runner, tuple(samples), 5, tuple(row["block_lengths"]), sha256=f"{index:064x}"))
    machine = data["provenance"]["machine"]
    environment = {"others": row["others"], **{k: machine[k] for k in ("processor", "cores", "packages")}}
    height, width = data["size"]
    runs = sum(row["block_lengths"])
    return BenchRecord("host", (height, width), 1, runs, 5, row["started"], environment, tuple(results),
                       baselines=(0,) * len(results))  # fmt: skip


def load(name: str) -> list[BenchRecord]:
    data = json.loads((FOLDER / f"noise_{name}.json").read_text(encoding="utf-8"))
    return [as_record(data, row) for row in data["records"]]


@pytest.fixture(scope="module", params=RECORDS)
def records(request: pytest.FixtureRequest) -> list[BenchRecord]:
    found = load(request.param)
    assert len(found) == RECORDS[request.param]
    return found


def everything_changed(record: BenchRecord) -> BenchRecord:
    """Without a file that is the same in two records, as after a change of everything."""
    results = tuple(dataclasses.replace(result, sha256=None) for result in record.results[1:])
    return dataclasses.replace(record, results=results, baselines=None)


def only_eager_stays(record: BenchRecord) -> BenchRecord:
    """With other bytes in every file."""
    results = tuple(
        dataclasses.replace(result, sha256="ff" * 32) if index else result
        for index, result in enumerate(record.results)
        if isinstance(result, Benchmark)
    )
    return dataclasses.replace(record, results=results)


def scaled(record: BenchRecord, name: str, runner: str, factor: float) -> BenchRecord:
    """With one file `factor` times as slow, and another one by its bytes."""
    return dataclasses.replace(record, results=tuple(
        dataclasses.replace(r, latencies_ms=tuple(ms * factor for ms in r.latencies_ms),
                            sha256=None if r.sha256 is None else "ff" * 32)
        if isinstance(r, Benchmark) and (r.name, r.runner) == (name, runner) else r
        for r in record.results
    ))  # fmt: skip


def as_they_are(record: BenchRecord) -> BenchRecord:
    return record


SHOWN = {"ratios": (as_they_are, Measure.RATIO), "milliseconds": (everything_changed, Measure.MILLISECONDS)}


@pytest.fixture(params=SHOWN)
def shown(request: pytest.FixtureRequest, records: list[BenchRecord]) -> tuple[list[BenchRecord], Measure]:
    change: Callable[[BenchRecord], BenchRecord]
    change, measure = SHOWN[request.param]
    return [change(record) for record in records], measure


def test_nothing_else_ran(records: Sequence[BenchRecord]) -> None:
    for record in records:
        others = record.environment["others"]
        assert isinstance(others, dict) and sum(others.values()) < QUIET_CORES


def test_the_same_files_are_not_called_different(shown: tuple[list[BenchRecord], Measure]) -> None:
    records, measure = shown
    rows = [row for pair in itertools.combinations(records, 2) for row in compare_records(*pair).rows]
    assert len(rows) == 2 * len(records) * (len(records) - 1) and {row.measure for row in rows} == {measure}
    false = [row for row in rows if row.verdict is not Verdict.NO_DIFFERENCE]
    assert len(false) <= FALSE_CALLS * len(rows), [(row.name, row.ratio, row.low, row.high) for row in false]


def test_the_same_files_beside_pytorch_alone_are_not_called_different(records: list[BenchRecord]) -> None:
    """As after a change of every file of the same network."""
    other = [only_eager_stays(record) for record in records]
    rows = [
        row
        for i, j in itertools.combinations(range(len(records)), 2)
        for row in compare_records(records[i], other[j]).rows
    ]
    assert {row.yardstick for row in rows} == {"PyTorch eager spanv2_x4"}
    false = [row for row in rows if row.verdict is not Verdict.NO_DIFFERENCE]
    assert len(false) <= FALSE_CALLS * len(rows), [(row.name, row.ratio, row.low, row.high) for row in false]


def calls(records: Sequence[BenchRecord], factor: Callable[[Comparison], float]) -> list[Verdict]:
    """The verdict on each file made slower by what `factor` makes of its comparison as it is, pair by pair."""
    found = []
    for old, new in itertools.pairwise(records):
        for row in compare_records(old, new).rows:
            again = compare_records(old, scaled(new, row.name, row.runner, factor(row))).rows
            found += [x.verdict for x in again if (x.name, x.runner) == (row.name, row.runner)]
    assert len(found) == 4 * (len(records) - 1)
    return found


@pytest.mark.parametrize("name", ["quiet", "fresh"])
@pytest.mark.parametrize(("change", "verdict"), [(CHANGE, Verdict.SLOWER), (1 / CHANGE, Verdict.FASTER)])
def test_a_true_change_of_five_per_cent_is_called(change: float, verdict: Verdict, name: str) -> None:
    """Of one file, while the others stay what they were."""
    found = calls(load(name), lambda row: change)
    assert found.count(verdict) >= POWER * len(found)


def test_what_could_be_seen_is_seen(shown: tuple[list[BenchRecord], Measure]) -> None:
    """A change as large as a comparison says that it sees, however restless the machine."""
    found = calls(shown[0], lambda row: row.smallest)
    assert found.count(Verdict.SLOWER) >= 0.9 * len(found)
