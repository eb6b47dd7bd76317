"""adb's file service: stat, list, push and pull.

A request is four letters and the length of a path, then the path. Numbers are little-endian. A push is `SEND` with
"path,mode", then `DATA` parts and `DONE` with the time of change; a pull answers with `DATA` parts and `DONE`. What
goes wrong is answered by `FAIL` and its reason, which adb prints after "remote".
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from edgesr.android_bench.emulated.storage import Storage
from edgesr.android_bench.emulated.stream import Stream

HEAD = struct.Struct("<4sI")
OLD_STAT = struct.Struct("<3I")
STAT = struct.Struct("<IQQIIIIQqqq")
PART_BYTES = 65536
WORD = 0xFFFFFFFF


async def serve_sync(stream: Stream, storage: Storage, on_push: Callable[[str], None]) -> None:
    """Answer requests until the host says QUIT or goes away; `on_push` hears the path of each push as it begins."""
    while True:
        letters, length = HEAD.unpack(await stream.read(HEAD.size))
        if letters == b"QUIT":
            return
        path = (await stream.read(length)).decode("utf-8", "surrogateescape")
        if letters in (b"STAT", b"STA2", b"LST2"):
            await stream.write(_stat(letters, storage, path))
        elif letters in (b"LIST", b"LIS2"):
            await stream.write(_list(letters, storage, path))
        elif letters == b"SEND":
            on_push(path)
            await _receive(stream, storage, path)
        elif letters == b"RECV":
            await _send(stream, storage, path)
        else:
            await _fail(stream, f"unknown request {letters!r}")
            return


async def _fail(stream: Stream, reason: str) -> None:
    text = reason.encode()
    await stream.write(HEAD.pack(b"FAIL", len(text)) + text)


def _stat(letters: bytes, storage: Storage, path: str) -> bytes:
    if letters == b"STAT":
        return letters + _old_stat(lambda: storage.find(path).lstat())
    follow = letters == b"STA2"
    return letters + _new_stat(lambda: storage.follow(path).stat() if follow else storage.find(path).lstat())


def _old_stat(look: Callable[[], os.stat_result]) -> bytes:
    try:
        found = look()
    except OSError:
        return OLD_STAT.pack(0, 0, 0)
    return OLD_STAT.pack(found.st_mode, found.st_size & WORD, int(found.st_mtime) & WORD)


def _new_stat(look: Callable[[], os.stat_result]) -> bytes:
    try:
        found = look()
    except OSError as error:
        return STAT.pack(error.errno or 0, *[0] * 10)
    times = (int(found.st_atime), int(found.st_mtime), int(found.st_ctime))
    return STAT.pack(0, found.st_dev, found.st_ino, found.st_mode, found.st_nlink, 0, 0, found.st_size, *times)


def _list(letters: bytes, storage: Storage, path: str) -> bytes:
    old = letters == b"LIST"
    entries = []
    for name in _names(storage, path):
        child = storage.find(path) / name
        head = b"DENT" + _old_stat(child.lstat) if old else b"DNT2" + _new_stat(child.lstat)
        encoded = os.fsencode(name)
        entries.append(head + struct.pack("<I", len(encoded)) + encoded)
    ending = OLD_STAT.size if old else STAT.size
    return b"".join(entries) + b"DONE" + bytes(ending + 4)


def _names(storage: Storage, path: str) -> list[str]:
    try:
        return [".", "..", *sorted(child.name for child in storage.follow(path).iterdir())]
    except OSError:
        return []


async def _receive(stream: Stream, storage: Storage, request: str) -> None:
    """A push. All of it is read even where it fails, for adb reads the answer only after it has sent everything."""
    path, _, mode = request.rpartition(",")
    problem: str | None = None
    target: Path | None = None
    file: BinaryIO | None = None
    complete = False
    try:
        try:
            target = storage.prepare_write(path)
            file = target.open("wb")
        except OSError as error:
            problem = f"couldn't create file: {error.strerror}"
        while True:
            letters, number = HEAD.unpack(await stream.read(HEAD.size))
            if letters == b"DONE":
                break
            data = await stream.read(number)
            if file is not None and problem is None:
                problem = _write(file, storage, data)
        complete = problem is None
    finally:
        if file is not None:
            file.close()
        if target is not None and file is not None and not complete:
            target.unlink(missing_ok=True)
    if problem is not None or target is None:
        await _fail(stream, problem or "couldn't create file")
        return
    target.chmod(int(mode) & 0o777 if mode.isdigit() else 0o644)
    os.utime(target, (number, number))
    await stream.write(HEAD.pack(b"OKAY", 0))


def _write(file: BinaryIO, storage: Storage, data: bytes) -> str | None:
    """Write a part; what went wrong, None where nothing did."""
    try:
        storage.take_space(len(data))
        file.write(data)
    except OSError as error:
        return f"write failed: {error.strerror}"
    return None


async def _send(stream: Stream, storage: Storage, path: str) -> None:
    """A pull."""
    try:
        with storage.follow(path).open("rb") as file:
            while part := file.read(PART_BYTES):
                await stream.write(HEAD.pack(b"DATA", len(part)) + part)
    except OSError as error:
        await _fail(stream, f"open failed: {error.strerror}")
        return
    await stream.write(HEAD.pack(b"DONE", 0))
