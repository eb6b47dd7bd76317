"""One host's connection to the device: greeting, keys, and the streams that it opens."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from edgesr.android_bench.emulated.faults import Auth
from edgesr.android_bench.emulated.packet import (
    MAX_DATA,
    OLDEST_MAX_DATA,
    VERSION,
    AuthStep,
    Command,
    Packet,
    ProtocolError,
    read_packet,
)
from edgesr.android_bench.emulated.stream import Stream, StreamClosed

TOKEN_BYTES = 20
Service = Callable[[Stream, str], Awaitable[None]]
"""Serves a stream that was opened with the given words, until it ends."""


@dataclass(frozen=True)
class Greeting:
    """What the device says about itself when a host connects."""

    properties: Mapping[str, str]
    features: tuple[str, ...]

    def encode(self) -> bytes:
        """The banner of a CNXN packet."""
        properties = "".join(f"{name}={value};" for name, value in self.properties.items())
        return f"device::{properties}features={','.join(self.features)}".encode()


class Connection:
    """Reads packets until the host goes away; every stream is served by a task of its own.

    `find_service` gives the service for the words of an OPEN packet, None where there is none. `silent`: nothing is
    answered at all.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        greeting: Greeting,
        auth: Auth,
        find_service: Callable[[str], Service | None],
        silent: bool = False,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._greeting = greeting
        self._auth = auth
        self._find_service = find_service
        self._silent = silent
        self._streams: dict[int, Stream] = {}
        self._opened = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._max_data = OLDEST_MAX_DATA
        self._checksum = True
        self._trusted = auth is Auth.NONE

    async def serve(self) -> None:
        """Until the host goes away; then every service ends too."""
        try:
            while True:
                packet = await read_packet(self._reader)
                if not self._silent:
                    self._handle(packet)
                    await self._writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError, ProtocolError):
            pass
        finally:
            await self._end()

    def abort(self) -> None:
        """Cut the connection off, as a pulled cable does."""
        self._writer.transport.abort()

    async def _end(self) -> None:
        for stream in self._streams.values():
            stream.hang_up()
        if self._tasks:
            await asyncio.wait(self._tasks)
        with suppress(ConnectionError):
            self._writer.close()
            await self._writer.wait_closed()

    def _send(self, packet: Packet) -> None:
        if not self._writer.is_closing():
            self._writer.write(packet.encode(self._checksum))

    def _handle(self, packet: Packet) -> None:
        if packet.command is Command.CNXN:
            self._greet(packet)
        elif packet.command is Command.AUTH:
            self._check_key(packet)
        elif not self._trusted:
            return
        elif packet.command is Command.OPEN:
            self._open(packet)
        else:
            self._pass_on(packet)

    def _greet(self, packet: Packet) -> None:
        self._checksum = packet.first < VERSION
        self._max_data = min(packet.second, MAX_DATA)
        if self._trusted:
            self._send(Packet(Command.CNXN, VERSION, MAX_DATA, self._greeting.encode()))
        else:
            self._ask_for_key()

    def _ask_for_key(self) -> None:
        self._send(Packet(Command.AUTH, AuthStep.TOKEN, 0, os.urandom(TOKEN_BYTES)))

    def _check_key(self, packet: Packet) -> None:
        """No key is known, so that the host goes on to offer its public key; that one is accepted or not."""
        if packet.first == AuthStep.SIGNATURE:
            self._ask_for_key()
        elif packet.first == AuthStep.PUBLIC_KEY and self._auth is Auth.ACCEPT:
            self._trusted = True
            self._send(Packet(Command.CNXN, VERSION, MAX_DATA, self._greeting.encode()))

    def _open(self, packet: Packet) -> None:
        words = packet.data.rstrip(b"\0").decode("utf-8", "replace")
        service = self._find_service(words)
        if service is None:
            self._send(Packet(Command.CLSE, 0, packet.first))
            return
        self._opened += 1
        stream = Stream(self._opened, packet.first, self._send, self._max_data)
        self._streams[stream.local] = stream
        task = asyncio.create_task(self._run(service, stream, words))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, service: Service, stream: Stream, words: str) -> None:
        try:
            stream.accept()
            await service(stream, words)
        except StreamClosed:
            pass
        finally:
            stream.close()
            self._streams.pop(stream.local, None)

    def _pass_on(self, packet: Packet) -> None:
        stream = self._streams.get(packet.second)
        if packet.command is Command.WRTE:
            if stream is None:
                self._send(Packet(Command.CLSE, 0, packet.first))
            else:
                stream.receive(packet.data)
        elif stream is not None and packet.command is Command.OKAY:
            stream.acknowledge()
        elif stream is not None and packet.command is Command.CLSE:
            stream.close()
            stream.hang_up()
