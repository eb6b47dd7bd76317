import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgesr.android_bench.runner import bundle as bundles
from edgesr.android_bench.runner.bundle import (
    DESCRIPTION,
    GIVEN,
    LITERT,
    RUNNER,
    Bundle,
    Platform,
    find_bundle,
    hash_sources,
    sha256_of,
    write_description,
)
from edgesr.errors import DeviceError, MissingBackendError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sound bundle where `find_bundle` looks."""
    monkeypatch.setenv("EDGESR_RUNNERS", str(tmp_path))
    monkeypatch.setattr(bundles, "litert_version", lambda: "9.8.7")
    place = tmp_path / "linux-arm64"
    place.mkdir()
    for name in (RUNNER, LITERT):
        (place / name).write_text(name)
    files = {name: sha256_of(place / name) for name in (RUNNER, LITERT)}
    write_description(Bundle(place, Platform.LINUX_ARM64, "9.8.7", ("./edgesr_runner",), files))
    return place


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    value = json.loads((folder / DESCRIPTION).read_text())
    change(value)
    (folder / DESCRIPTION).write_text(json.dumps(value))


def test_a_bundle_is_found(folder: Path) -> None:
    found = find_bundle(Platform.LINUX_ARM64)
    assert (found.folder, found.platform, found.litert) == (folder, Platform.LINUX_ARM64, "9.8.7")
    assert found.command == ("./edgesr_runner",) and set(found.files) == {RUNNER, LITERT}


def test_a_missing_one_says_how_it_is_built(folder: Path) -> None:
    shutil.rmtree(folder)
    with pytest.raises(MissingBackendError, match=r"; run python -m edgesr\.android_bench\.runner\.build linux-arm64$"):
        find_bundle(Platform.LINUX_ARM64)
    with pytest.raises(MissingBackendError, match=r"build android-arm64 --ndk NDK_FOLDER --litert FILE$"):
        find_bundle(Platform.ANDROID_ARM64)


def test_the_cache_folder_is_the_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("EDGESR_RUNNERS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(MissingBackendError, match=f"in {tmp_path}/edgesr/runners/linux-arm64; "):
        find_bundle(Platform.LINUX_ARM64)


def test_one_of_other_sources_or_another_litert_is_refused(folder: Path) -> None:
    edit(folder, lambda value: value.update(litert="1.0.0"))
    with pytest.raises(MissingBackendError, match=r"holds LiteRT 1\.0\.0, this machine runs 9\.8\.7; run python -m "):
        find_bundle(Platform.LINUX_ARM64)
    edit(folder, lambda value: value.update(litert=GIVEN))
    assert find_bundle(Platform.LINUX_ARM64).litert == GIVEN
    edit(folder, lambda value: value.update(sources="0" * 64))
    with pytest.raises(MissingBackendError, match="was built by another edgesr; run python -m "):
        find_bundle(Platform.LINUX_ARM64)


def test_a_changed_file_is_named(folder: Path) -> None:
    (folder / LITERT).write_text("something else")
    with pytest.raises(DeviceError, match=r"libLiteRt\.so is not what was built; run python -m "):
        find_bundle(Platform.LINUX_ARM64)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "no json": lambda folder: (folder / DESCRIPTION).write_text("{"),
    "a list": lambda folder: (folder / DESCRIPTION).write_text("[]"),
    "a field less": lambda folder: edit(folder, lambda value: value.pop("command")),
    "no platform": lambda folder: edit(folder, lambda value: value.update(platform="amiga")),
    "no command": lambda folder: edit(folder, lambda value: value.update(command=[])),
    "a path": lambda folder: edit(folder, lambda value: value["files"].update({"../x": ""})),
    "a file less": lambda folder: (folder / RUNNER).unlink(),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_told(case: str, folder: Path) -> None:
    DAMAGE[case](folder)
    with pytest.raises(DeviceError, match=r"is no sound runner bundle \(.*\); delete it and build it again$"):
        find_bundle(Platform.LINUX_ARM64)


def test_the_hash_of_the_sources_sees_every_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = Path(shutil.copytree(bundles.source_folder(), tmp_path / "sources"))
    assert {path.name for path in copy.glob("*.[ch]")} == {*bundles.SOURCES, *bundles.HEADERS}
    before = hash_sources()
    monkeypatch.setattr(bundles, "source_folder", lambda: copy)
    assert hash_sources() == before
    for path in copy.glob("*.[ch]"):
        content = path.read_text()
        path.write_text(f"{content}\n")
        assert hash_sources() != before, path.name
        path.write_text(content)
