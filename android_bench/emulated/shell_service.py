"""adb's shell service: run a command in the device, carry its streams, and report its exit code.

With the protocol shell_v2 every piece of a stream has a head of an id and a length: 0 stdin, 1 stdout, 2 stderr, 3 the
exit code (one byte), 4 the host closed stdin. Without it there is one stream of bytes and no exit code.
"""

from __future__ import annotations

import asyncio
import enum
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edgesr.android_bench.emulated.launcher import Launcher
from edgesr.android_bench.emulated.stream import Stream, StreamClosed

HEAD = struct.Struct("<BI")
PART_BYTES = 32768
SIGNAL_CODE = 128


class Piece(enum.IntEnum):
    """What a piece of shell_v2 carries."""

    STDIN = 0
    STDOUT = 1
    STDERR = 2
    EXIT = 3
    CLOSE_STDIN = 4
    WINDOW_SIZE = 5


def split_words(words: str) -> tuple[str, bool] | None:
    """The command of `shell,v2,TERM=xterm,raw:command`, and whether it speaks shell_v2; None: no shell service."""
    head, colon, command = words.partition(":")
    name, *options = head.split(",")
    if not colon or name not in ("shell", "exec"):
        return None
    return command, name == "shell" and "v2" in options


@dataclass(frozen=True)
class ShellService:
    """Commands run by `launcher`; `watch` sees what they print."""

    launcher: Launcher
    watch: Callable[[bytes], None]

    async def serve(self, stream: Stream, words: str) -> None:
        """Run the command to its end; where the host goes away, the command and all that it started are killed."""
        split = split_words(words)
        if split is None:
            return
        command, framed = split
        process = await self.launcher.start(command, merge_streams=not framed)
        feeding = asyncio.create_task(_feed(stream, process, framed))
        pumps = [
            asyncio.create_task(self._pump(source, piece, stream, framed))
            for source, piece in ((process.stdout, Piece.STDOUT), (process.stderr, Piece.STDERR))
            if source is not None
        ]
        ending = asyncio.create_task(_exit_code(pumps, process))
        try:
            await asyncio.wait({feeding, ending}, return_when=asyncio.FIRST_COMPLETED)
            if not ending.done():
                raise StreamClosed
            code = ending.result()
        finally:
            for task in (feeding, ending, *pumps):
                task.cancel()
            await asyncio.gather(feeding, ending, *pumps, return_exceptions=True)
            await self.launcher.stop(process)
        if framed:
            await stream.write(HEAD.pack(Piece.EXIT, 1) + bytes([code if code >= 0 else SIGNAL_CODE - code]))

    async def _pump(self, source: asyncio.StreamReader, piece: Piece, stream: Stream, framed: bool) -> None:
        while data := await source.read(PART_BYTES):
            self.watch(data)
            await stream.write(HEAD.pack(piece, len(data)) + data if framed else data)


async def _exit_code(pumps: Sequence[asyncio.Task[None]], process: asyncio.subprocess.Process) -> int:
    """The command's exit code, once all that it printed is on its way."""
    for pump in pumps:
        await pump
    return await process.wait()


async def _feed(stream: Stream, process: asyncio.subprocess.Process, framed: bool) -> None:
    """The host's input into the command's stdin, until the stream closes (which raises `StreamClosed`)."""
    stdin = process.stdin
    assert stdin is not None
    while True:
        if not framed:
            data, piece = await stream.read_some(), Piece.STDIN
        else:
            number, length = HEAD.unpack(await stream.read(HEAD.size))
            data, piece = await stream.read(length), Piece(number)
        if piece is Piece.CLOSE_STDIN:
            stdin.close()
        elif piece is Piece.STDIN and not stdin.is_closing():
            try:
                stdin.write(data)
                await stdin.drain()
            except ConnectionError:
                stdin.close()
