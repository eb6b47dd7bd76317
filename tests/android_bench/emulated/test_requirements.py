from pathlib import Path

import pytest

from edgesr.android_bench.emulated import userland as userlands
from edgesr.android_bench.emulated.device import EmulatedDevice
from edgesr.android_bench.emulated.requirements import missing
from edgesr.android_bench.emulated.userland import build_userland, find_userland, main
from edgesr.errors import DeviceError, MissingBackendError


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine on which nothing is installed."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("EDGESR_RUNNERS", raising=False)
    monkeypatch.delenv("EDGESR_USERLAND", raising=False)
    return tmp_path


def test_all_that_is_missing_is_named(bare: Path) -> None:
    assert missing()[:3] == ["qemu-user", "proot", "adb"]
    assert [what.split(" in ")[0] for what in missing()[3:]] == ["no arm64 programs", "no runner for linux-arm64"]
    with pytest.raises(MissingBackendError, match=r"^the emulated device lacks qemu-user, .*; run make emulator-deps$"):
        EmulatedDevice()


def test_a_userland_of_other_sources_is_refused(bare: Path) -> None:
    folder = userlands.userland_folder()
    folder.mkdir(parents=True)
    (folder / userlands.HASH_FILE).write_text("0" * 64)
    with pytest.raises(MissingBackendError, match="was made by another edgesr; run make emulator-deps"):
        find_userland()


def test_packages_that_are_not_there_are_named(bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (bare / "debs").mkdir()
    with pytest.raises(DeviceError, match=r"^no package mksh for arm64 among the \.deb files given; "):
        build_userland(bare / "debs")
    assert main(["--debs", str(bare / "debs")]) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: no package mksh") and err.count("\n") == 1
    assert not userlands.userland_folder().exists()


def test_a_machine_without_apt_is_told_the_cure(bare: Path) -> None:
    with pytest.raises(MissingBackendError, match=r"apt-get cannot be started .*; check the network, or give a folder"):
        build_userland()
