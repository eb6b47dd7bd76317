"""The device's side of adb: a server on loopback that hosts connect to, with the faults that tests ask for."""

from __future__ import annotations

import asyncio
from pathlib import Path

from edgesr.android_bench.emulated.connection import Connection, Greeting, Service
from edgesr.android_bench.emulated.device_root import GREETED, properties
from edgesr.android_bench.emulated.faults import Faults
from edgesr.android_bench.emulated.launcher import Launcher
from edgesr.android_bench.emulated.shell_service import ShellService, split_words
from edgesr.android_bench.emulated.storage import Storage
from edgesr.android_bench.emulated.stream import Stream
from edgesr.android_bench.emulated.sync_service import serve_sync

LOOPBACK = "127.0.0.1"
FEATURES = ("cmd", "stat_v2", "ls_v2", "fixed_push_mkdir")
LONGEST_WATCHED = 4096


class Adbd:
    """Serves connections until it is stopped or drops. All of it runs on one event loop."""

    def __init__(self, root: Path, launcher: Launcher, faults: Faults) -> None:
        told = {name: value for name, value in properties(faults).items() if name in GREETED}
        self._greeting = Greeting(told, ("shell_v2", *FEATURES) if faults.shell_v2 else FEATURES)
        self._faults = faults
        self._storage = Storage(root, faults.read_only, faults.no_space_after_bytes)
        self._shell = ShellService(launcher, self._watch)
        self._server: asyncio.Server | None = None
        self._connections: dict[Connection, asyncio.Task[None]] = {}
        self._seen = b""
        self._met = False
        self._dropped = False

    async def start(self, port: int = 0) -> int:
        """Listen on a port of loopback (0: any that is free); which."""
        self._server = await asyncio.start_server(self._connect, LOOPBACK, port)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Close everything and wait until every command in the device has ended."""
        if self._server is not None:
            self._server.close()
        tasks = list(self._connections.values())
        for connection in list(self._connections):
            connection.abort()
        if tasks:
            await asyncio.wait(tasks)

    def drop(self) -> None:
        """Be gone: connections are cut off, and no other is taken."""
        self._dropped = True
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.abort()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._dropped:
            writer.transport.abort()
            return
        silent = self._faults.offline and self._met
        connection = Connection(reader, writer, self._greeting, self._faults.auth, self._find_service, silent)
        task = asyncio.current_task()
        assert task is not None
        self._connections[connection] = task
        self._meet(connection)
        try:
            await connection.serve()
        finally:
            self._connections.pop(connection, None)

    def _meet(self, connection: Connection) -> None:
        """The first connection starts the clocks of faults."""
        if self._met:
            return
        self._met = True
        loop = asyncio.get_running_loop()
        if self._faults.drop_after_seconds is not None:
            loop.call_later(self._faults.drop_after_seconds, self.drop)
        if self._faults.offline:
            loop.call_later(OFFLINE_AFTER_S, connection.abort)

    def _find_service(self, words: str) -> Service | None:
        if words == "sync:":
            return self._sync
        split = split_words(words)
        if split is None:
            return None
        if self._faults.drop_on_command is not None and self._faults.drop_on_command in split[0]:
            asyncio.get_running_loop().call_soon(self.drop)
        return self._shell.serve

    async def _sync(self, stream: Stream, words: str) -> None:
        await serve_sync(stream, self._storage, self._hear_push)

    def _hear_push(self, path: str) -> None:
        if self._faults.drop_on_push is not None and self._faults.drop_on_push in path:
            asyncio.get_running_loop().call_later(DROP_DELAY_S, self.drop)

    def _watch(self, data: bytes) -> None:
        """Drop once a command has printed what was waited for, though it came in pieces."""
        if self._faults.drop_on_output is None:
            return
        self._seen = (self._seen + data)[-LONGEST_WATCHED:]
        if self._faults.drop_on_output.encode() in self._seen:
            asyncio.get_running_loop().call_later(DROP_DELAY_S, self.drop)


OFFLINE_AFTER_S = 0.2
"""How long a device that goes offline is there: long enough for the host's greeting."""
DROP_DELAY_S = 0.05
"""Time for what was printed to reach the host, or for a part of a push to reach the device."""
