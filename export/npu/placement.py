"""Where the operators of a file run on an NPU, and who says so.

Two kinds of answers that are never mixed: *compiled*, a vendor's compiler took or refused this very file just now, and
*table*, dated facts about operators one by one, which know nothing of sizes, memory or how operators are joined.
"""

from __future__ import annotations

import enum
from collections import Counter
from dataclasses import dataclass
from pathlib import Path


class Evidence(enum.Enum):
    """Who says so."""

    COMPILED = "compiled"
    TABLE = "table"


class Place(enum.Enum):
    """Where an operator runs; what nobody can know is said to be unknown."""

    NPU = "npu"
    CPU = "cpu"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class OperatorPlacement:
    """One operator of a file: its first output's name, its kind as the file calls it, and where it runs.

    `reason` says why it is not on the NPU, `remedy` what would bring it there; both are empty where it is.
    """

    name: str
    kind: str
    place: Place
    reason: str = ""
    remedy: str = ""

    def __post_init__(self) -> None:
        """Nothing leaves the NPU without a reason."""
        if self.place is not Place.NPU and not self.reason:
            raise ValueError(f"{self.kind} '{self.name}' is placed on {self.place.value} without a reason")


@dataclass(frozen=True)
class Placement:
    """All operators of one file on one NPU, in the file's order.

    `source` names the compiler with its version, or the table with its date. `partitions` is how many pieces of the
    graph the NPU gets, None where nobody said. `log` is where a compiler's whole output lies.
    """

    npu: str
    evidence: Evidence
    source: str
    operators: tuple[OperatorPlacement, ...]
    partitions: int | None = None
    log: Path | None = None

    def count(self, place: Place) -> int:
        """How many operators run there."""
        return Counter(op.place for op in self.operators)[place]

    @property
    def is_whole(self) -> bool:
        """Whether every operator runs on the NPU."""
        return self.count(Place.NPU) == len(self.operators)
