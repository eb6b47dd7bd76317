"""The log of a run: one JSON object a line, for each report. A resumed run drops the lines that it takes again."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from edgesr.atomic import write_atomically


@dataclass(frozen=True)
class LogRecord:
    """One report: loss and PSNR are means over the steps since the one before; `batch` is the last batch's CRC-32.

    `train_psnr_db` is that of the module in training on its crops, `validation_psnr_db` that of the mean weights on the
    validation photographs, by the NTIRE protocol, None where they were not measured at that step.
    """

    step: int
    stage: int
    learning_rate: float
    loss: float
    train_psnr_db: float
    batch: str
    elapsed_s: float
    seconds_left: float
    validation_psnr_db: float | None = None


class TrainingLog:
    """One file, written line by line."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, step: int) -> None:
        """Keep the lines up to a step: 0 begins a new file."""
        kept = [record for record in self.records() if record.step <= step] if step else []
        with write_atomically(self.path) as temporary:
            temporary.write_text("".join(map(_line, kept)), encoding="utf-8")

    def append(self, record: LogRecord) -> None:
        """Add a line."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(_line(record))

    def records(self) -> list[LogRecord]:
        """All whole lines; a kill may have cut the last one."""
        if not self.path.exists():
            return []
        found = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                found.append(LogRecord(**json.loads(line)))
            except (ValueError, TypeError):
                continue
        return found


def _line(record: LogRecord) -> str:
    return json.dumps(asdict(record)) + "\n"
