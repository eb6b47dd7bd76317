import asyncio

import pytest

from edgesr.android_bench.emulated.packet import MAX_DATA, Command, Packet, ProtocolError, read_packet


def read(content: bytes) -> Packet:
    async def go() -> Packet:
        reader = asyncio.StreamReader()
        reader.feed_data(content)
        reader.feed_eof()
        return await read_packet(reader)

    return asyncio.run(go())


def test_a_packet_is_laid_out_as_the_protocol_says() -> None:
    """By hand, from the protocol's description: command, two arguments, length, checksum, complement, data."""
    by_hand = bytes.fromhex("57525445 02000000 03000000 02000000 c9010000 a8adabba".replace(" ", "")) + b"\xca\xff"
    assert Packet(Command.WRTE, 2, 3, b"\xca\xff").encode(checksum=True) == by_hand
    assert read(by_hand) == Packet(Command.WRTE, 2, 3, b"\xca\xff")


@pytest.mark.parametrize("command", Command)
def test_what_is_written_is_read(command: Command) -> None:
    packet = Packet(command, 1, 0xFFFFFFFF, bytes(range(256)))
    assert read(packet.encode()) == read(packet.encode(checksum=True)) == packet


def test_what_is_no_packet_is_refused() -> None:
    good = Packet(Command.OKAY, 1, 2).encode()
    for bad in (b"GET / HTTP/1.1\r\nHost: x\r\n", good[:20] + bytes(4), b"XXXX" + good[4:]):
        with pytest.raises(ProtocolError, match="no packet begins with"):
            read(bad)
    with pytest.raises(ProtocolError, match="were agreed"):
        read(Packet(Command.WRTE, 1, 2, bytes(MAX_DATA + 1)).encode())
    with pytest.raises(asyncio.IncompleteReadError):
        read(Packet(Command.WRTE, 1, 2, b"data").encode()[:-1])
