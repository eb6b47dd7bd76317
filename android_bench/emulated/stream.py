"""One stream of a connection: what `adb shell` or `adb push` opened. At most one packet is on its way each way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from edgesr.android_bench.emulated.packet import Command, Packet


class StreamClosed(Exception):  # noqa: N818  # an event that ends a service, as EOFError is
    """The other side closed the stream, or went away."""


class Stream:
    """Two numbers (ours and the host's), what came in, and leave to send the next packet.

    A packet that came in is acknowledged when it is read, so that a host cannot send faster than a service reads.
    """

    def __init__(self, local: int, remote: int, send: Callable[[Packet], None], max_data: int) -> None:
        self.local = local
        self.remote = remote
        self._send = send
        self._max_data = max_data
        self._arrived: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._buffer = b""
        self._may_write = asyncio.Semaphore(0)
        self._closed = False

    def accept(self) -> None:
        """Tell the host that the service runs."""
        self._send(Packet(Command.OKAY, self.local, self.remote))

    def receive(self, data: bytes) -> None:
        """Keep what the host wrote."""
        self._arrived.put_nowait(data)

    def acknowledge(self) -> None:
        """The host took our last packet."""
        self._may_write.release()

    def hang_up(self) -> None:
        """The host closed its side: readers and writers get `StreamClosed`."""
        self._closed = True
        self._arrived.put_nowait(None)
        self._may_write.release()

    def close(self) -> None:
        """Close our side."""
        if not self._closed:
            self._closed = True
            self._send(Packet(Command.CLSE, self.local, self.remote))

    async def write(self, data: bytes) -> None:
        """Send all of it, packet by packet; each waits until the host took it."""
        for start in range(0, len(data), self._max_data):
            if self._closed:
                raise StreamClosed
            self._send(Packet(Command.WRTE, self.local, self.remote, data[start : start + self._max_data]))
            await self._may_write.acquire()

    async def read_some(self) -> bytes:
        """What the host wrote next."""
        if self._buffer:
            data, self._buffer = self._buffer, b""
            return data
        arrived = await self._arrived.get()
        if arrived is None:
            self._arrived.put_nowait(None)
            raise StreamClosed
        self._send(Packet(Command.OKAY, self.local, self.remote))
        return arrived

    async def read(self, length: int) -> bytes:
        """Exactly this many bytes."""
        parts: list[bytes] = []
        while length > 0:
            data = await self.read_some()
            parts.append(data[:length])
            self._buffer = data[length:]
            length -= len(parts[-1])
        return b"".join(parts)
