"""Write files whole or not at all: a reader never sees half an artifact, and a failed run keeps the old one.

The content goes to a hidden neighbour of the target (same folder, so the final `os.replace` is one rename on one file
system), is flushed to the disk, and takes the target's name only then. The hidden name ends in the target's suffix,
because writers such as Pillow choose the format by it.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edgesr.errors import ExportError

_ADVICE = {
    errno.ENOSPC: "free some space or choose another disk",
    errno.EDQUOT: "free some space or choose another disk",
    errno.EISDIR: "it is a folder: give the name of a file",
    errno.ENOTDIR: "a part of the path is a file: choose another folder",
    errno.EEXIST: "a part of the path is a file: choose another folder",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EINVAL: "it is a device or pipe: give the name of a regular file",
}


@contextmanager
def write_atomically(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on leaving without an error, what was written there becomes `path`.

    Missing parent folders are created. On any exception, KeyboardInterrupt included, the temporary file goes and the
    old `path` stays. Where `path` is a symbolic link, the link is replaced, not its target.

    Raises:
        ExportError: the folder or file cannot be written, or the disk is full. An OSError that the caller's own code
            raises about another file passes unchanged.

    """
    temporary = path.parent / f".edgesr-{os.getpid()}-{secrets.token_hex(4)}{path.suffix}"
    try:
        _prepare(path)
        yield temporary
        _flush_to_disk(temporary)
        temporary.replace(path)
    except OSError as error:
        if error.filename not in (None, str(temporary), str(path)) and not _is_parent(error.filename, path):
            raise
        raise ExportError(_message(path, error)) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _prepare(path: Path) -> None:
    """Create the parent folders, and refuse early what a rename cannot or must not replace (a folder, /dev/null)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "Not a regular file", str(path))


def _flush_to_disk(path: Path) -> None:
    """Force the file's content out, so that a full disk shows here and not after the rename."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _is_parent(filename: object, path: Path) -> bool:
    return isinstance(filename, str) and Path(filename) in path.parents


def _message(path: Path, error: OSError) -> str:
    advice = _ADVICE.get(error.errno or 0, "choose a folder you can write to")
    return f"cannot write {path}: {error.strerror or error}; {advice}"
