import errno
import os
from pathlib import Path

import pytest

from edgesr.atomic import write_atomically
from edgesr.errors import ExportError


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def write(path: Path, content: str) -> None:
    with write_atomically(path) as temporary:
        temporary.write_text(content)


def test_writes_replaces_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    write(path, "old")
    write(path, "new")
    assert path.read_text() == "new"
    assert names(tmp_path) == ["model.tflite"]


def test_temporary_is_hidden_beside_the_target_and_keeps_its_suffix(tmp_path: Path) -> None:
    with write_atomically(tmp_path / "model.tflite") as temporary:
        temporary.write_text("x")
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".") and str(os.getpid()) in temporary.name
        assert temporary.suffix == ".tflite"
        assert not (tmp_path / "model.tflite").exists()


def test_creates_parent_folders(tmp_path: Path) -> None:
    write(tmp_path / "a" / "b" / "c.json", "{}")
    assert (tmp_path / "a" / "b" / "c.json").read_text() == "{}"


def test_two_writers_of_one_file_do_not_share_a_temporary(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    with write_atomically(path) as first, write_atomically(path) as second:
        assert first != second
        first.write_text("outer")
        second.write_text("inner")
    assert path.read_text() == "outer"


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit, ValueError])
def test_interrupt_keeps_the_old_file(tmp_path: Path, interrupt: type[BaseException]) -> None:
    path = tmp_path / "x.bin"
    path.write_text("old")
    with pytest.raises(interrupt), write_atomically(path) as temporary:
        temporary.write_text("half")
        raise interrupt
    assert path.read_text() == "old"
    assert names(tmp_path) == ["x.bin"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_failing_system_call_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    path = tmp_path / "x.bin"
    path.write_text("old")
    monkeypatch.setattr(os, call, fail)
    with pytest.raises(ExportError) as caught:
        write(path, "new")
    message = str(caught.value)
    assert str(path) in message and os.strerror(number) in message and "\n" not in message
    assert path.read_text() == "old"
    assert names(tmp_path) == ["x.bin"]


def test_full_disk_is_met_with_advice(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full on this system")
    with (
        pytest.raises(ExportError, match=r"No space left on device; free some space"),
        write_atomically(tmp_path / "x"),
    ):
        full.write_text("x")


@pytest.mark.parametrize("name", ["", "."])
def test_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ExportError, match=r"it is a folder: give the name of a file"):
        write(tmp_path / name, "x")
    assert names(tmp_path) == []


def test_root_folder_is_refused() -> None:
    with pytest.raises(ExportError, match=r"^cannot write /: .*folder"):
        write(Path("/"), "x")


def test_parent_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file" / "x.bin", tmp_path / "file" / "deeper" / "x.bin"):
        with pytest.raises(ExportError, match=r"a part of the path is a file: choose another folder"):
            write(path, "y")


def test_device_or_pipe_is_refused_and_survives(tmp_path: Path) -> None:
    """A pipe stands for /dev/null: were the guard to break, root's test run would replace the real device."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ExportError, match=r"pipe: Not a regular file; .*give the name of a regular file"):
        write(tmp_path / "pipe", "x")
    assert (tmp_path / "pipe").is_fifo()


def test_unwritable_folder_is_refused() -> None:
    if not Path("/proc/self").exists():
        pytest.skip("no /proc on this system")
    with pytest.raises(ExportError, match=r"^cannot write /proc/self/x.bin: .*; choose a folder you can write to$"):
        write(Path("/proc/self/x.bin"), "x")


def test_too_long_a_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"choose a shorter name"):
        write(tmp_path / ("n" * 300), "x")


def test_other_files_errors_pass_unchanged(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), write_atomically(tmp_path / "x.bin"):
        (tmp_path / "missing.safetensors").read_bytes()


def test_symbolic_link_is_replaced_not_its_target(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write(tmp_path / "link", "new")
    assert (tmp_path / "target").read_text() == "old"
    assert (tmp_path / "link").read_text() == "new"
