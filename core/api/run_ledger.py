"""What a folder's runs have finished: one line of JSON for each picture, in a hidden file of the output folder.

A line holds the output's name, the size and time of the picture that it was made from, the output's own size, and a
digest of what made it: the artifact's sha256, the runner, and what decides the bytes. A picture is done where its last
line has all of these as they are now. Lines are only added, each just before its picture gets its name, so that a run
may end at any moment: a line without its picture counts for nothing, nor does a last line that was cut off.
"""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import dataclass, field
from pathlib import Path

from edgesr.api.run_plan import PictureTask
from edgesr.errors import ExportError

LEDGER_NAME = ".edgesr-run.jsonl"


def digest_of(*parts: object) -> str:
    """A digest of what made the pictures."""
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()


@dataclass(frozen=True)
class Ledger:
    """The ledger of one output folder, for pictures made by `maker`."""

    folder: Path
    maker: str
    lines: dict[str, dict[str, object]]
    lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def open(cls, folder: Path, maker: str) -> Ledger:
        """The ledger as earlier runs left it; raises `ExportError` where it cannot be read."""
        lines: dict[str, dict[str, object]] = {}
        path = folder / LEDGER_NAME
        try:
            text = path.read_bytes().decode("utf-8", errors="replace") if path.exists() else ""
        except OSError as error:
            raise ExportError(f"cannot read {path}: {error.strerror}; check its permissions") from error
        for line in text.split("\n"):
            try:
                entry = json.loads(line)
                lines[entry["output"]] = entry
            except (ValueError, TypeError, KeyError):
                continue  # cut off by a sudden end, or no line of ours: its picture counts as not done
        return cls(folder, maker, lines)

    def is_done(self, task: PictureTask) -> bool:
        """Whether the picture was made by the same maker, from what its source still is."""
        line = self.lines.get(self._name(task))
        return (
            line is not None
            and self.is_own(task)
            and line.get("made_by") == self.maker
            and line.get("source") == _state(task.source)
        )

    def is_own(self, task: PictureTask) -> bool:
        """Whether what now has the output's name is what a run wrote there, whoever was the maker."""
        line = self.lines.get(self._name(task))
        return line is not None and task.output.is_file() and line.get("bytes") == task.output.stat().st_size

    def add(self, task: PictureTask, written: Path) -> None:
        """Note that `written` is about to become the task's output; raises OSError where the disk does not take it."""
        entry = {
            "output": self._name(task),
            "source": _state(task.source),
            "bytes": written.stat().st_size,
            "made_by": self.maker,
        }
        with self.lock, (self.folder / LEDGER_NAME).open("a", encoding="utf-8") as file:
            file.write(f"\n{json.dumps(entry)}")  # the line break first: it ends a line that was cut off

    def _name(self, task: PictureTask) -> str:
        return str(task.output.relative_to(self.folder))


def _state(path: Path) -> list[int]:
    """What changes with a file's content: its size and the nanosecond it was written in; nothing if it is gone."""
    try:
        found = path.stat()
    except OSError:
        return []
    return [found.st_size, found.st_mtime_ns]
