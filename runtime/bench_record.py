"""What one `edgesr bench` wrote: results with their raw samples, the machine, and what a reader should doubt.

The JSON is schema 1, described in docs/benchmarking.md and by bench_schema.json beside this file. Statistics in it
(medians, ratios) are for readers; they are computed again from the samples when a record is read.

An emulation holds instruction counts alone: a record whose `emulated` says what was emulated refuses milliseconds.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgesr.errors import ArtifactError
from edgesr.runtime.bench import Benchmark
from edgesr.runtime.instruction_counts import InstructionCounts
from edgesr.runtime.json_fields import FieldError, Fields

SCHEMA = 1
SCHEMA_FILE = Path(__file__).with_name("bench_schema.json")

Result = Benchmark | InstructionCounts


@dataclass(frozen=True)
class BenchRecord:
    """The results of one run of the benchmark.

    `device` is "host", "adb:SERIAL" or "emulated"; `emulated` what was emulated, in words. `size` is the input's (H,
    W). `runs` and `warmups` are what was asked for. `started` is ISO 8601 in UTC. `environment` holds JSON values: the
    machine, or the device's fingerprint. `baselines` names for each result, by index, the one that it is a ratio to.
    `warnings` are those about the run as a whole; each result adds its own.
    """

    device: str
    size: tuple[int, int]
    threads: int
    runs: int
    warmups: int
    started: str
    environment: Mapping[str, object]
    results: tuple[Result, ...]
    emulated: str | None = None
    baselines: tuple[int, ...] | None = None
    warnings: tuple[str, ...] = ()
    schema: int = field(default=SCHEMA, init=False)

    def __post_init__(self) -> None:
        """Refuse records that contradict themselves."""
        if min(*self.size, self.threads, self.runs) < 1 or self.warmups < 0:
            raise ValueError(f"size {self.size}, {self.threads} threads, {self.runs} runs, {self.warmups} warm-ups")
        if not self.results:
            raise ValueError("a record needs a result")
        if self.emulated is not None and any(isinstance(result, Benchmark) for result in self.results):
            raise ValueError("an emulation counts instructions, its milliseconds mean nothing")
        if self.baselines is not None and (
            len(self.baselines) != len(self.results)
            or not all(0 <= i < len(self.results) and isinstance(self.results[i], Benchmark) for i in self.baselines)
        ):
            raise ValueError(f"baselines {self.baselines} are no latencies of these {len(self.results)} results")

    @property
    def all_warnings(self) -> tuple[str, ...]:
        """What a reader should doubt: of the run, then of each result."""
        return (*self.warnings, *(warning for result in self.results for warning in result.warnings()))

    def threads_of(self, result: Result) -> int:
        """How many threads a result ran in."""
        own = result.threads if isinstance(result, Benchmark) else None
        return self.threads if own is None else own

    def baseline(self, result: Result) -> Benchmark | None:
        """The result that another one of this record is a ratio to."""
        if self.baselines is None:
            return None
        found = self.results[self.baselines[self._index(result)]]
        return found if isinstance(found, Benchmark) else None

    def ratio(self, result: Result) -> float | None:
        """A result's median over its baseline's, both from this run; None where it has none."""
        baseline = self.baseline(result)
        if baseline is None or not isinstance(result, Benchmark):
            return None
        return result.median_ms / baseline.median_ms

    def _index(self, result: Result) -> int:
        return next(i for i, own in enumerate(self.results) if own is result)

    def to_json(self) -> dict[str, object]:
        """Plain values, as bench_schema.json describes them."""
        return {
            "schema": self.schema,
            "device": self.device,
            "emulated": self.emulated,
            "size": list(self.size),
            "threads": self.threads,
            "runs": self.runs,
            "warmups": self.warmups,
            "started": self.started,
            "environment": dict(self.environment),
            "results": [result.to_json() | self._ratio_fields(result) for result in self.results],
            "warnings": list(self.all_warnings),
        }

    def _ratio_fields(self, result: Result) -> dict[str, object]:
        if self.baselines is None:
            return {}
        return {"baseline": self.baselines[self._index(result)], "ratio_to_torch": self.ratio(result)}

    @classmethod
    def from_json(cls, value: object, source: str = "the record") -> BenchRecord:
        """What `to_json` wrote; raises `ArtifactError` naming the field that is wrong, `source` first."""
        try:
            return cls._read(Fields(value))
        except (ValueError, OverflowError) as error:
            raise ArtifactError(f"{source} is no record of edgesr bench: {error}; run edgesr bench again") from error

    @classmethod
    def _read(cls, fields: Fields) -> BenchRecord:
        if fields.integer("schema") != SCHEMA:
            raise fields.wrong("schema", f"{SCHEMA}, the one that this edgesr reads")
        size = fields.integers("size", 1)
        if len(size) != 2:
            raise fields.wrong("size", "a height and a width")
        children = list(fields.children("results"))
        results = tuple(_read_result(child) for child in children)
        own = {warning for result in results for warning in result.warnings()}
        return cls(
            device=fields.text("device"),
            size=(size[0], size[1]),
            threads=fields.integer("threads", 1),
            runs=fields.integer("runs", 1),
            warmups=fields.integer("warmups"),
            started=_time(fields),
            environment=fields.mapping("environment"),
            results=results,
            emulated=fields.optional_text("emulated"),
            baselines=_read_baselines(children),
            warnings=tuple(warning for warning in fields.texts("warnings") if warning not in own),
        )


def now() -> str:
    """The time as records hold it."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def read_record(path: Path) -> BenchRecord:
    """The record in a JSON file; raises `ArtifactError` where there is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror or error}; give a file of edgesr bench -o") from error
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path} is no JSON ({error}); give a file that edgesr bench -o wrote") from error
    return BenchRecord.from_json(value, str(path))


def _read_result(fields: Fields) -> Result:
    kind = InstructionCounts if "instructions" in fields else Benchmark
    try:
        return kind.from_json(fields)
    except FieldError:
        raise
    except ValueError as error:  # a dataclass that refuses its values
        raise FieldError(f"{fields.place('').rstrip('.')}: {error}") from error


def _read_baselines(results: list[Fields]) -> tuple[int, ...] | None:
    if not results or "baseline" not in results[0]:
        return None
    return tuple(fields.integer("baseline") for fields in results)


def _time(fields: Fields) -> str:
    text = fields.text("started")
    try:
        if datetime.datetime.fromisoformat(text).tzinfo is not None:
            return text
    except ValueError:
        pass
    raise fields.wrong("started", "a time in ISO 8601 with its zone")
