import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgesr.android_bench.emulated.guest import guests_of
from edgesr.android_bench.emulated.launcher import Launcher, Tools, find_tools


def test_a_command_stays_one_word(tmp_path: Path) -> None:
    tools = Tools("/bin/qemu-aarch64", "/bin/proot", None)
    launcher = Launcher(tools, tmp_path, {"/proc/cpuinfo": tmp_path / "cpuinfo"}, instructions=True)
    words = launcher.words("echo 'a b'; rm $x")
    assert words[-3:] == ["/system/bin/sh", "-c", "echo 'a b'; rm $x"]
    qemu = words[words.index("-q") + 1]
    assert qemu.startswith("/bin/qemu-aarch64 -cpu cortex-a76 ") and "out=/.edgesr/counts" in qemu
    assert f"{tmp_path}/cpuinfo:/proc/cpuinfo" in words
    assert launcher.words("")[-1] == "/system/bin/sh"


def test_counting_is_left_out_where_it_is_not_wanted(tmp_path: Path) -> None:
    words = Launcher(Tools("qemu", "proot", None), tmp_path, {}, instructions=False).words("ls")
    assert not any("-plugin" in word for word in words)


def test_the_guest_ends_with_this_process(tmp_path: Path) -> None:
    words = Launcher(Tools("qemu", "proot", "/bin/setpriv"), tmp_path, {}, instructions=False).words("ls")
    assert words[:4] == ["/bin/setpriv", "--pdeathsig", "QUIT", "proot"]


def test_missing_programs_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_tools() == (None, ["qemu-user", "proot"])
    for name in ("qemu-aarch64", "proot"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    tools, missing = find_tools()
    assert missing == [] and tools == Tools(str(tmp_path / "qemu-aarch64"), str(tmp_path / "proot"), None)


@pytest.fixture
def traced() -> Iterator[tuple[int, int]]:
    """The ids of a process that traces and of one that it traces."""
    code = (
        "import ctypes, os, time\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    ctypes.CDLL(None).ptrace(0, 0, 0, 0)\n"
        "    print(os.getppid(), os.getpid(), flush=True)\n"
        "    time.sleep(60)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as tracer:
        assert tracer.stdout is not None
        parent, child = map(int, tracer.stdout.readline().split())
        yield parent, child
        os.kill(child, 9)
        tracer.kill()


def test_guests_are_what_a_proot_traces(traced: tuple[int, int]) -> None:
    parent, child = traced
    deadline = time.monotonic() + 10
    while not guests_of({parent}) and time.monotonic() < deadline:
        time.sleep(0.05)
    (guest,) = guests_of({parent})
    assert (guest.pid, guest.tracer) == (child, parent) and "time.sleep" in guest.command
    assert guests_of({child}) == guests_of(set()) == []
