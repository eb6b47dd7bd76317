import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from edgesr.android_bench import workspace as workspace_module
from edgesr.android_bench.program_abi import abi_of, refuse_foreign
from edgesr.android_bench.workspace import Workspace, free_bytes
from edgesr.errors import DeviceError


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "one.bin").write_bytes(b"one" * 1000)
    (tmp_path / "two.bin").write_bytes(b"two" * 1000)
    return {"one": tmp_path / "one.bin", "two": tmp_path / "two.bin"}


def test_files_arrive_under_their_names_and_all_goes(local_adb: Any, work_folder: Path, files: dict[str, Path]) -> None:
    with Workspace(local_adb.device) as workspace:
        folder = Path(workspace.put(files, ["one"]))
        assert (folder / "one").read_bytes() == files["one"].read_bytes()
        assert (folder / "one").stat().st_mode & 0o111 and folder.parent == work_folder
    assert not work_folder.exists()


def test_what_is_there_is_not_sent_again(local_adb: Any, work_folder: Path, files: dict[str, Path]) -> None:
    with Workspace(local_adb.device) as workspace:
        folder = Path(workspace.put(files))
        workspace.put(files)
        assert len(local_adb.calls("push")) == 2
        (folder / "one").write_bytes(b"changed")
        workspace.put(files)
        assert len(local_adb.calls("push")) == 3


def test_a_name_with_a_space_arrives(local_adb: Any, work_folder: Path, files: dict[str, Path]) -> None:
    with Workspace(local_adb.device) as workspace:
        folder = Path(workspace.put({"a library.so": files["one"]}))
        assert (folder / "a library.so").read_bytes() == files["one"].read_bytes()


def test_other_content_has_another_folder(local_adb: Any, work_folder: Path, files: dict[str, Path]) -> None:
    with Workspace(local_adb.device) as workspace:
        first = workspace.put(files)
        files["one"].write_bytes(b"new")
        assert workspace.put(files) != first


def test_a_file_that_arrives_changed_is_refused(local_adb: Any, work_folder: Path, files: dict[str, Path]) -> None:
    script = local_adb.binary.read_text()
    local_adb.binary.write_text(script.replace('cp "$1" "$2"', 'echo noise > "$2"'))
    with Workspace(local_adb.device) as workspace, pytest.raises(DeviceError, match=r"one arrived .* other content"):
        workspace.put(files)
    assert not work_folder.exists()


def test_a_full_device_is_refused_before_the_copy(
    local_adb: Any, work_folder: Path, files: dict[str, Path], make_program: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = make_program("df", "echo Filesystem 1K-blocks Used Available Use% Mounted\necho /dev/x 100 90 10 90% /data")
    monkeypatch.setenv("PATH", f"{full.parent}:/usr/bin:/bin")
    with Workspace(local_adb.device) as workspace, pytest.raises(DeviceError, match=r"0 MB free, 17 MB are needed"):
        workspace.put(files)
    assert not local_adb.calls("push") and not work_folder.exists()


@pytest.mark.parametrize(
    ("text", "free"),
    [
        ("Filesystem 1K-blocks Used Available Use% Mounted on\n/dev/block/dm-40 200 150 50 75% /data\n", 50 * 1024),
        ("df: /data: Permission denied\n", None),
        ("", None),
    ],
)
def test_free_space_is_read_where_it_is_told(text: str, free: int | None) -> None:
    assert free_bytes(text) == free


def start(workspace: Workspace, local_adb: Any, folder: str) -> subprocess.Popen[bytes]:
    """A program in the work folder, started as the measurement starts it."""
    line = local_adb.device.adb.binary, "-s", "PHONE1", "shell"
    from edgesr.android_bench.shell import quoted

    child = subprocess.Popen([*map(str, line), quoted(workspace.command(folder, ["sleep", "60"]))])
    deadline = time.monotonic() + 10
    while workspace._running() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    return child


def test_what_still_runs_is_killed_on_leaving(local_adb: Any, work_folder: Path, files: dict[str, Path]) -> None:
    with Workspace(local_adb.device) as workspace:
        child = start(workspace, local_adb, workspace.put(files))
        assert child.poll() is None
    assert child.wait(timeout=10) != 0 and not work_folder.exists()


def test_a_second_run_is_refused_and_harms_the_first_one_not(
    local_adb: Any, work_folder: Path, files: dict[str, Path]
) -> None:
    with Workspace(local_adb.device) as workspace:
        child = start(workspace, local_adb, workspace.put(files))
        with pytest.raises(DeviceError, match=r"another run is at work on device PHONE1 \(process \d+\); wait"):
            Workspace(local_adb.device).__enter__()
        assert child.poll() is None and work_folder.exists()
    child.wait(timeout=10)


def test_a_run_that_is_between_two_processes_is_left_alone(
    local_adb: Any, work_folder: Path, files: dict[str, Path]
) -> None:
    with Workspace(local_adb.device) as workspace:
        workspace.put(files)
        with pytest.raises(DeviceError, match=r"another run is at work on device PHONE1; wait .*shell rm -r"):
            Workspace(local_adb.device).__enter__()
        assert len(list(work_folder.rglob("one"))) == 1


def test_what_a_run_that_broke_off_left_is_taken_over(
    local_adb: Any, work_folder: Path, files: dict[str, Path]
) -> None:
    Workspace(local_adb.device).__enter__().put(files)
    old = time.time() - 60 * (workspace_module.STALE_MINUTES + 1)
    os.utime(work_folder / "lock", (old, old))
    with Workspace(local_adb.device):
        pass
    assert not work_folder.exists()


def test_the_note_of_a_run_that_is_gone_stops_nobody(local_adb: Any, work_folder: Path, tmp_path: Path) -> None:
    work_folder.mkdir()
    other = subprocess.Popen(["sleep", "60"], cwd=tmp_path)  # its number was given to a stranger since
    (work_folder / "pid").write_text(str(other.pid))
    with Workspace(local_adb.device):
        pass
    assert other.poll() is None
    other.kill()
    other.wait()


def test_an_error_inside_is_not_hidden_by_a_lost_device(local_adb: Any, work_folder: Path) -> None:
    with pytest.raises(KeyError), Workspace(local_adb.device):
        local_adb.fail("shell", "error: device 'PHONE1' not found", 1)
        raise KeyError


def elf(machine: int, order: str = "little") -> bytes:
    return b"\x7fELF\x02" + (b"\x01" if order == "little" else b"\x02") + bytes(12) + machine.to_bytes(2, order)  # type: ignore[arg-type]  # one of the two


@pytest.mark.parametrize(
    ("content", "abi"),
    [(elf(183), "arm64-v8a"), (elf(40), "armeabi-v7a"), (elf(62), "x86_64"), (elf(9999), "ELF machine 9999"),
     (elf(183, "big"), "arm64-v8a"), (b"#!/system/bin/sh\n", None)],
)  # fmt: skip
def test_the_abi_of_a_program(tmp_path: Path, content: bytes, abi: str | None) -> None:
    (tmp_path / "program").write_bytes(content)
    assert abi_of(tmp_path / "program") == abi


def test_this_python_runs_here() -> None:
    machine = {"x86_64": "x86_64", "aarch64": "arm64-v8a"}.get(__import__("platform").machine())
    assert machine is None or abi_of(Path(sys.executable).resolve()) == machine


@pytest.mark.parametrize("content", [b"", b"MZ windows", b"\x7fELF"])
def test_what_is_no_program_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "program").write_bytes(content)
    with pytest.raises(DeviceError, match="neither an ELF program nor a script; give a benchmark program"):
        abi_of(tmp_path / "program")


def test_a_program_for_another_abi_is_refused(tmp_path: Path) -> None:
    (tmp_path / "program").write_bytes(elf(62))
    with pytest.raises(DeviceError, match="is a program for x86_64, the device runs arm64-v8a, armeabi-v7a"):
        refuse_foreign(tmp_path / "program", ("arm64-v8a", "armeabi-v7a"))
    refuse_foreign(tmp_path / "program", ("x86_64",))
    refuse_foreign(tmp_path / "program", ())
    with pytest.raises(DeviceError, match="cannot be read"):
        refuse_foreign(tmp_path / "missing", ())
