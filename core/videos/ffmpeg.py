"""ffmpeg and ffprobe as child processes: found, started apart from the terminal's signals, and killed when in doubt."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO

from edgesr.errors import MissingBackendError

INSTALL = (
    "install it: apt install ffmpeg (Debian, Ubuntu), dnf install ffmpeg-free (Fedora), brew install ffmpeg (macOS)"
)


def find_program(name: str) -> str:
    """The path of ffmpeg or ffprobe; raises `MissingBackendError` with the lines that install them."""
    path = shutil.which(name)
    if path is None:
        raise MissingBackendError(f"videos need {name}, which is not on the PATH; {INSTALL}")
    return path


def as_file(path: Path) -> str:
    """A path as ffmpeg takes it whatever it holds: a colon would name a protocol, a dash an option."""
    return f"file:{path}"


class Ffmpeg:
    """One ffmpeg with a pipe to or from it; left early, by an error or an interrupt, it is killed."""

    def __init__(self, arguments: Sequence[str], reads: bool) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed on leaving; a pipe that nobody empties would stop it
        self._child = subprocess.Popen(
            [find_program("ffmpeg"), "-nostdin", "-hide_banner", "-v", "error", "-y", *arguments],
            stdin=subprocess.PIPE if reads else subprocess.DEVNULL,
            stdout=subprocess.DEVNULL if reads else subprocess.PIPE,
            stderr=self._errors, start_new_session=True,
        )  # fmt: skip

    def __enter__(self) -> Ffmpeg:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self._errors.close()

    @property
    def pipe(self) -> IO[bytes]:
        """The end of the pipe that is ours."""
        pipe = self._child.stdin or self._child.stdout
        if pipe is None:
            raise ValueError("ffmpeg has no pipe")
        return pipe

    def finish(self) -> int:
        """Its exit code, once it has ended by itself."""
        return self._child.wait()

    def kill(self) -> None:
        """End it now, if it has not ended yet."""
        with suppress(ProcessLookupError):
            self._child.kill()
        with suppress(OSError):
            self.pipe.close()
        self._child.wait()

    def complaints(self) -> list[str]:
        """The lines that it wrote to stderr so far."""
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").splitlines()
        return [line.strip() for line in lines if line.strip()]
