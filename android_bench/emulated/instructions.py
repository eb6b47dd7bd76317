"""Instruction counts from the lines that the plugin appends: "pid tag count", tag 2i before run i and 2i+1 after it."""

from __future__ import annotations

from pathlib import Path

from edgesr.errors import DeviceError


def read_counts(path: Path) -> tuple[int, ...]:
    """What each complete run took, in the order in which runs ended; the file is emptied.

    Runs of several processes may mix. Call it when they have ended: the first half of a run that goes on is lost.
    Raises `DeviceError` where the lines make no sense.
    """
    if not path.is_file():
        return ()
    lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    path.unlink()
    begun: dict[tuple[int, int], int] = {}
    counts = []
    for line in lines:
        try:
            pid, tag, executed = map(int, line.split())
            if tag % 2 == 0:
                begun[pid, tag] = executed
            else:
                counts.append(executed - begun.pop((pid, tag - 1)))
        except (ValueError, KeyError) as error:
            raise DeviceError(
                f"the instruction plugin wrote {line!r}, which makes no sense; run the bench again"
            ) from error
    return tuple(counts)
