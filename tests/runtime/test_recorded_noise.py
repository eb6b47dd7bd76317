"""`bench compare` on noise that a virtual machine of two cores really made; data/recorded_noise.json says how.

All records are of the same files on an otherwise idle machine; whatever is called different is a false call. What
others did on the physical machine no record can know, and PyTorch's processes differ by 7 % here.
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

DATA = json.loads((Path(__file__).parent / "data" / "recorded_noise.json").read_text(encoding="utf-8"))
FALSE_CALLS, POWER, CHANGE = 0.02, 0.95, 1.05
QUIET_CORES = 0.05


def as_record(row: Any) -> BenchRecord:
    """A record of the first subject, PyTorch eager, and the files that are ratios to it."""
    results = []
    for index, (label, samples) in enumerate(row["latencies_ms"].items()):
        name, runner = label.split(" | ")
        results.append(Benchmark(name, runner, tuple(samples), 5, tuple(row["block_lengths"]), sha256=f"{index:064x}"))
    machine = DATA["provenance"]["machine"]
    environment = {"others": row["others"], **{k: machine[k] for k in ("processor", "cores", "packages")}}
    height, width = DATA["size"]
    return BenchRecord("host", (height, width), 1, 50, 5, row["started"], environment, tuple(results),
                       baselines=(0,) * len(results))  # fmt: skip


@pytest.fixture(scope="module")
def records() -> list[BenchRecord]:
    return [as_record(row) for row in DATA["records"]]


def everything_changed(record: BenchRecord) -> BenchRecord:
    """Without a file that is the same in two records, as after a change of everything."""
    results = tuple(dataclasses.replace(result, sha256=None) for result in record.results[1:])
    return dataclasses.replace(record, results=results, baselines=None)


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


def test_the_machine_was_quiet(records: Sequence[BenchRecord]) -> None:
    assert len(records) == 16
    assert max(sum(row["others"].values()) for row in DATA["records"]) < QUIET_CORES


def test_the_same_files_are_not_called_different(shown: tuple[list[BenchRecord], Measure]) -> None:
    records, measure = shown
    rows = [row for pair in itertools.combinations(records, 2) for row in compare_records(*pair).rows]
    assert len(rows) == 480 and {row.measure for row in rows} == {measure}
    false = [row for row in rows if row.verdict is not Verdict.NO_DIFFERENCE]
    assert len(false) <= FALSE_CALLS * len(rows), [(row.name, row.ratio, row.low, row.high) for row in false]


def calls(records: Sequence[BenchRecord], factor: Callable[[Comparison], float]) -> list[Verdict]:
    """The verdict on each file made slower by what `factor` makes of its comparison as it is, pair by pair."""
    found = []
    for old, new in itertools.pairwise(records):
        for row in compare_records(old, new).rows:
            again = compare_records(old, scaled(new, row.name, row.runner, factor(row))).rows
            found += [x.verdict for x in again if (x.name, x.runner) == (row.name, row.runner)]
    assert len(found) == 60
    return found


@pytest.mark.parametrize(("change", "verdict"), [(CHANGE, Verdict.SLOWER), (1 / CHANGE, Verdict.FASTER)])
def test_a_true_change_of_five_per_cent_is_called(records: list[BenchRecord], change: float, verdict: Verdict) -> None:
    """Of one file, while the others stay what they were."""
    found = calls(records, lambda row: change)
    assert found.count(verdict) >= POWER * len(found)


def test_what_could_be_seen_is_seen_where_everything_changed(records: list[BenchRecord]) -> None:
    """Milliseconds alone are left: 5 % is called in 53 or more of 60 pairs, what it says it sees in nearly all."""
    found = calls([everything_changed(record) for record in records], lambda row: row.smallest)
    assert found.count(Verdict.SLOWER) >= 0.9 * len(found)
