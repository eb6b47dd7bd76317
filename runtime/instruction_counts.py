"""Instructions that an emulated device executed in each timed run: exact and repeatable, and never a latency."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from edgesr.runtime.json_fields import Fields
from edgesr.runtime.output_parity import OutputParity


@dataclass(frozen=True)
class InstructionCounts:
    """One subject's counts, one for each run, between the marks that its program made around it."""

    name: str
    runner: str
    instructions: tuple[int, ...]
    sha256: str | None = None
    parity: OutputParity | None = None
    problem: str | None = None

    def __post_init__(self) -> None:
        """Refuse counts of nothing."""
        if not self.instructions or min(self.instructions) < 1:
            raise ValueError(f"{self.name}: no run was counted, or one executed nothing: {self.instructions}")

    @property
    def median(self) -> int:
        """The median run's count, the smaller one of two."""
        return statistics.median_low(self.instructions)

    @property
    def repeats(self) -> bool:
        """Whether every run executed the same number."""
        return len(set(self.instructions)) == 1

    def warnings(self) -> list[str]:
        """What a reader should doubt."""
        found = [] if self.problem is None else [f"{self.name}: partial, {self.problem}"]
        if not self.repeats:
            spread = max(self.instructions) - min(self.instructions)
            found.append(f"{self.name}: the counts of its runs differ by up to {spread:,} instructions")
        return found

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return {
            "name": self.name,
            "runner": self.runner,
            "instructions": list(self.instructions),
            "median_instructions": self.median,
            "n": len(self.instructions),
            "sha256": self.sha256,
            "parity": None if self.parity is None else self.parity.to_json(),
            "problem": self.problem,
        }

    @classmethod
    def from_json(cls, fields: Fields) -> InstructionCounts:
        """What `to_json` wrote; raises `FieldError`."""
        parity = OutputParity.from_json(fields.child("parity")) if "parity" in fields else None
        return cls(
            fields.text("name"), fields.text("runner"), fields.integers("instructions", 1),
            fields.optional_text("sha256"), parity, fields.optional_text("problem"),
        )  # fmt: skip
