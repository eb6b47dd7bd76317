import asyncio
import os
import time
from pathlib import Path
from typing import Any

import pytest

from edgesr.android_bench.emulated.adbd import Adbd
from edgesr.android_bench.emulated.packet import Command
from edgesr.android_bench.emulated.shell_service import HEAD, Piece, split_words


def split(data: bytes) -> dict[Piece, bytes]:
    """What each stream of shell_v2 carried."""
    found: dict[Piece, bytes] = {}
    while data:
        piece, length = HEAD.unpack(data[: HEAD.size])
        found[Piece(piece)] = found.get(Piece(piece), b"") + data[HEAD.size : HEAD.size + length]
        data = data[HEAD.size + length :]
    return found


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("shell,v2,TERM=xterm-256color,raw:ls -l a:b", ("ls -l a:b", True)),
        ("shell,v2:", ("", True)),
        ("shell:ls", ("ls", False)),
        ("exec:cat x", ("cat x", False)),
        ("shell,raw:ls", ("ls", False)),
        ("sync:", None),
        ("shell", None),
        ("tcp:80", None),
    ],
)
def test_words_are_taken_apart(words: str, found: tuple[str, bool] | None) -> None:
    assert split_words(words) == found


@pytest.mark.parametrize("code", [0, 1, 7, 255])
def test_streams_are_split_and_the_exit_code_told(code: int, play: Any) -> None:
    async def scene(host: Any, adbd: Adbd) -> bytes:
        await host.greet()
        remote = await host.open(f"shell,v2,raw:echo out; echo err >&2; exit {code}")
        return await host.read_to_end(remote)

    pieces = split(play(scene))
    assert pieces == {Piece.STDOUT: b"out\n", Piece.STDERR: b"err\n", Piece.EXIT: bytes([code])}


def test_a_signal_is_told_as_128_and_its_number(play: Any) -> None:
    async def scene(host: Any, adbd: Adbd) -> bytes:
        await host.greet()
        return await host.read_to_end(await host.open("shell,v2,raw:kill -9 $$"))

    assert split(play(scene)) == {Piece.EXIT: bytes([137])}


def test_without_v2_streams_are_one_and_the_code_is_lost(play: Any) -> None:
    async def scene(host: Any, adbd: Adbd) -> bytes:
        await host.greet()
        return await host.read_to_end(await host.open("shell:echo out; echo err >&2; exit 7"))

    assert play(scene) == b"out\nerr\n"


def test_large_output_comes_whole_with_one_packet_on_its_way(play: Any) -> None:
    async def scene(host: Any, adbd: Adbd) -> bytes:
        await host.greet()
        remote = await host.open("shell,v2,raw:head -c 3000000 /dev/zero | tr '\\0' x")
        first = await host.next()
        assert first.command is Command.WRTE
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(host.reader.readexactly(1), 0.3)
        host.send(Command.OKAY, 7, remote)
        return first.data + await host.read_to_end(remote)

    pieces = split(play(scene))
    assert pieces == {Piece.STDOUT: b"x" * 3000000, Piece.EXIT: b"\0"}


def test_input_goes_in_until_it_is_closed(play: Any) -> None:
    async def scene(host: Any, adbd: Adbd) -> bytes:
        await host.greet()
        remote = await host.open("shell,v2,raw:wc -c")
        for piece in (HEAD.pack(0, 5) + b"hel", b"lo" + HEAD.pack(5, 3) + b"9x9" + HEAD.pack(4, 0)):
            await host.write(remote, piece)
        return await host.read_to_end(remote)

    assert split(play(scene))[Piece.STDOUT].strip() == b"5"


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("command", ["exec sleep 60", "exec > /dev/null 2>&1; exec sleep 60"])
def test_a_command_dies_when_its_host_hangs_up(command: str, play: Any, tmp_path: Path) -> None:
    """Also one that has closed its output, where nothing would ever be written to a closed stream."""

    async def scene(host: Any, adbd: Adbd) -> int:
        await host.greet()
        remote = await host.open(f"shell,v2,raw:echo $$ > {tmp_path}/pid; {command}")
        deadline = time.monotonic() + 10
        while not (tmp_path / "pid").is_file() or not (tmp_path / "pid").read_text().strip():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        pid = int((tmp_path / "pid").read_text())
        assert alive(pid)
        host.send(Command.CLSE, 7, remote)
        assert (await host.next()).command is Command.CLSE
        while alive(pid) and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        return pid

    assert not alive(play(scene))


def test_commands_run_side_by_side(play: Any) -> None:
    async def scene(host: Any, adbd: Adbd) -> tuple[bytes, bytes]:
        await host.greet()
        slow = await host.open("shell,v2,raw:sleep 0.5; echo slow", local=1)
        quick = await host.open("shell,v2,raw:echo quick", local=2)
        first = await host.read_to_end(quick, local=2)
        return first, await host.read_to_end(slow, local=1)

    first, second = play(scene)
    assert split(first)[Piece.STDOUT] == b"quick\n" and split(second)[Piece.STDOUT] == b"slow\n"
