import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest

from edgesr.errors import ArtifactError
from edgesr.runtime.bench import Benchmark
from edgesr.runtime.bench_compare import Comparison, Measure, Verdict, compare_interleaved, compare_records
from edgesr.runtime.bench_record import BenchRecord
from edgesr.runtime.instruction_counts import InstructionCounts

ENVIRONMENT = {"processor": "x", "cores": 2, "packages": {"torch": "2.13"}}
EAGER_SHA, FILE_SHA = "ee" * 32, "aa" * 32


def latencies(ms: float, seed: int, n: int = 50) -> tuple[float, ...]:
    return tuple(float(v) for v in ms * np.exp(np.random.default_rng(seed).normal(0, 0.01, n)))


def record(file_ms: float, eager_ms: float = 20.0, seed: int = 0, threads: int = 1, **fields: Any) -> BenchRecord:
    """Eager and one file, both with a jitter of 1 %, in ten processes."""
    eager, file = (
        Benchmark(name, runner, latencies(ms, own), 5, (5,) * 10, sha256=digest, threads=threads)
        for name, runner, ms, own, digest in (
            ("eager", "torch", eager_ms, seed + 1, EAGER_SHA), ("a", "litert", file_ms, seed, FILE_SHA)
        )
    )  # fmt: skip
    found = BenchRecord(
        "host", (8, 12), threads, 50, 5, "2026-11-25T18:00:00+00:00", ENVIRONMENT, (eager, file), baselines=(0, 0)
    )
    return dataclasses.replace(found, **fields)


def alone(found: BenchRecord) -> BenchRecord:
    """Without the yardstick, as a phone's record is."""
    return dataclasses.replace(found, results=found.results[1:], baselines=None)


def only(old: BenchRecord, new: BenchRecord) -> Comparison:
    (row,) = compare_records(old, new).rows
    return row


@pytest.mark.parametrize(
    ("ms", "verdict"), [(8.5, Verdict.FASTER), (10.0, Verdict.NO_DIFFERENCE), (11.8, Verdict.SLOWER)]
)
def test_verdicts(ms: float, verdict: Verdict) -> None:
    for strip, least in ((alone, 1.2), (lambda found: found, 1.04)):
        comparison = compare_records(strip(record(10.0)), strip(record(ms, seed=7)))
        (row,) = comparison.rows
        assert row.verdict is verdict and row.ratio == pytest.approx(ms / 10, rel=0.01)
        assert row.low < ms / 10 < row.high and least < row.smallest < least + 0.05
        assert bool(comparison.slower) == (verdict is Verdict.SLOWER)
        assert (row.low <= 1 <= row.high) == (verdict is Verdict.NO_DIFFERENCE)


def test_a_slower_machine_cancels_where_both_have_the_yardstick() -> None:
    old, new = record(10.0), record(13.0, 26.0, seed=7)
    assert only(old, new).measure is Measure.RATIO and only(old, new).verdict is Verdict.NO_DIFFERENCE
    assert "eager: 20.0" in compare_records(old, new).notes[0] and "(1.298 x)" in compare_records(old, new).notes[0]
    assert only(alone(old), alone(new)).measure is Measure.MILLISECONDS
    assert only(alone(old), alone(new)).verdict is Verdict.SLOWER


OTHER_YARDSTICK: list[dict[str, Any]] = [
    {"environment": ENVIRONMENT | {"packages": {"torch": "2.14"}}},
    {"results": (dataclasses.replace(record(10.0).results[0], sha256="ff" * 32), record(10.0).results[1])},
    {"results": (dataclasses.replace(record(10.0).results[0], sha256=None), record(10.0).results[1])},
    {
        "results": (
            dataclasses.replace(record(10.0).results[0], latencies_ms=(20.0,) * 49, block_lengths=()),
            record(10.0).results[1],
        )
    },
    {"results": (dataclasses.replace(record(10.0).results[0], block_lengths=(10,) * 5), record(10.0).results[1])},
    {"results": (dataclasses.replace(record(10.0).results[0], name="other"), record(10.0).results[1])},
    {"results": (dataclasses.replace(record(10.0).results[0], problem="it broke off"), record(10.0).results[1])},
]


@pytest.mark.parametrize("changes", OTHER_YARDSTICK)
def test_another_yardstick_is_none(changes: dict[str, Any]) -> None:
    old, new = record(10.0), dataclasses.replace(record(10.0), **changes)
    for pair in ((old, new), (new, old)):
        assert {row.measure for row in compare_records(*pair).rows} == {Measure.MILLISECONDS}


def test_a_changed_file_and_a_partial_record_are_said_and_not_refused() -> None:
    eager, file = record(10.0, seed=3).results
    assert isinstance(file, Benchmark)
    partial = dataclasses.replace(
        file,
        sha256="bb" * 32,
        latencies_ms=file.latencies_ms[:20],
        block_lengths=(5,) * 4,
        problem="the device went away",
    )
    row = only(record(10.0), dataclasses.replace(record(10.0), results=(eager, partial)))
    assert row.notes == ("the file changed: sha256 aaaaaaaaaaaa, then bbbbbbbbbbbb",
                         "the second record is partial: the device went away")  # fmt: skip
    assert row.measure is Measure.MILLISECONDS, "its turns do not pair with the yardstick's"


@pytest.mark.parametrize(("lengths", "short"), [((), "1 block"), ((17, 17, 16), "3 blocks")])
def test_few_processes_tell_nothing(lengths: tuple[int, ...], short: str) -> None:
    few = dataclasses.replace(
        record(20.0), results=tuple(dataclasses.replace(r, block_lengths=lengths) for r in record(20.0).results)
    )
    row = only(record(10.0), few)
    assert row.verdict is Verdict.NO_DIFFERENCE and math.isinf(row.smallest)
    assert row.notes == (
        f"the second record has {short}, 4 or more are needed to know what differs between processes (--blocks)",
    )
    plain = json.loads(json.dumps(row.to_json(), allow_nan=False))
    assert plain["smallest_seen"] is None and plain["interval"] == [0.0, None]


def test_a_busy_machine_widens_the_interval_and_is_said() -> None:
    busy = ENVIRONMENT | {"others": {"busy_cores": 0.3, "stolen_cores": 0.1}}
    old, new = record(10.0), record(11.5, seed=7, environment=busy)
    for pair in ((old, new), (new, old)):
        assert only(*pair).verdict is Verdict.NO_DIFFERENCE and only(*pair).smallest > 1.2
    assert compare_records(old, new).notes[0] == (
        "others had 20% of the machine during the second record; changes that they can explain are not called"
    )
    quiet = ENVIRONMENT | {"others": {"busy_cores": 0.01, "stolen_cores": 0.0}}
    found = compare_records(old, record(11.5, seed=7, environment=quiet))
    assert found.rows[0].verdict is Verdict.SLOWER and len(found.notes) == 1
    for other in ("x", {"busy_cores": "x"}, {}):
        new = record(11.5, seed=7, environment=ENVIRONMENT | {"others": other})
        assert only(old, new).verdict is Verdict.SLOWER


COUNTS = InstructionCounts("a", "runner", (100, 100))
COUNTED = BenchRecord("emulated", (8, 12), 1, 2, 0, "2026-11-25T18:00:00+00:00", {}, (COUNTS,), "qemu")
COUNT_CASES = [
    ((100, 100), Verdict.NO_DIFFERENCE, "same count"),
    ((101, 101), Verdict.SLOWER, "more instructions"),
    ((99, 99), Verdict.FASTER, "fewer instructions"),
    ((99, 101), Verdict.NO_DIFFERENCE, "no difference seen"),
]


@pytest.mark.parametrize(("counts", "verdict", "words"), COUNT_CASES)
def test_instructions_compare_exactly(counts: tuple[int, int], verdict: Verdict, words: str) -> None:
    row = only(COUNTED, dataclasses.replace(COUNTED, results=(dataclasses.replace(COUNTS, instructions=counts),)))
    assert (row.verdict, row.words, row.measure) == (verdict, words, Measure.INSTRUCTIONS)
    assert ("counts of the second record differ between its runs" in row.notes) == (counts == (99, 101))


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"size": (8, 13)}, r"different sizes \(8x12 and 8x13\); run both with the same --size"),
    ({"device": "adb:1"}, r"different devices \(host, x, 2; adb:1, x, 2\); compare two records of one device"),
    ({"environment": ENVIRONMENT | {"processor": "y"}}, r"different devices \(host, x, 2; host, y, 2\)"),
    ({"environment": {"fingerprint": "pixel"}}, r"different devices \(host, x, 2; host\)"),
    ({"results": (COUNTS,), "baselines": None, "emulated": "qemu"}, "one record was timed and the other emulated"),
    ({"results": (COUNTS,), "baselines": None}, "one record holds milliseconds and the other instructions"),
]


@pytest.mark.parametrize(("changes", "words"), REFUSED)
def test_what_cannot_be_compared_is_refused(changes: dict[str, Any], words: str) -> None:
    old, new = record(10.0), dataclasses.replace(record(10.0), **changes)
    with pytest.raises(ArtifactError, match=words):
        compare_records(old, new)
    with pytest.raises(ArtifactError):
        compare_records(new, old)


def test_emulations_threads_and_names_must_agree() -> None:
    with pytest.raises(ArtifactError, match=r"different emulations \(qemu; another\); compare two of one emulation"):
        compare_records(COUNTED, dataclasses.replace(COUNTED, emulated="another"))
    with pytest.raises(ArtifactError, match=r"different threads \(1 and 2\); run both with the same --threads"):
        compare_records(record(10.0), record(10.0, threads=2))
    renamed = dataclasses.replace(record(10.0).results[1], name="b")
    with pytest.raises(ArtifactError, match="share no artifact of one name and runner"):
        compare_records(record(10.0), dataclasses.replace(record(10.0), results=(renamed,), baselines=None))
    yardstick = dataclasses.replace(record(10.0), results=record(10.0).results[:1], baselines=(0,))
    with pytest.raises(ArtifactError, match="nothing but the yardstick"):
        compare_records(yardstick, yardstick)


def test_a_phone_is_itself_under_another_serial() -> None:
    environment = {"fingerprint": "google/husky/14"}
    old, new = (alone(record(10.0, device=f"adb:{serial}", environment=environment)) for serial in (1, 2))
    assert only(old, new).verdict is Verdict.NO_DIFFERENCE


def test_fingerprints_count_where_both_have_one() -> None:
    first, other = ({"fingerprint": name} for name in ("pixel 1", "pixel 2"))
    old = alone(record(10.0, device="adb:1", environment=first))
    with pytest.raises(ArtifactError, match=r"different devices \(pixel 1; pixel 2\)"):
        compare_records(old, alone(record(10.0, device="adb:1", environment=other)))
    for unknown in ({}, {"fingerprint": None}):
        assert only(old, alone(record(10.0, device="adb:1", environment=unknown))).verdict is Verdict.NO_DIFFERENCE
        with pytest.raises(ArtifactError, match=r"different devices \(adb:1; adb:2\)"):
            compare_records(old, alone(record(10.0, device="adb:2", environment=unknown)))


def test_what_is_in_one_record_alone_is_said() -> None:
    extra = dataclasses.replace(record(10.0).results[1], name="b")
    more = dataclasses.replace(record(10.0), results=(*record(10.0).results, extra), baselines=(0, 0, 0))
    assert "b (litert, 1 thread(s)) is in the second record alone" in compare_records(record(10.0), more).notes
    assert "b (litert, 1 thread(s)) is in the first record alone" in compare_records(more, record(10.0)).notes


@pytest.mark.parametrize(("ms", "differs"), [(10.0, False), (10.15, False), (10.8, True), (9.2, True)])
def test_two_results_of_one_record_are_compared_process_by_process(ms: float, differs: bool) -> None:
    """A machine that is a tenth slower in some processes slows both, and is no difference; 2 % is never called."""
    found = record(10.0)
    disturbed = np.repeat(1 + 0.1 * np.random.default_rng(3).random(10), 5)
    first, second = (
        Benchmark(name, "litert", tuple(np.array(latencies(base, seed)) * disturbed), 5, (5,) * 10, sha256=FILE_SHA)
        for name, base, seed in (("a", 10.0, 1), ("b", ms, 2))
    )
    both = dataclasses.replace(found, results=(found.results[0], first, second), baselines=(0, 0, 0))
    ratio = compare_interleaved(both, first, second)
    assert ratio.differs == differs and ratio.ratio == pytest.approx(ms / 10, rel=0.02)
    assert ratio.low < ms / 10 < ratio.high
    one = dataclasses.replace(first, block_lengths=()), dataclasses.replace(second, block_lengths=())
    alone_in_one = dataclasses.replace(both, results=(found.results[0], *one))
    assert not compare_interleaved(alone_in_one, *one).differs, "a single process knows nothing of its noise"
