"""Native libraries write chatter straight to file descriptor 2; the user sees only what matters of it."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

CHATTER = ("INFO:", "I0000", "WARNING: All log messages before absl::InitializeLog")


@contextmanager
def native_output_kept_quiet() -> Iterator[None]:
    """Hold back what native code writes to stderr within the block, then pass on all lines that are not chatter."""
    if sys.stderr is None:  # the process was started with stderr closed: there is nothing to hold back
        yield
        return
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            held.seek(0)
            lines = held.read().decode(errors="replace").splitlines()
            for line in lines:
                if line.strip() and not line.startswith(CHATTER):
                    print(line, file=sys.stderr)
