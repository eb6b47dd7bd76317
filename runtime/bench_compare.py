"""Compare two records of `edgesr bench` with a verdict that knows noise; instruction counts compare exactly.

Artifacts are matched by name, runner and threads. Whatever else did not change from the one record to the other (the
same bytes in the same version of the same runtime, PyTorch eager among them) is a yardstick: what is compared is the
latency over the yardstick's in the same block, so that the machine's own speed cancels. Of several, the one that leaves
the least noise is taken; without any, milliseconds are compared, and less can be called. Statistics: `noise`; blocks
are processes, too few of them tell nothing, and those that the machine disturbed most are left out.

Records that cannot be compared are refused. A different sha256 under one name is what a comparison is for, and said. A
device is known by its fingerprint (`environment`) where both records have one, whatever serial it was reached under;
else by its name, processor and cores.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgesr.errors import ArtifactError
from edgesr.runtime.bench import Benchmark
from edgesr.runtime.bench_record import BenchRecord, Result
from edgesr.runtime.instruction_counts import InstructionCounts
from edgesr.runtime.noise import (
    BESIDE_A_YARDSTICK,
    FEWEST_BLOCKS,
    MILLISECONDS_ALONE,
    LevelEstimate,
    LevelRatio,
    block_levels,
    compare_levels,
    estimate_level,
    least_disturbed,
    level_ratio,
)


class Verdict(enum.Enum):
    """What the second record says of the first's artifact."""

    FASTER = "faster"
    SLOWER = "slower"
    NO_DIFFERENCE = "no difference seen"


class Measure(enum.Enum):
    """What was compared."""

    RATIO = "ratio"
    MILLISECONDS = "milliseconds"
    INSTRUCTIONS = "instructions"


@dataclass(frozen=True)
class Comparison:
    """One artifact in two records.

    `yardstick` names what did not change and what the latency is a ratio to, where there was such. `ratio` is new over
    old. `low` to `high` is its 98 % interval, and `smallest` the least ratio that would have been seen; infinite where
    there are too few blocks, and 1 for instructions, which are exact.
    """

    name: str
    runner: str
    threads: int
    measure: Measure
    verdict: Verdict
    ratio: float
    low: float
    high: float
    smallest: float
    notes: tuple[str, ...] = ()
    yardstick: str | None = None

    @property
    def words(self) -> str:
        """The verdict; instructions are no time."""
        if self.measure is not Measure.INSTRUCTIONS:
            return self.verdict.value
        same = {Verdict.FASTER: "fewer instructions", Verdict.SLOWER: "more instructions"}
        return same.get(self.verdict, "same count" if self.ratio == 1 else self.verdict.value)

    def to_json(self) -> dict[str, object]:
        """Plain values; what is infinite is null."""
        return {
            "name": self.name,
            "runner": self.runner,
            "threads": self.threads,
            "measure": self.measure.value,
            "yardstick": self.yardstick,
            "verdict": self.verdict.value,
            "ratio": self.ratio,
            "interval": [self.low, _finite(self.high)],
            "smallest_seen": _finite(self.smallest),
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class RecordComparison:
    """All artifacts that two records share, what is in one alone, and what a reader should know."""

    rows: tuple[Comparison, ...]
    notes: tuple[str, ...]

    @property
    def slower(self) -> tuple[Comparison, ...]:
        """The rows that got slower, or execute more instructions."""
        return tuple(row for row in self.rows if row.verdict is Verdict.SLOWER)

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return {"results": [row.to_json() for row in self.rows], "notes": list(self.notes)}


def compare_records(old: BenchRecord, new: BenchRecord) -> RecordComparison:
    """Compare what both records hold; raises `ArtifactError` where they cannot be compared."""
    _refuse(old, new)
    before, after = _by_key(old), _by_key(new)
    shared = [key for key in before if key in after]
    if not shared:
        raise ArtifactError(_nothing_shared(before, after))
    yardsticks = {id(result) for record in (old, new) for result in _yardsticks(record)}
    rows, notes = [], [*_load_notes(old, new), *_alone(before, after)]
    for key in shared:
        a, b = before[key], after[key]
        if isinstance(a, InstructionCounts) and isinstance(b, InstructionCounts):
            rows.append(_compare_counts(a, b, key[2]))
        elif isinstance(a, Benchmark) and isinstance(b, Benchmark):
            if id(a) in yardsticks and id(b) in yardsticks:
                notes.append(_machine_note(a, b))
            else:
                rows.append(_compare_latencies(old, new, a, b))
    if not rows:
        raise ArtifactError("both records hold nothing but the yardstick; give records of the same artifacts")
    return RecordComparison(tuple(rows), tuple(notes))


def compare_interleaved(record: BenchRecord, first: Benchmark, second: Benchmark) -> LevelRatio:
    """The latency of `second` over that of `first`, two results of one record that took turns in the same processes.

    Each process gives one ratio, in which the machine cancels as beside a yardstick; n ratios have n - 1 degrees of
    freedom.
    """
    found = estimate_level((_levels(second) - _levels(first))[_kept(record, first)])
    unknown = max(BESIDE_A_YARDSTICK, _others_share(record))
    return level_ratio(found.log_level, found.standard_error, found.blocks - 1, unknown)


Key = tuple[str, str, int]


def _by_key(record: BenchRecord) -> dict[Key, Result]:
    return {(result.name, result.runner, record.threads_of(result)): result for result in record.results}


def _yardsticks(record: BenchRecord) -> list[Result]:
    return [] if record.baselines is None else [record.results[index] for index in record.baselines]


def machines_of(old: BenchRecord, new: BenchRecord) -> tuple[str, str]:
    """What must be equal for two records to be of one device: fingerprints where both have one, else what is known."""
    prints = [record.environment.get("fingerprint") for record in (old, new)]
    if all(prints):
        return str(prints[0]), str(prints[1])
    return _described(old), _described(new)


def _described(record: BenchRecord) -> str:
    known = (str(record.environment[k]) for k in ("gpu", "processor", "cores") if k in record.environment)
    return ", ".join((record.device, *known))


def _refuse(old: BenchRecord, new: BenchRecord) -> None:
    if (old.emulated is None) != (new.emulated is None):
        raise ArtifactError("one record was timed and the other emulated; compare two of a kind")
    if old.emulated != new.emulated:
        raise ArtifactError(f"different emulations ({old.emulated}; {new.emulated}); compare two of one emulation")
    first, second = machines_of(old, new)
    if first != second:
        raise ArtifactError(f"different devices ({first}; {second}); compare two records of one device")
    if old.size != new.size:
        sizes = " and ".join(f"{height}x{width}" for height, width in (old.size, new.size))
        raise ArtifactError(f"different sizes ({sizes}); run both with the same --size")
    kinds = [{type(result) for result in record.results} for record in (old, new)]
    if not kinds[0] & kinds[1]:
        raise ArtifactError("one record holds milliseconds and the other instructions; compare two of a kind")


def _nothing_shared(before: Mapping[Key, Result], after: Mapping[Key, Result]) -> str:
    if {key[:2] for key in before} & {key[:2] for key in after}:
        counts = " and ".join(",".join(map(str, sorted({key[2] for key in keys}))) for keys in (before, after))
        return f"different threads ({counts}); run both with the same --threads"
    return "the records share no artifact of one name and runner; compare two runs of the same files"


def _alone(before: Mapping[Key, Result], after: Mapping[Key, Result]) -> list[str]:
    found = [("first", key) for key in before if key not in after] + [("second", k) for k in after if k not in before]
    return [f"{key[0]} ({key[1]}, {key[2]} thread(s)) is in the {which} record alone" for which, key in found]


def _load_notes(old: BenchRecord, new: BenchRecord) -> list[str]:
    return [
        f"others had {share:.0%} of the machine during the {which} record; changes that they can explain are not called"
        for which, share in (("first", _others_share(old)), ("second", _others_share(new)))
        if share > BESIDE_A_YARDSTICK
    ]


def _others_share(record: BenchRecord) -> float:
    """The share of the cores that others used during a run; 0 where the record does not tell."""
    others, cores = record.environment.get("others"), record.environment.get("cores")
    if not isinstance(others, Mapping) or not isinstance(cores, int) or cores < 1:
        return 0.0
    taken = [others.get(name) for name in ("busy_cores", "stolen_cores")]
    return sum(value for value in taken if isinstance(value, int | float) and value > 0) / cores


def _machine_note(old: Benchmark, new: Benchmark) -> str:
    return f"{old.name}: {old.median_ms:.2f} ms, then {new.median_ms:.2f} ms ({new.median_ms / old.median_ms:.3f} x)"


def _compare_counts(old: InstructionCounts, new: InstructionCounts, threads: int) -> Comparison:
    """Exactly: different where no run of the one executed as many as a run of the other."""
    verdict = Verdict.NO_DIFFERENCE
    if max(new.instructions) < min(old.instructions):
        verdict = Verdict.FASTER
    elif min(new.instructions) > max(old.instructions):
        verdict = Verdict.SLOWER
    notes = [f"{old.median:,} then {new.median:,} instructions"]
    notes += [f"counts of the {which} record differ between its runs" for which, counts in
              (("first", old), ("second", new)) if not counts.repeats]  # fmt: skip
    ratio = new.median / old.median
    return Comparison(
        old.name, old.runner, threads, Measure.INSTRUCTIONS, verdict, ratio, ratio, ratio, 1.0,
        (*notes, *_notes(old, new)),
    )  # fmt: skip


def _compare_latencies(old: BenchRecord, new: BenchRecord, a: Benchmark, b: Benchmark) -> Comparison:
    others = max(_others_share(old), _others_share(new))
    yardsticks: Sequence[Pair | None] = _yardsticks_for(old, new, a, b) or [None]
    kept = _kept(old, a), _kept(new, b)
    yardstick, first, second = min(
        (_against((a, b), pair, kept) for pair in yardsticks),
        key=lambda found: math.hypot(found[1].standard_error, found[2].standard_error),
    )
    measure = Measure.MILLISECONDS if yardstick is None else Measure.RATIO
    found = compare_levels(first, second, FLOORS[measure], others)
    return Comparison(
        a.name, a.runner, old.threads_of(a), measure, _verdict(found), found.ratio, found.low, found.high,
        found.smallest, (*_notes(a, b), *_too_few(first=first, second=second)), yardstick,
    )  # fmt: skip


FLOORS = {Measure.RATIO: BESIDE_A_YARDSTICK, Measure.MILLISECONDS: MILLISECONDS_ALONE}
Pair = tuple[Benchmark, Benchmark]
Blocks = tuple[np.ndarray, np.ndarray]


def _kept(record: BenchRecord, result: Benchmark) -> np.ndarray:
    """The blocks of a record that the machine disturbed least, by all that took turns with `result`."""
    together = [r for r in record.results if isinstance(r, Benchmark) and r.block_lengths == result.block_lengths]
    return least_disturbed([_levels(r) for r in together if len(r.latencies_ms) == len(result.latencies_ms)])


def _against(pair: Pair, yardsticks: Pair | None, kept: Blocks) -> tuple[str | None, LevelEstimate, LevelEstimate]:
    """The yardstick's name, and both levels less the yardstick's; None leaves them as they are."""
    levels = [_levels(result) for result in pair]
    if yardsticks is not None:
        levels = [own - _levels(y) for own, y in zip(levels, yardsticks, strict=True)]
    first, second = (estimate_level(own[blocks]) for own, blocks in zip(levels, kept, strict=True))
    return None if yardsticks is None else yardsticks[0].name, first, second


def _levels(result: Benchmark) -> np.ndarray:
    return block_levels(np.log(result.latencies_ms), result.block_lengths)


def _too_few(**estimates: LevelEstimate) -> list[str]:
    """What is missing where a record tells nothing about its own noise."""
    found = []
    for which, estimate in estimates.items():
        if not math.isfinite(estimate.standard_error):
            short = f"{estimate.blocks} block{'s' if estimate.blocks > 1 else ''}, {FEWEST_BLOCKS} or more are needed"
            found.append(f"the {which} record has {short} to know what differs between processes (--blocks)")
    return found


def _verdict(found: LevelRatio) -> Verdict:
    if not found.differs:
        return Verdict.NO_DIFFERENCE
    return Verdict.FASTER if found.ratio < 1 else Verdict.SLOWER


def _yardsticks_for(old: BenchRecord, new: BenchRecord, a: Benchmark, b: Benchmark) -> list[Pair]:
    """Everything else that is the same in both records, whole, and took its turns in the same blocks."""
    found = []
    after = _by_key(new)
    for key, x in _by_key(old).items():
        y = after.get(key)
        if x is a or not (isinstance(x, Benchmark) and isinstance(y, Benchmark)):
            continue
        same = x.sha256 is not None and x.sha256 == y.sha256 and x.problem is None is y.problem
        together = x.block_lengths == a.block_lengths and y.block_lengths == b.block_lengths
        if same and together and key[2] == old.threads_of(a) and _runtime(old, x) == _runtime(new, y):
            found.append((x, y))
    return found


RUNTIME_PACKAGES = {"torch": "torch", "cuda-fused": "triton", "litert": "ai-edge-litert", "onnxruntime": "onnxruntime"}
"""By the beginning of a runner's name, the package whose version a latency depends on."""


def _runtime(record: BenchRecord, result: Benchmark) -> object:
    """The version of what ran it; None where the runner's own name tells, or nobody does."""
    packages = record.environment.get("packages")
    package = next((own for start, own in RUNTIME_PACKAGES.items() if result.runner.startswith(start)), None)
    return packages.get(package) if isinstance(packages, Mapping) else None


def _notes(old: Result, new: Result) -> tuple[str, ...]:
    """What the reader should know of the two results."""
    found = []
    if old.sha256 is not None and new.sha256 is not None and old.sha256 != new.sha256:
        found.append(f"the file changed: sha256 {old.sha256[:12]}, then {new.sha256[:12]}")
    for which, result in (("first", old), ("second", new)):
        if result.problem is not None:
            found.append(f"the {which} record is partial: {result.problem}")
    return tuple(found)


def _finite(x: float) -> float | None:
    return x if math.isfinite(x) else None
