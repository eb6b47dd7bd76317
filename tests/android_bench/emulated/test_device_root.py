import os
import shutil
import subprocess
from pathlib import Path

import pytest

from edgesr.android_bench.emulated import userland as userlands
from edgesr.android_bench.emulated.device_root import lay_out, make_removable, properties
from edgesr.android_bench.emulated.faults import Faults
from edgesr.android_bench.emulated.userland import FOLDERS, Userland

SCRIPTS = Path(userlands.__file__).parent / "system"


@pytest.fixture
def userland(tmp_path: Path) -> Userland:
    root = tmp_path / "userland"
    for folder in (*FOLDERS, "system/bin", ".edgesr"):
        (root / folder).mkdir(parents=True)
    (root / "system/bin/toybox").touch()
    (root / "system/bin/ls").symlink_to("toybox")
    return Userland(root)


def test_a_device_is_honest_about_itself(userland: Userland, tmp_path: Path) -> None:
    binds = lay_out(tmp_path / "root", userland, Faults())
    assert (tmp_path / "root/system/bin/ls").is_symlink()
    said = (tmp_path / "root/system/build.prop").read_text().splitlines()
    assert {"ro.product.model=edgesr emulated", "ro.soc.model=qemu cortex-a76", "ro.product.cpu.abi=arm64-v8a"} < set(
        said
    )
    assert "present: false" in (tmp_path / "root/system/etc/dumpsys/battery").read_text()
    assert "Thermal Status: 0\n" in (tmp_path / "root/system/etc/dumpsys/thermalservice").read_text()
    assert list(binds) == ["/proc/cpuinfo"]
    assert binds["/proc/cpuinfo"].read_text().count("CPU implementer\t: 0x41\n") == os.cpu_count()
    cpu = tmp_path / "root/sys/devices/system/cpu"
    assert {path.name for path in cpu.iterdir()} == {"possible", "present", "online"}


def test_tests_can_put_other_readings_there(userland: Userland, tmp_path: Path) -> None:
    files = {"/sys/class/thermal/thermal_zone0/temp": "91000\n", "/proc/meminfo": "MemTotal: 5 kB\n"}
    faults = Faults(
        abi="armeabi-v7a", properties={"ro.soc.model": "SM8550"}, files=files, services={"battery": "low\n"}
    )
    binds = lay_out(tmp_path / "root", userland, faults)
    assert (tmp_path / "root/sys/class/thermal/thermal_zone0/temp").read_text() == "91000\n"
    assert binds["/proc/meminfo"].read_text() == "MemTotal: 5 kB\n"
    assert not (tmp_path / "root/proc/meminfo").exists()
    assert (tmp_path / "root/system/etc/dumpsys/battery").read_text() == "low\n"
    found = properties(faults)
    assert found["ro.soc.model"] == "SM8550" and found["ro.product.cpu.abi"] == "armeabi-v7a"


def test_a_read_only_device_can_be_removed(userland: Userland, tmp_path: Path) -> None:
    lay_out(tmp_path / "root", userland, Faults(read_only=True))
    assert (tmp_path / "root/data/local/tmp").stat().st_mode & 0o222 == 0
    make_removable(tmp_path / "root")
    shutil.rmtree(tmp_path / "root")


def script(name: str, root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a device's script with this machine's shell, its paths those below a folder."""
    text = (SCRIPTS / name).read_text().replace("/system/", f"{root}/system/").replace(f"#!{root}", "#!")
    return subprocess.run(["/bin/sh", "-c", text, name, *words], capture_output=True, text=True, timeout=30)


def test_getprop_answers_as_android_does(userland: Userland, tmp_path: Path) -> None:
    root = tmp_path / "root"
    lay_out(root, userland, Faults(properties={"a.b": "c=d e"}))
    assert script("getprop", root, "a.b").stdout == "c=d e\n"
    assert script("getprop", root, "no.such").stdout == "\n"
    assert script("getprop", root, "no.such", "default").stdout == "default\n"
    listed = script("getprop", root).stdout.splitlines()
    assert "[a.b]: [c=d e]" in listed and "[ro.product.cpu.abi]: [arm64-v8a]" in listed
    assert all(line.startswith("[") and line.endswith("]") for line in listed)


def test_dumpsys_answers_as_android_does(userland: Userland, tmp_path: Path) -> None:
    root = tmp_path / "root"
    lay_out(root, userland, Faults())
    assert script("dumpsys", root, "battery").stdout.startswith("Current Battery Service state:\n")
    missing = script("dumpsys", root, "nonsense")
    assert (missing.returncode, missing.stdout, missing.stderr) == (0, "", "Can't find service: nonsense\n")
