"""`edgesr bench compare`: what it prints, writes and exits with."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgesr.runtime.bench import Benchmark
from edgesr.runtime.bench_record import BenchRecord
from edgesr.runtime.instruction_counts import InstructionCounts

Run = Callable[..., Any]


def latencies(ms: float, seed: int) -> tuple[float, ...]:
    return tuple(ms * np.exp(np.random.default_rng(seed).normal(0, 0.01, 50)))


def record(ms: float, seed: int) -> BenchRecord:
    eager = Benchmark("eager", "torch", latencies(20, seed + 1), 5, (5,) * 10, sha256="ab" * 32)
    file = Benchmark("a.tflite", "litert-xnnpack", latencies(ms, seed), 5, (5,) * 10, sha256=f"{seed:064x}")
    environment = {"processor": "x", "packages": {"torch": "2.13"}}
    return BenchRecord("host", (8, 12), 1, 50, 5, "2026-11-25T18:00:00+00:00", environment, (eager, file),
                       baselines=(0, 0))  # fmt: skip


def counted(count: int) -> BenchRecord:
    counts = InstructionCounts("a.tflite", "edgesr_runner", (count,) * 3)
    return BenchRecord("emulated", (8, 12), 1, 3, 1, "2026-11-25T18:00:00+00:00", {}, (counts,), "qemu")


@pytest.fixture
def saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, BenchRecord], str]:
    monkeypatch.chdir(tmp_path)

    def save(name: str, value: BenchRecord) -> str:
        Path(name).write_text(json.dumps(value.to_json()), encoding="utf-8")
        return name

    return save


def test_a_table_with_the_verdict_its_interval_and_what_could_be_seen(run: Run, saved: Any) -> None:
    a, b = saved("a.json", record(10, 1)), saved("b.json", record(9, 5))
    lines = run("bench", "compare", a, b, "--fail-on", "slower").done().splitlines()
    assert " ".join(lines[0].split()) == "file runner threads verdict change 98 % interval seen from by"
    assert len(lines[2:]) >= 3 and lines[2].split()[:4] == ["a.tflite", "litert-xnnpack", "1", "faster"]
    change = float(lines[2].split()[4].rstrip("%"))
    assert -11 < change < -9 and lines[2].endswith("ratio to eager")
    assert any(line.startswith("note: a.tflite: the file changed: sha256 ") for line in lines)
    assert any(line.startswith("note: eager: ") and line.endswith(" x)") for line in lines)


def test_slower_fails_a_gate_after_the_table_was_printed(run: Run, saved: Any, tmp_path: Path) -> None:
    a, b = saved("a.json", record(10, 1)), saved("b.json", record(11, 5))
    assert "slower" in run("bench", "compare", a, b).done(), "without --fail-on the exit code is 0"
    outcome = run("bench", "compare", a, b, "--fail-on", "slower", "-o", "c.json")
    assert outcome.code == 3 and outcome.out.count("a.tflite") >= 1
    assert outcome.err.startswith("edgesr: b.json is slower than a.json: a.tflite (+") and outcome.err.count("\n") == 1
    plain = json.loads((tmp_path / "c.json").read_text())
    assert (plain["first"], plain["second"]) == (a, b) and plain["results"][0]["verdict"] == "slower"


def test_json(run: Run, saved: Any) -> None:
    a = saved("a.json", record(10, 1))
    plain = json.loads(run("bench", "compare", a, a, "--json").done())
    (row,) = plain["results"]
    assert (row["verdict"], row["ratio"], row["measure"]) == ("no difference seen", 1.0, "ratio")
    assert row["interval"][0] < 1 < row["interval"][1] < row["smallest_seen"] < 1.05
    assert run("bench", "compare", a, a, "-q").done() == ""


def test_instruction_counts_are_a_gate(run: Run, saved: Any) -> None:
    a, b = saved("a.json", counted(64_000_000)), saved("b.json", counted(64_000_001))
    outcome = run("bench", "compare", a, b, "--fail-on", "slower")
    assert outcome.code == 3 and "more instructions" in outcome.out and "exact" in outcome.out
    assert "64,000,000 then 64,000,001 instructions" in outcome.out
    assert "fewer instructions" in run("bench", "compare", b, a, "--fail-on", "slower").done()
    assert "same count" in run("bench", "compare", a, a, "--fail-on", "slower").done()


def test_what_cannot_be_compared_is_refused_in_one_line(run: Run, saved: Any) -> None:
    a = saved("a.json", record(10, 1))
    other = saved("b.json", dataclasses.replace(record(10, 2), size=(9, 12)))
    assert run("bench", "compare", a, other).refused() == (
        "different sizes (8x12 and 9x12); run both with the same --size"
    )
    assert run("bench", "compare", a, "none.json").refused().startswith("cannot read none.json: ")
    assert "is no JSON" in run("bench", "compare", a, __file__).refused()
