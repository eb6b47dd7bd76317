import dataclasses
import itertools
import math
import os
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from edgesr.runtime.bench import Benchmark, Subject, environment, run_interleaved, turn_orders


def benchmark(*latencies_ms: float) -> Benchmark:
    return Benchmark("a.tflite", "fake", latencies_ms, 0)


class Clock:
    """A counter of nanoseconds that moves when a subject runs, and by one on every look at it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0
        monkeypatch.setattr(time, "perf_counter_ns", self.read)

    def read(self) -> int:
        return self.now

    def takes(self, ms: Callable[[], float]) -> Callable[[], None]:
        def invoke() -> None:
            self.now += round(ms() * 1e6)

        return invoke


def test_subjects_take_turns_and_warmups_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    clock = Clock(monkeypatch)

    def subject(name: str) -> Subject:
        def ms() -> float:
            order.append(name)
            return 10.0 * order.count(name) + ord(name)

        return Subject(name, "fake", clock.takes(ms))

    reports: list[tuple[str, int, int]] = []
    first, second = run_interleaved(
        [subject("a"), subject("b")], 3, 2, lambda stage, done, total: reports.append((stage, done, total))
    )
    assert order == ["a", "b", "b", "a"] * 2 + ["a", "b"], "the order changes from turn to turn"
    assert first.latencies_ms == (127.0, 137.0, 147.0) and second.latencies_ms == (128.0, 138.0, 148.0)
    assert first.warmups == 2 and (first.name, first.runner) == ("a", "fake")
    assert reports == [("benchmark", done, 5) for done in range(6)]


@pytest.mark.parametrize(("runs", "warmups"), [(0, 5), (3, -1)])
def test_nothing_to_time_is_refused(runs: int, warmups: int) -> None:
    with pytest.raises(ValueError, match="at least one run"):
        run_interleaved([], runs, warmups)


def test_median_and_minimum() -> None:
    assert benchmark(3, 1, 2).median_ms == 2 and benchmark(4, 1, 2, 3).median_ms == 2.5
    assert benchmark(3, 1, 2).min_ms == 1


@pytest.mark.parametrize("n", [*range(1, 32), 70, 100, 1000])
def test_p90_is_the_smallest_sample_that_nine_tenths_do_not_exceed(n: int) -> None:
    samples = [float(value) for value in range(1, n + 1)]
    p90 = benchmark(*reversed(samples)).p90_ms
    assert sum(value <= p90 for value in samples) >= math.ceil(n * 9 / 10)
    assert sum(value <= p90 - 1 for value in samples) < n * 9 / 10


STEADY = (10.0,) * 50
WARNINGS = [
    ("steady", STEADY, ()),
    ("few", STEADY[:49], ("only 49 runs, 50 or more",)),
    ("spread", ((10.0,) * 5 + (13.0,)) * 9, ("wide spread, p90 is 1.30 x the median",)),
    ("one outlier", (10.0,) * 49 + (50.0,), ()),
    ("throttled", (10.0,) * 25 + (11.5,) * 25, ("the last third ran 1.15 x as long as the first",)),
    ("faster", (11.5,) * 25 + (10.0,) * 25, ()),
    ("too few to see throttling", (1.0,) * 7 + (1.2,), ("only 8 runs",)),
]


@pytest.mark.parametrize(("latencies_ms", "expected"), [w[1:] for w in WARNINGS], ids=[w[0] for w in WARNINGS])
def test_a_benchmark_warns_about_itself(latencies_ms: tuple[float, ...], expected: tuple[str, ...]) -> None:
    found = benchmark(*latencies_ms).warnings()
    assert len(found) == len(expected)
    for warning, words in zip(found, expected, strict=True):
        assert warning.startswith("a.tflite: ") and words in warning


def test_partial_samples_say_so() -> None:
    partial = dataclasses.replace(benchmark(*STEADY), problem="the device went away")
    assert partial.warnings() == ["a.tflite: partial, the device went away"]


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"latencies_ms": ()}, "no sample was taken"),
    ({"latencies_ms": (1.0, 0.0)}, "no positive number"),
    ({"latencies_ms": (1.0, math.nan)}, "no positive number"),
    ({"block_lengths": (1, 1)}, r"blocks of \(1, 1\) do not hold 3 samples"),
    ({"block_lengths": (3, 0)}, "do not hold 3 samples"),
    ({"warmups": -1}, "-1 warm-ups"),
    ({"threads": 0}, "in 0 threads"),
]


@pytest.mark.parametrize(("changes", "words"), REFUSED)
def test_what_no_measurement_gives_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(benchmark(1.0, 2.0, 3.0), **changes)


def test_json_keeps_every_sample() -> None:
    plain = benchmark(3.0, 1.0, 2.0).to_json()
    assert plain["latencies_ms"] == [3.0, 1.0, 2.0] and plain["n"] == 3
    assert (plain["median_ms"], plain["p90_ms"], plain["min_ms"]) == (2.0, 3.0, 1.0)


@pytest.mark.parametrize("count", range(1, 9))
def test_no_subject_follows_another_more_often_than_others_do(count: int) -> None:
    orders = turn_orders(count)
    assert all(sorted(order) == list(range(count)) for order in orders)
    followed = Counter(pair for order in orders for pair in itertools.pairwise(order))
    assert len(followed) == count * (count - 1) and len(set(followed.values())) <= 1
    assert len(set(Counter(order[0] for order in orders).values())) == 1


def test_settling_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    subject = Subject("a", "fake", clock.takes(lambda: 5.0), clock.takes(lambda: 100.0))
    assert run_interleaved([subject], 3, 1)[0].latencies_ms == (5.0,) * 3


def test_the_environment_names_the_machine() -> None:
    found = environment()
    assert set(found) == {"system", "processor", "cores", "load_average", "python", "packages"}
    assert found["cores"] == os.cpu_count() and isinstance(found["processor"], str)
