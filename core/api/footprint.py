"""Peak memory of one subject of the host benchmark, measured in a process of its own (`footprint_child`).

The child imports everything, reads the image, then sets the kernel's high-water mark of its resident memory back to
what is resident now (the baseline). It loads the subject, gives it the image and runs twice. Counted is the high-water
mark minus the baseline: weights, the runtime's arena and buffers, input and output, threads, and the code pages of the
runtime that were not touched before. Not counted: the interpreter, the libraries as imported, the image itself.

`getrusage`'s ru_maxrss is not used: a child inherits in it the peak of the process that started it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from edgesr.artifact import Manifest
from edgesr.errors import DeviceError

TIME_LIMIT_S = 300
MEASURABLE = Path("/proc/self/clear_refs").exists()
"""Whether the system can set a high-water mark back."""


def peak_memory(manifest: Manifest, file: str, runner: str, threads: int, size: tuple[int, int]) -> int:
    """Bytes that loading a file of the manifest and running it twice takes at most, beyond a process without it.

    Raises `DeviceError` in one line, with the child's log, where it fails or takes longer than five minutes.
    """
    numbers = [str(number) for number in (threads, *size)]
    command = [sys.executable, "-m", "edgesr.api.footprint_child", str(manifest.folder), file, runner, *numbers]
    with tempfile.NamedTemporaryFile("w+", prefix="edgesr-memory-", suffix=".log", delete=False) as log:
        try:
            child = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True, timeout=TIME_LIMIT_S,
                check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise DeviceError(
                f"measuring the memory of {file} took over {TIME_LIMIT_S} s, log in {log.name}; give a smaller --size"
            ) from error
    try:
        peak = int(json.loads(child.stdout.splitlines()[-1])["peak_bytes"])
    except (ValueError, KeyError, TypeError, IndexError) as error:
        with Path(log.name).open("a", encoding="utf-8") as file_of_log:
            file_of_log.write(child.stdout)
        raise DeviceError(
            f"measuring the memory of {file} failed (exit code {child.returncode}), log in {log.name}; give --no-memory"
        ) from error
    Path(log.name).unlink()
    return peak
