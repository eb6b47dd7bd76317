import dataclasses
import datetime
import json
import math
from pathlib import Path
from typing import Any

import pytest

from edgesr.errors import ArtifactError
from edgesr.runtime.bench import Benchmark
from edgesr.runtime.bench_record import BenchRecord, now, read_record
from edgesr.runtime.instruction_counts import InstructionCounts

EAGER = Benchmark("eager", "torch", (4.0,) * 50, 5, threads=1)
FILE = Benchmark("a", "fake", (2.0,) * 50, 5, threads=1)
WIDE = Benchmark("a", "fake", (1.0,) * 49, 5, threads=2)
COUNTS = InstructionCounts("a", "fake", (5, 5))
RECORD = BenchRecord(
    "host", (8, 12), 1, 50, 5, "2026-11-25T18:00:00+00:00", {"processor": "x"}, (EAGER, FILE, WIDE),
    baselines=(0, 0, 0), warnings=("the machine was not quiet",),
)  # fmt: skip


def test_ratios_threads_and_warnings() -> None:
    assert [RECORD.ratio(result) for result in RECORD.results] == [1.0, 0.5, 0.25]
    assert [RECORD.threads_of(result) for result in RECORD.results] == [1, 1, 2]
    assert RECORD.threads_of(dataclasses.replace(FILE, threads=None)) == 1
    assert RECORD.all_warnings == ("the machine was not quiet", "a (2 threads): only 49 runs, 50 or more give a "
                                   "steadier median")  # fmt: skip
    alone = dataclasses.replace(RECORD, baselines=None)
    assert alone.ratio(FILE) is None and alone.baseline(FILE) is None


def test_it_is_written_and_read_back(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(RECORD.to_json()), encoding="utf-8")
    assert read_record(path) == RECORD
    assert read_record(path).to_json() == RECORD.to_json(), "warnings of results are not doubled"


def test_names_that_readers_rely_on_stay() -> None:
    plain: dict[str, Any] = RECORD.to_json()
    assert {"device", "emulated", "size", "threads", "environment", "results", "warnings"} <= set(plain)
    assert {"name", "runner", "median_ms", "p90_ms", "min_ms", "n", "warmups", "latencies_ms", "ratio_to_torch"} <= set(
        plain["results"][0]
    )
    assert (plain["schema"], plain["emulated"], plain["results"][1]["ratio_to_torch"]) == (1, None, 0.5)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"size": (0, 5)}, r"size \(0, 5\)"),
    ({"threads": 0}, "0 threads"),
    ({"runs": 0}, "0 runs"),
    ({"results": (), "baselines": None}, "needs a result"),
    ({"emulated": "qemu"}, "milliseconds mean nothing"),
    ({"baselines": (0, 0)}, "no latencies of these 3"),
    ({"baselines": (0, 0, 3)}, "no latencies of these 3"),
    ({"results": (EAGER, FILE, COUNTS), "baselines": (0, 0, 2)}, "no latencies of these 3"),
]


@pytest.mark.parametrize(("changes", "words"), REFUSED)
def test_contradictions_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(RECORD, **changes)


def test_an_emulation_holds_counts_alone() -> None:
    record = dataclasses.replace(RECORD, results=(COUNTS,), baselines=None, emulated="qemu", device="emulated")
    assert BenchRecord.from_json(record.to_json()) == record


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("[]", r"is no record of edgesr bench: the document is \[\], wanted an object"),
        ("{}", "schema is missing"),
        ('{"schema": 9}', "schema is 9, wanted 1, the one that this edgesr reads"),
        ('{"schema": true}', "schema is True, wanted a whole number"),
    ],
)
def test_other_files_are_refused(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    with pytest.raises(ArtifactError, match=words) as caught:
        read_record(tmp_path / "a.json")
    assert str(tmp_path / "a.json") in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"cannot read .*none.json: No such file or directory; give a file of"):
        read_record(tmp_path / "none.json")


def test_numbers_that_json_has_none_for_are_refused() -> None:
    for value in (math.nan, math.inf, 10**400):
        plain: dict[str, Any] = RECORD.to_json()
        plain["results"][2]["latencies_ms"] = [1.0, value]
        with pytest.raises(ArtifactError, match="is no record of edgesr bench"):
            BenchRecord.from_json(plain)


def test_a_result_that_contradicts_itself_is_named() -> None:
    plain: dict[str, Any] = RECORD.to_json()
    plain["results"][1]["block_lengths"] = [3]
    with pytest.raises(ArtifactError, match=r"results\[1\]: a: blocks of \(3,\) do not hold 50 samples"):
        BenchRecord.from_json(plain)


def test_the_time_has_a_zone() -> None:
    assert datetime.datetime.fromisoformat(now()).utcoffset() == datetime.timedelta(0)
    for text in ("yesterday", "2026-11-25T18:00:00"):
        with pytest.raises(ArtifactError, match=f"started is '{text}', wanted a time in ISO 8601 with its zone"):
            BenchRecord.from_json(RECORD.to_json() | {"started": text})
