"""What one run did: every picture or video with its outcome, and how fast it was."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


class Outcome(enum.Enum):
    """What became of one input."""

    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True)
class RunItem:
    """One picture or video: sizes are (H, W); `why` says what failed, `notes` what a user should know of the result."""

    source: Path
    output: Path
    outcome: Outcome
    size: tuple[int, int] | None = None
    output_size: tuple[int, int] | None = None
    frames: int = 1
    why: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def output_pixels(self) -> int:
        """Pixels written."""
        if self.output_size is None or self.outcome is not Outcome.DONE:
            return 0
        return self.frames * self.output_size[0] * self.output_size[1]

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        plain = dataclasses.asdict(self)
        return plain | {"source": str(self.source), "output": str(self.output), "outcome": self.outcome.value}


@dataclass(frozen=True)
class RunRecord:
    """All of a run; `unit` is what was counted, images or frames, and `elapsed_s` leaves loading the file out."""

    artifact: str
    sha256: str
    runner: str
    threads: int
    unit: str
    items: tuple[RunItem, ...]
    elapsed_s: float
    emulated: str | None = None
    notes: tuple[str, ...] = ()
    details: Mapping[str, object] = field(default_factory=dict)

    def count(self, outcome: Outcome) -> int:
        """How many inputs ended so."""
        return sum(item.outcome is outcome for item in self.items)

    @property
    def failures(self) -> tuple[RunItem, ...]:
        """What failed."""
        return tuple(item for item in self.items if item.outcome is Outcome.FAILED)

    @property
    def per_second(self) -> float:
        """Images or frames in a second."""
        units = sum(item.frames for item in self.items if item.outcome is Outcome.DONE)
        return units / self.elapsed_s if self.elapsed_s > 0 else 0.0

    @property
    def megapixels_per_second(self) -> float:
        """Output pixels in a second, in millions."""
        pixels = sum(item.output_pixels for item in self.items)
        return pixels / 1e6 / self.elapsed_s if self.elapsed_s > 0 else 0.0

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return {
            "artifact": self.artifact,
            "sha256": self.sha256,
            "runner": self.runner,
            "emulated": self.emulated,
            "threads": self.threads,
            "unit": self.unit,
            **{outcome.value: self.count(outcome) for outcome in Outcome},
            "elapsed_s": self.elapsed_s,
            f"{self.unit}_per_s": self.per_second,
            "output_megapixels_per_s": self.megapixels_per_second,
            "notes": list(self.notes),
            **self.details,
            "items": [item.to_json() for item in self.items],
        }
