"""A device whose commands run in this machine's own shell, and a host that speaks adb's transport to it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from edgesr.android_bench.emulated.adbd import LOOPBACK, Adbd
from edgesr.android_bench.emulated.faults import Faults
from edgesr.android_bench.emulated.launcher import Launcher, Tools
from edgesr.android_bench.emulated.packet import MAX_DATA, VERSION, Command, Packet, read_packet

LIMIT_S = 20.0


class HostShell(Launcher):
    """Runs commands without proot and qemu: everything above the launcher can be tested with it."""

    def __init__(self, root: Path) -> None:
        super().__init__(Tools("qemu", "proot", None), root, {}, instructions=False)

    def words(self, command: str) -> list[str]:
        return ["/bin/sh", "-c", f"PATH=/usr/bin:/bin; {command}"]


class Host:
    """The other end: packets in and out, and streams by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, command: Command, first: int = 0, second: int = 0, data: bytes = b"") -> None:
        self.writer.write(Packet(command, first, second, data).encode())

    async def next(self) -> Packet:
        return await asyncio.wait_for(read_packet(self.reader), LIMIT_S)

    async def greet(self) -> Packet:
        self.send(Command.CNXN, VERSION, MAX_DATA, b"host::features=shell_v2\0")
        return await self.next()

    async def open(self, words: str, local: int = 7) -> int:
        """Open a stream; the device's number of it."""
        self.send(Command.OPEN, local, 0, words.encode() + b"\0")
        answer = await self.next()
        assert (answer.command, answer.second) == (Command.OKAY, local), answer
        return answer.first

    async def write(self, remote: int, data: bytes, local: int = 7) -> None:
        """Write to a stream; the device's acknowledgement is awaited by `read_to_end` or by the test."""
        self.send(Command.WRTE, local, remote, data)

    async def read_to_end(self, remote: int, local: int = 7) -> bytes:
        """All that a stream holds until the device closes it, each packet acknowledged."""
        data = b""
        while (packet := await self.next()).command is not Command.CLSE:
            if packet.command is Command.WRTE:
                data += packet.data
                self.send(Command.OKAY, local, remote)
        return data

    async def gone(self) -> bool:
        """Whether the device has hung up."""
        try:
            return await asyncio.wait_for(self.reader.read(), LIMIT_S) == b""
        except ConnectionError:
            return True


Play = Callable[..., Any]
Scene = Callable[[Host, Adbd], Coroutine[Any, Any, Any]]


@asynccontextmanager
async def running(root: Path, faults: Faults) -> AsyncIterator[tuple[Adbd, int]]:
    adbd = Adbd(root, HostShell(root), faults)
    port = await adbd.start()
    try:
        yield adbd, port
    finally:
        await asyncio.wait_for(adbd.stop(), LIMIT_S)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A device's files."""
    for folder in ("data/local/tmp", "system", ".edgesr"):
        (tmp_path / "root" / folder).mkdir(parents=True)
    return tmp_path / "root"


@pytest.fixture
def device(root: Path) -> Callable[[Faults], AbstractAsyncContextManager[tuple[Adbd, int]]]:
    """`async with device(faults) as (adbd, port)`."""
    return lambda faults: running(root, faults)


@pytest.fixture
def play(root: Path) -> Play:
    """`play(scene, faults)`: a device, one host connected to it, and a coroutine that plays the host."""

    def run(scene: Scene, faults: Faults = Faults()) -> Any:  # noqa: B008  # frozen
        async def whole() -> Any:
            async with running(root, faults) as (adbd, port):
                reader, writer = await asyncio.open_connection(LOOPBACK, port)
                try:
                    return await scene(Host(reader, writer), adbd)
                finally:
                    writer.close()

        return asyncio.run(whole())

    return run
