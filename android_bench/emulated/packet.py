"""The packets of adb's transport, as they go over a TCP connection.

A packet is a head of six little-endian words (command, two arguments, length of the data, checksum of the data, and
the command's complement) and the data. Since version 0x01000001 the checksum may be 0; before, it is the sum of the
bytes.
"""

from __future__ import annotations

import asyncio
import enum
import struct
from dataclasses import dataclass

HEAD = struct.Struct("<6I")
VERSION = 0x01000001
"""The protocol's version that needs no checksum."""
MAX_DATA = 1 << 20
OLDEST_MAX_DATA = 4096
WORD = 0xFFFFFFFF


class Command(enum.IntEnum):
    """What a packet is for: four letters as a little-endian word."""

    CNXN = int.from_bytes(b"CNXN", "little")
    AUTH = int.from_bytes(b"AUTH", "little")
    OPEN = int.from_bytes(b"OPEN", "little")
    OKAY = int.from_bytes(b"OKAY", "little")
    CLSE = int.from_bytes(b"CLSE", "little")
    WRTE = int.from_bytes(b"WRTE", "little")
    STLS = int.from_bytes(b"STLS", "little")


class AuthStep(enum.IntEnum):
    """The first argument of an AUTH packet."""

    TOKEN = 1
    SIGNATURE = 2
    PUBLIC_KEY = 3


class ProtocolError(Exception):
    """The other side sent what is no packet."""


@dataclass(frozen=True)
class Packet:
    """One packet; `first` and `second` mean what the command says."""

    command: Command
    first: int = 0
    second: int = 0
    data: bytes = b""

    def encode(self, checksum: bool = False) -> bytes:
        """The bytes on the wire."""
        total = sum(self.data) & WORD if checksum else 0
        return HEAD.pack(self.command, self.first, self.second, len(self.data), total, self.command ^ WORD) + self.data


async def read_packet(reader: asyncio.StreamReader) -> Packet:
    """The next packet.

    Raises `asyncio.IncompleteReadError` at the end of the connection, `ProtocolError` where there is no packet.
    """
    command, first, second, length, _checksum, complement = HEAD.unpack(await reader.readexactly(HEAD.size))
    if complement != command ^ WORD or command not in set(Command):
        raise ProtocolError(f"no packet begins with {command:#010x}")
    if length > MAX_DATA:
        raise ProtocolError(f"{length} bytes of data, {MAX_DATA} were agreed")
    return Packet(Command(command), first, second, await reader.readexactly(length))
