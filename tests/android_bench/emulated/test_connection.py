import asyncio
from typing import Any

import pytest

from edgesr.android_bench.emulated.adbd import Adbd
from edgesr.android_bench.emulated.faults import Auth, Faults
from edgesr.android_bench.emulated.packet import VERSION, AuthStep, Command


def test_a_device_greets(play: Any) -> None:
    async def scene(host: Any, adbd: Adbd) -> None:
        answer = await host.greet()
        assert answer.command is Command.CNXN and answer.first == VERSION
        assert answer.data.startswith(b"device::ro.product.name=edgesr_emulated;ro.product.")
        assert answer.data.endswith(b"features=shell_v2,cmd,stat_v2,ls_v2,fixed_push_mkdir")

    play(scene)


def test_without_shell_v2_it_is_not_offered(play: Any) -> None:
    async def scene(host: Any, adbd: Adbd) -> None:
        assert b"shell_v2" not in (await host.greet()).data

    play(scene, Faults(shell_v2=False))


def test_an_old_host_gets_checksums(play: Any) -> None:
    async def scene(host: Any, adbd: Adbd) -> None:
        host.send(Command.CNXN, 0x01000000, 4096, b"host::\0")
        head = await host.reader.readexactly(24)
        data = await host.reader.readexactly(int.from_bytes(head[12:16], "little"))
        assert int.from_bytes(head[16:20], "little") == sum(data) > 0

    play(scene)


@pytest.mark.parametrize("auth", [Auth.ACCEPT, Auth.REJECT])
def test_keys_are_asked_for(auth: Auth, play: Any) -> None:
    async def scene(host: Any, adbd: Adbd) -> None:
        token = await host.greet()
        assert (token.command, token.first, len(token.data)) == (Command.AUTH, AuthStep.TOKEN, 20)
        host.send(Command.OPEN, 7, 0, b"shell:echo no\0")
        host.send(Command.AUTH, AuthStep.SIGNATURE, 0, bytes(256))
        assert (await host.next()).command is Command.AUTH
        host.send(Command.AUTH, AuthStep.PUBLIC_KEY, 0, b"key\0")
        if auth is Auth.ACCEPT:
            assert (await host.next()).command is Command.CNXN
        else:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(host.reader.readexactly(1), 0.3)

    play(scene, Faults(auth=auth))


def test_an_unknown_service_is_closed(play: Any) -> None:
    async def scene(host: Any, adbd: Adbd) -> None:
        await host.greet()
        for words in (b"reboot:\0", b"shellx:ls\0", b"shell\0", b"\xff\xfe\0"):
            host.send(Command.OPEN, 7, 0, words)
            answer = await host.next()
            assert (answer.command, answer.first, answer.second) == (Command.CLSE, 0, 7)
        host.send(Command.WRTE, 7, 99, b"to nobody")
        assert (await host.next()).command is Command.CLSE

    play(scene)


def test_garbage_ends_the_connection_and_not_the_device(device: Any, root: Any) -> None:
    async def whole() -> None:
        from edgesr.android_bench.emulated.adbd import LOOPBACK

        async with device(Faults()) as (_, port):
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert await asyncio.wait_for(reader.read(), 10) == b""
            writer.close()
            _, second = await asyncio.open_connection(LOOPBACK, port)
            second.close()

    asyncio.run(whole())


def test_an_offline_device_no_longer_answers(device: Any) -> None:
    async def whole() -> None:
        from edgesr.android_bench.emulated.adbd import LOOPBACK
        from edgesr.android_bench.emulated.packet import MAX_DATA, Packet, read_packet

        greeting = Packet(Command.CNXN, VERSION, MAX_DATA, b"host::\0").encode()
        async with device(Faults(offline=True)) as (_, port):
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            writer.write(greeting)
            assert (await read_packet(reader)).command is Command.CNXN
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await asyncio.wait_for(reader.readexactly(1), 10)
            writer.close()
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            writer.write(greeting)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.readexactly(1), 0.3)
            writer.close()

    asyncio.run(whole())


LIMIT_S = 20.0
"""Shorter than the commands below, that none ends by itself."""
DROPS = {
    "on a command": (Faults(drop_on_command="needle"), ": needle; exec sleep 30"),
    "on output": (Faults(drop_on_output="needle"), "printf nee; sleep 0.2; printf dle; exec sleep 30"),
    "after a time": (Faults(drop_after_seconds=0.5), "exec sleep 30"),
}


async def gone(adbd: Adbd) -> None:
    while adbd._connections or adbd._shell.launcher.processes():
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("case", DROPS)
def test_a_dropped_device_is_gone_with_its_commands(case: str, play: Any, root: Any) -> None:
    faults, command = DROPS[case]

    async def scene(host: Any, adbd: Adbd) -> None:
        await host.greet()
        host.send(Command.OPEN, 7, 0, f"shell,v2,raw:echo $$ > {root}/pid; {command}\0".encode())
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            while True:
                packet = await host.next()
                if packet.command is Command.WRTE:
                    host.send(Command.OKAY, 7, packet.first)
        await asyncio.wait_for(gone(adbd), LIMIT_S)

    play(scene, faults)
