"""The device's files as adb sees them: device paths become paths below the root folder, and what refuses is refused."""

from __future__ import annotations

import errno
import os
import posixpath
from pathlib import Path

WRITABLE = ("/data/local/tmp", "/sdcard", "/tmp")
"""Where adb's user may write."""


class Storage:
    """The files below a root folder.

    `read_only` refuses every write; `space_bytes` is what can still be written, None without a limit.
    """

    def __init__(self, root: Path, read_only: bool = False, space_bytes: int | None = None) -> None:
        self._root = root.resolve()
        self._read_only = read_only
        self._space_bytes = space_bytes

    def find(self, path: str) -> Path:
        """The host's path of a device path, which may be a symbolic link.

        Raises `PermissionError` where the path's folder lies outside the root, by a link.
        """
        found = self._root / _normal(path).lstrip("/")
        if not found.parent.resolve().is_relative_to(self._root):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return found

    def follow(self, path: str) -> Path:
        """The same, where the last part may not lead outside the root either."""
        found = self.find(path)
        if not found.resolve().is_relative_to(self._root):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return found

    def prepare_write(self, path: str) -> Path:
        """The host's path of a file that may be written, its folder created."""
        found = self.follow(path)
        normal = _normal(path)
        if found.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        if not any(normal.startswith(f"{folder}/") for folder in WRITABLE):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        if self._read_only:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
        found.parent.mkdir(parents=True, exist_ok=True)
        return found

    def take_space(self, size: int) -> None:
        """Count bytes that are about to be written; raises ENOSPC where they no longer fit."""
        if self._space_bytes is None:
            return
        if size > self._space_bytes:
            self._space_bytes = 0
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._space_bytes -= size


def _normal(path: str) -> str:
    """Absolute and without "..": a path of two leading slashes would keep them."""
    return posixpath.normpath("/" + path.lstrip("/"))
