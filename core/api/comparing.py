"""Two artifacts, or two export folders, beside each other: everything that is known or can be measured, in one table.

Of folders, artifacts are paired by what they are: target, image type, layout and sizes, else target alone. A single
artifact meets the one of the folder that it would be paired with, and two single ones each other, whatever they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgesr.api.compare_facts import Side, fact_rows
from edgesr.api.compare_measuring import Timing, latency_row, measure_qualities, output_rows, quality_rows
from edgesr.api.compare_rows import CompareRow, Verdict
from edgesr.artifact import Artifact, locate
from edgesr.errors import ArtifactError, EdgeSRError
from edgesr.progress import Progress, silent


@dataclass(frozen=True)
class ArtifactComparison:
    """Two artifacts, line by line; `notes` say what could not be compared."""

    first: Path
    second: Path
    rows: tuple[CompareRow, ...]
    notes: tuple[str, ...] = ()

    @property
    def differences(self) -> tuple[CompareRow, ...]:
        """The lines that matter."""
        return tuple(row for row in self.rows if row.verdict is Verdict.MATTERS)

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return {
            "first": str(self.first),
            "second": str(self.second),
            "matter": len(self.differences),
            "rows": [row.to_json() for row in self.rows],
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class ArtifactComparisons:
    """All pairs, and what has no counterpart."""

    pairs: tuple[ArtifactComparison, ...]
    alone: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return {"pairs": [pair.to_json() for pair in self.pairs], "alone": list(self.alone)}


def compare(
    first: Path,
    second: Path,
    images: tuple[Path, Path] | None = None,
    timing: Timing | None = None,
    progress: Progress = silent,
) -> ArtifactComparisons:
    """Compare two artifacts or export folders.

    `images` are folders of LR and HR pairs to measure quality on (None: not measured), `timing` how latencies are
    measured on this machine (None: not). Raises `ArtifactError` for files that are missing, foreign or changed, or
    where nothing of the one has a counterpart in the other, and as `verify_quality` and `bench` do.
    """
    sides = [[Side(manifest, artifact) for artifact in found] for manifest, found in map(locate, (first, second))]
    pairs = _pair(*sides)
    if not pairs:
        targets = [", ".join(dict.fromkeys(side.artifact.target for side in found)) for found in sides]
        raise ArtifactError(
            f"{first} ({targets[0]}) and {second} ({targets[1]}) share no target; name one file of each to compare them"
        )
    used = [{id(pair[place]) for pair in pairs} for place in (0, 1)]
    alone = [str(s.path) for place, found in enumerate(sides) for s in found if id(s) not in used[place]]
    by_quality: list[list[CompareRow]] = [[] for _ in pairs]
    if images is not None:
        firsts, seconds = (measure_qualities(each, *images, progress) for each in zip(*pairs, strict=True))
        by_quality = [quality_rows(a, b, images[0]) for a, b in zip(firsts, seconds, strict=True)]
    compared = [_compare(a, b, rows, timing, progress) for (a, b), rows in zip(pairs, by_quality, strict=True)]
    return ArtifactComparisons(tuple(compared), tuple(alone))


def _compare(
    a: Side, b: Side, by_quality: Sequence[CompareRow], timing: Timing | None, progress: Progress
) -> ArtifactComparison:
    rows, notes = fact_rows(a, b), []
    contracts = a.artifact.contract, b.artifact.contract
    if len({(contract.channels, contract.upscale) for contract in contracts}) > 1:
        notes.append("outputs are not compared: they have other sizes or channels")
    else:
        try:
            rows += output_rows(a, b, progress)
        except EdgeSRError as error:  # what is known of the files is worth more than to be lost
            notes.append(f"outputs are not compared: {error}")
    rows += by_quality
    if timing is not None:
        rows.append(latency_row(a, b, timing, progress))
    return ArtifactComparison(a.path, b.path, tuple(rows), tuple(notes))


def _pair(first: Sequence[Side], second: Sequence[Side]) -> list[tuple[Side, Side]]:
    """Counterparts, in the order of the first."""
    if len(first) == len(second) == 1:
        return [(first[0], second[0])]
    found: dict[int, Side] = {}
    for key in (_kind, _target):
        left = [side for side in second if id(side) not in {id(taken) for taken in found.values()}]
        for side in first:
            match = next((other for other in left if key(other.artifact) == key(side.artifact)), None)
            if id(side) not in found and match is not None:
                found[id(side)] = match
                left.remove(match)
    return [(side, found[id(side)]) for side in first if id(side) in found]


def _kind(artifact: Artifact) -> object:
    contract = artifact.contract
    return artifact.target, contract.dtype, contract.layout, contract.sizes, contract.any_size, contract.host_shuffle


def _target(artifact: Artifact) -> object:
    return artifact.target
