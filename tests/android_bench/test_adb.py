import threading
import time
from pathlib import Path
from typing import Any

import pytest

from edgesr.android_bench import adb as adb_module
from edgesr.android_bench.adb import Adb, Attached, find_adb, parse_devices
from edgesr.android_bench.adb_device import AdbDevice, with_exit_code
from edgesr.android_bench.adb_messages import FAULTS, DeviceLostError, error_from
from edgesr.android_bench.shell import Completed
from edgesr.errors import DeviceError, MissingBackendError

LISTED = """* daemon not running; starting now at tcp:5037
* daemon started successfully
List of devices attached
0123456789ABCDEF       device usb:1-1 product:pa3q model:SM_S938B device:pa3q transport_id:3
192.168.0.7:5555       offline transport_id:4
emulator-5554          unauthorized transport_id:5
ZY22                   no permissions (user in plugdev group; are your udev rules wrong?); see [link] usb:1-2

"""


def test_the_list_of_devices() -> None:
    devices = parse_devices(LISTED)
    assert [(device.serial, device.state) for device in devices] == [
        ("0123456789ABCDEF", "device"), ("192.168.0.7:5555", "offline"), ("emulator-5554", "unauthorized"),
        ("ZY22", "no permissions"),
    ]  # fmt: skip
    assert [device.ready for device in devices] == [True, False, False, False]
    assert "model:SM_S938B" in devices[0].description and devices[0].cure == ""
    assert [word in device.cure for device, word in zip(devices[1:], ("reconnect", "Allow", "udev"), strict=True)] == [
        True, True, True,
    ]  # fmt: skip


def test_the_only_device_is_chosen(local_adb: Any) -> None:
    assert local_adb.adb.choose(None).serial == "PHONE1"
    assert local_adb.adb.choose("PHONE1").ready


@pytest.mark.parametrize(
    ("devices", "serial", "words"),
    [
        ([], None, "adb sees no device; connect one"),
        (["A device", "B device"], None, r"2 devices are attached \(A, B\); choose one: --device adb:SERIAL"),
        (["A device"], "C", "adb sees no device 'C'"),
        (["A unauthorized"], None, "device A is unauthorized; unlock the phone and tap Allow"),
        (["A offline"], "A", "device A is offline; reconnect"),
        (["A no permissions (user); see [x]"], None, "A is no permissions; give this user access"),
        (["A bootloader"], None, "boot it into Android"),
    ],
)
def test_no_device_that_can_be_used_is_refused(
    local_adb: Any, devices: list[str], serial: str | None, words: str
) -> None:
    local_adb.set(devices=devices)
    with pytest.raises(DeviceError, match=words):
        local_adb.adb.choose(serial)


def test_androids_own_variable_names_the_device(local_adb: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    local_adb.set(devices=["A device", "B device"])
    monkeypatch.setenv("ANDROID_SERIAL", "B")
    assert local_adb.adb.choose(None) == Attached("B", "device", "")


def test_a_program_has_its_exit_code_and_streams(local_adb: Any) -> None:
    done = local_adb.device.run(["sh", "-c", "echo out; echo err >&2; exit 7"])
    assert (done.code, done.stdout, done.stderr) == (7, "out\n", "err\n")


def test_without_shell_v2_the_exit_code_comes_all_the_same(local_adb: Any) -> None:
    local_adb.set(features=["cmd"])
    done = local_adb.device.run(["sh", "-c", "echo out; echo err >&2; exit 7"])
    assert done.code == 7 and sorted(done.stdout.split()) == ["err", "out"]
    assert local_adb.device.run(["printf", "no newline"]).stdout == "no newline"


def test_what_a_user_typed_stays_one_argument(local_adb: Any, tmp_path: Path) -> None:
    evil = f"a b; touch {tmp_path}/pwned $(touch {tmp_path}/pwned) ' \""
    for features in (["shell_v2"], ["cmd"]):
        local_adb.set(features=features)
        assert local_adb.device.run(["printf", "%s", evil]).stdout == evil
    assert not (tmp_path / "pwned").exists()


def test_a_shell_that_ends_before_its_program_is_a_lost_device() -> None:
    with pytest.raises(DeviceLostError, match="ended before the program"):
        with_exit_code(Completed(0, "half a li"))


def test_code_255_of_a_program_is_no_lost_device(local_adb: Any) -> None:
    assert local_adb.device.run(["sh", "-c", "exit 255"]).code == 255


def test_code_255_of_a_broken_connection_is(local_adb: Any) -> None:
    local_adb.set(state="offline")
    with pytest.raises(DeviceLostError, match="lost while it ran sh"):
        local_adb.device.run(["sh", "-c", "exit 255"])


@pytest.mark.parametrize(
    ("text", "lost", "words"),
    [
        ("error: no devices/emulators found", False, "connect one"),
        ("error: more than one device/emulator", False, "--device adb:SERIAL"),
        ("error: device unauthorized.\nThis adb server's $ADB_VENDOR_KEYS is not set", False, "tap Allow"),
        ("error: device offline", True, "reconnect"),
        ("error: device 'X' not found", True, "reconnect"),
        (
            "adb: error: failed to copy 'a' to '/b': couldn't create file: No space left on device",
            False,
            "free some space",
        ),
        (
            "adb: error: failed to copy 'a' to '/b': remote couldn't create file: Read-only file system",
            False,
            "writable",
        ),
        ("adb: error: failed to copy 'a' to '/b': remote couldn't create file: Permission denied", False, "may write"),
        ("error: protocol fault (couldn't read status): Connection reset by peer", True, "cable"),
        ("error: closed", True, "cable"),
        ("* failed to start daemon\nerror: cannot connect to daemon", False, "start-server"),
    ],
)
def test_what_adb_says_becomes_a_cure(text: str, lost: bool, words: str) -> None:
    error = error_from("file copied", text)
    assert isinstance(error, DeviceLostError) is lost
    assert str(error).startswith("file copied: ") and words in str(error) and "\n" not in str(error)


def test_words_that_nobody_foresaw_are_passed_on() -> None:
    assert "adb says 'gremlins'" in str(error_from("it", "x\ngremlins\n"))
    assert "adb says 'nothing'" in str(error_from("it", ""))


def test_every_fault_is_reached_by_the_words_before_it() -> None:
    """A pattern that an earlier one shadows would never be used."""
    assert len({fault.pattern for fault in FAULTS}) == len(FAULTS)


def test_a_hanging_program_is_stopped_at_its_limit(local_adb: Any) -> None:
    begun = time.monotonic()
    with pytest.raises(DeviceError, match=r"no answer within 0\.5 s"):
        local_adb.device.run(["sleep", "30"], time_limit_s=0.5)
    assert time.monotonic() - begun < 10


def test_another_thread_can_stop_a_program(local_adb: Any) -> None:
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    begun = time.monotonic()
    with pytest.raises(DeviceError, match="interrupted"):
        local_adb.device.run(["sleep", "30"], stop=stop)
    assert time.monotonic() - begun < 10
    with pytest.raises(DeviceError, match=r"no answer within 0\.5 s"):
        local_adb.device.run(["sleep", "30"], time_limit_s=0.5, stop=threading.Event())


def test_lines_are_seen_as_they_come(local_adb: Any) -> None:
    seen: list[tuple[str, float]] = []
    first = threading.Event()

    def on_line(line: str) -> None:
        seen.append((line, time.monotonic()))
        first.set()

    local_adb.device.run(["sh", "-c", "echo one; sleep 0.4; echo two"], on_line=on_line)
    assert [line for line, _ in seen] == ["one\n", "two\n"] and seen[1][1] - seen[0][1] > 0.2


def test_push_and_pull(local_adb: Any, tmp_path: Path) -> None:
    content = bytes(range(256)) * 100
    (tmp_path / "a").write_bytes(content)
    local_adb.device.push(tmp_path / "a", str(tmp_path / "b"))
    local_adb.device.pull(str(tmp_path / "b"), tmp_path / "c")
    assert (tmp_path / "c").read_bytes() == content


def test_a_copy_that_fails_says_what_and_where(local_adb: Any, tmp_path: Path) -> None:
    local_adb.fail("push", "adb: error: failed to copy: No space left on device")
    with pytest.raises(DeviceError, match=r"a\.bin cannot be copied to device PHONE1: its storage is full; free some"):
        local_adb.device.push(tmp_path / "a.bin", "/x")


def test_a_server_that_does_not_start(local_adb: Any) -> None:
    local_adb.fail("start-server", "error: cannot connect to daemon at tcp:5037: Connection refused")
    with pytest.raises(DeviceError, match="adb's server does not start"):
        local_adb.adb.attached()


def test_adb_that_is_no_program(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="--adb"):
        find_adb(tmp_path / "nothing")
    (tmp_path / "text").write_text("no program")
    with pytest.raises(DeviceError, match="--adb"):
        find_adb(tmp_path / "text")
    (tmp_path / "broken").write_bytes(b"\x7fELF nonsense")
    (tmp_path / "broken").chmod(0o755)
    with pytest.raises(DeviceError, match="cannot be started"):
        Adb(tmp_path / "broken").attached()


def test_no_adb_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(adb_module, "find_spec", lambda name: None)
    with pytest.raises(MissingBackendError, match="apt-get install adb, or pip install adbutils"):
        find_adb()


def test_adbutils_brings_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "adbutils"
    (package / "binaries").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "binaries" / "adb").touch()
    monkeypatch.setenv("PATH", "")
    monkeypatch.syspath_prepend(tmp_path)
    assert find_adb() == package / "binaries" / "adb"


def test_a_device_knows_its_name(local_adb: Any) -> None:
    assert AdbDevice(local_adb.adb, "X").name == "device X"
