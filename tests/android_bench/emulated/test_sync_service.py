import stat
from pathlib import Path
from typing import Any

import pytest

from edgesr.android_bench.emulated.adbd import Adbd
from edgesr.android_bench.emulated.faults import Faults
from edgesr.android_bench.emulated.packet import Command
from edgesr.android_bench.emulated.sync_service import HEAD, OLD_STAT, PART_BYTES, STAT

WORK = "/data/local/tmp"


def request(letters: bytes, path: str) -> bytes:
    return HEAD.pack(letters, len(path)) + path.encode()


def sent(path: str, content: bytes, part: int = 40000, mtime: int = 1234567890) -> bytes:
    """A whole push."""
    parts = [content[start : start + part] for start in range(0, len(content), part)]
    data = b"".join(HEAD.pack(b"DATA", len(piece)) + piece for piece in parts)
    return request(b"SEND", f"{path},33261") + data + HEAD.pack(b"DONE", mtime)


@pytest.fixture
def ask(play: Any) -> Any:
    """`ask(bytes, faults)`: what the file service answers to these bytes, sent in odd pieces, followed by QUIT."""

    def run(content: bytes, faults: Faults = Faults(), piece: int = 50001) -> bytes:  # noqa: B008  # frozen
        async def scene(host: Any, adbd: Adbd) -> bytes:
            await host.greet()
            remote = await host.open("sync:")
            whole, answer, at, closed = content + HEAD.pack(b"QUIT", 0), b"", 0, False
            host.send(Command.WRTE, 7, remote, whole[:piece])
            while not closed:
                packet = await host.next()
                if packet.command is Command.WRTE:
                    answer += packet.data
                    host.send(Command.OKAY, 7, remote)
                elif packet.command is Command.OKAY:
                    at += piece
                    if at < len(whole):
                        host.send(Command.WRTE, 7, remote, whole[at : at + piece])
                closed = packet.command is Command.CLSE
            return answer

        return play(scene, faults)

    return run


OKAY = HEAD.pack(b"OKAY", 0)


def failure(answer: bytes) -> str:
    letters, length = HEAD.unpack(answer[: HEAD.size])
    assert letters == b"FAIL" and len(answer) == HEAD.size + length
    return answer[HEAD.size :].decode()


def test_what_is_pushed_is_there(ask: Any, root: Path) -> None:
    content = bytes(range(256)) * 1000
    assert ask(sent(f"{WORK}/new/folder/file", content)) == OKAY
    file = root / "data/local/tmp/new/folder/file"
    assert file.read_bytes() == content
    assert stat.S_IMODE(file.stat().st_mode) == 0o755 and int(file.stat().st_mtime) == 1234567890


def test_an_empty_file_and_single_bytes(ask: Any, root: Path) -> None:
    assert ask(sent(f"{WORK}/empty", b""), piece=1) == OKAY
    assert ask(sent(f"{WORK}/few", b"abc", part=1), piece=1) == OKAY
    assert (root / "data/local/tmp/empty").read_bytes() == b""
    assert (root / "data/local/tmp/few").read_bytes() == b"abc"


def test_what_is_pulled_is_whole(ask: Any, root: Path) -> None:
    content = bytes(range(256)) * 1000
    (root / "data/local/tmp/file").write_bytes(content)
    answer = ask(request(b"RECV", f"{WORK}/file"))
    got = b""
    while True:
        letters, length = HEAD.unpack(answer[: HEAD.size])
        if letters == b"DONE":
            break
        assert letters == b"DATA" and length <= PART_BYTES
        got += answer[HEAD.size : HEAD.size + length]
        answer = answer[HEAD.size + length :]
    assert got == content
    assert failure(ask(request(b"RECV", f"{WORK}/none"))) == "open failed: No such file or directory"


def test_stat_in_both_generations(ask: Any, root: Path) -> None:
    (root / "data/local/tmp/file").write_bytes(b"12345")
    (root / "data/local/tmp/link").symlink_to("file")
    old = OLD_STAT.unpack(ask(request(b"STAT", f"{WORK}/file"))[4:])
    assert stat.S_ISREG(old[0]) and old[1] == 5
    assert OLD_STAT.unpack(ask(request(b"STAT", f"{WORK}/none"))[4:]) == (0, 0, 0)
    for letters, is_kind in ((b"STA2", stat.S_ISREG), (b"LST2", stat.S_ISLNK)):
        answer = ask(request(letters, f"{WORK}/link"))
        assert answer[:4] == letters
        fields = STAT.unpack(answer[4:])
        assert fields[0] == 0 and is_kind(fields[3])
    assert STAT.unpack(ask(request(b"STA2", f"{WORK}/none"))[4:])[0] == 2


@pytest.mark.parametrize(("letters", "entry", "size"), [(b"LIST", b"DENT", 12), (b"LIS2", b"DNT2", 68)])
def test_a_folder_is_listed(letters: bytes, entry: bytes, size: int, ask: Any, root: Path) -> None:
    for name in ("b", "a"):
        (root / "data/local/tmp" / name).touch()
    answer, names = ask(request(letters, WORK)), []
    while answer[:4] == entry:
        length = int.from_bytes(answer[4 + size : 8 + size], "little")
        names.append(answer[8 + size : 8 + size + length])
        answer = answer[8 + size + length :]
    assert names == [b".", b"..", b"a", b"b"]
    assert answer == b"DONE" + bytes(size + 4)
    assert ask(request(letters, "/none")) == b"DONE" + bytes(size + 4)


def test_what_cannot_be_written_is_told_after_all_of_it(ask: Any, root: Path) -> None:
    (root / "data/local/tmp/folder").mkdir()
    large = bytes(300000)
    assert failure(ask(sent("/system/file", large))) == "couldn't create file: Permission denied"
    assert failure(ask(sent(f"{WORK}/../../../system/file", large))) == "couldn't create file: Permission denied"
    assert failure(ask(sent(f"{WORK}/folder", large))) == "couldn't create file: Is a directory"
    assert not (root / "system/file").exists()


def test_links_lead_nowhere_outside(ask: Any, root: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (root / "data/local/tmp/out").symlink_to(tmp_path)
    (root / "data/local/tmp/file").symlink_to(tmp_path / "secret")
    for path in (f"{WORK}/out/secret", f"{WORK}/file"):
        assert failure(ask(request(b"RECV", path))) == "open failed: Permission denied"
        assert failure(ask(sent(path, b"x"))) == "couldn't create file: Permission denied"
    assert ask(request(b"LIST", f"{WORK}/out")) == b"DONE" + bytes(16)
    assert (tmp_path / "secret").read_text() == "secret"


def test_a_full_device_keeps_no_half_file(ask: Any, root: Path) -> None:
    faults = Faults(no_space_after_bytes=100000)
    whole = sent(f"{WORK}/fits", bytes(60000)) + sent(f"{WORK}/no", bytes(60000)) + sent(f"{WORK}/none", b"x")
    answer = ask(whole, faults)
    assert answer.startswith(OKAY)
    assert answer.count(b"FAIL") == 2 and answer.count(b"write failed: No space left on device") == 2
    assert [path.name for path in (root / "data/local/tmp").iterdir()] == ["fits"]


def test_a_read_only_device_takes_nothing(ask: Any, root: Path) -> None:
    answer = ask(sent(f"{WORK}/file", bytes(100000)), Faults(read_only=True))
    assert failure(answer) == "couldn't create file: Read-only file system"


def test_a_push_that_breaks_off_leaves_nothing(play: Any, root: Path) -> None:
    async def scene(host: Any, adbd: Adbd) -> None:
        await host.greet()
        remote = await host.open("sync:")
        host.send(Command.WRTE, 7, remote, sent(f"{WORK}/half", bytes(100000))[:60000])
        assert (await host.next()).command is Command.OKAY
        assert (root / "data/local/tmp/half").exists()

    play(scene)
    assert not (root / "data/local/tmp/half").exists()


def test_a_device_can_drop_in_the_middle_of_a_push(play: Any, root: Path) -> None:
    async def scene(host: Any, adbd: Adbd) -> None:
        await host.greet()
        remote = await host.open("sync:")
        host.send(Command.WRTE, 7, remote, sent(f"{WORK}/model.tflite", bytes(100000))[:60000])
        assert (await host.next()).command is Command.OKAY
        assert await host.gone()

    play(scene, Faults(drop_on_push=".tflite"))
    assert not (root / "data/local/tmp/model.tflite").exists()


def test_an_unknown_request_is_refused(ask: Any) -> None:
    assert failure(ask(request(b"NOPE", "x"))) == "unknown request b'NOPE'"
