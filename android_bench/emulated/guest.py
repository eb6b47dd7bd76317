"""The guest's processes, as the host sees them: programs that a proot traces."""

from __future__ import annotations

import re
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

TRACER = re.compile(r"^TracerPid:\t(\d+)$", re.MULTILINE)
STATE = re.compile(r"^State:\t(\w)", re.MULTILINE)
DEAD = ("Z", "X")


@dataclass(frozen=True)
class GuestProcess:
    """A guest program: its process id, which host and guest share, and its command line under qemu."""

    pid: int
    tracer: int
    command: str


def guests_of(tracers: Collection[int]) -> list[GuestProcess]:
    """The living processes that these traces, in order of their ids."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with suppress(OSError):
            status = (folder / "status").read_text(encoding="utf-8", errors="replace")
            tracer, state = TRACER.search(status), STATE.search(status)
            if tracer and int(tracer[1]) in tracers and state and state[1] not in DEAD:
                words = (folder / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
                found.append(GuestProcess(int(folder.name), int(tracer[1]), b" ".join(words).decode(errors="replace")))
    return sorted(found, key=lambda process: process.pid)
