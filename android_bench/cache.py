"""The user's cache folder: what was built or fetched once for benchmarks, and can be built again at any time."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgesr.errors import DeviceError


def cache_folder() -> Path:
    """The folder of edgesr in $XDG_CACHE_HOME, or in ~/.cache where that is not set to an absolute path."""
    home = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(home) if Path(home).is_absolute() else Path.home() / ".cache") / "edgesr"


@contextmanager
def written_whole(folder: Path) -> Iterator[Path]:
    """Yield a fresh folder beside `folder`, which takes its name on leaving without an error.

    A reader sees the old folder or the new one. On any exception the fresh one goes and the old one stays. Raises
    `DeviceError` where that place cannot be written.
    """
    fresh = folder.parent / f".{folder.name}-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        fresh.mkdir(parents=True)
    except OSError as error:
        raise DeviceError(f"cannot write {folder}: {error.strerror}; choose a folder you can write to") from error
    try:
        yield fresh
        _swap(fresh, folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _swap(fresh: Path, folder: Path) -> None:
    old = fresh.with_name(f"{fresh.name}-old")
    try:
        if folder.exists():
            folder.rename(old)
        fresh.rename(folder)
    except OSError as error:
        raise DeviceError(f"cannot replace {folder}: {error.strerror}; choose a folder you can write to") from error
    finally:
        if not folder.exists() and old.exists():
            old.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
