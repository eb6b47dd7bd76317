"""Other tools report to stdout and stderr as they please; a command's own output must stay what it promises."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from edgesr.progress import Progress

STDOUT, STDERR = 1, 2


@contextmanager
def without_noise(progress: Progress) -> Iterator[Progress]:
    """Drop what is printed, logged or warned within the block, native code included; the yielded progress is shown.

    Logging handlers that a package installs meanwhile keep writing to the buffer, so that they stay silent afterwards.
    """
    with warnings.catch_warnings(action="ignore"), contextlib.ExitStack() as stack:
        if sys.stdout is None or sys.stderr is None:  # the process was started with one closed
            yield progress
            return
        stack.callback(logging.disable, logging.root.manager.disable)
        logging.disable(logging.CRITICAL)
        sys.stdout.flush()
        sys.stderr.flush()
        own = {number: os.dup(number) for number in (STDOUT, STDERR)}
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for descriptor in (nowhere, *own.values()):
            stack.callback(os.close, descriptor)
        shown = {number: nowhere for number in own}

        def report(stage: str, done: int, total: int) -> None:
            _point(own)
            try:
                progress(stage, done, total)
            finally:
                _point(shown)

        stack.callback(_point, own)
        _point(shown)
        buffer = io.StringIO()
        with contextlib.redirect_stdout(buffer), contextlib.redirect_stderr(buffer):
            yield report


def _point(targets: dict[int, int]) -> None:
    """Let each descriptor mean another one."""
    for number, target in targets.items():
        os.dup2(target, number)
