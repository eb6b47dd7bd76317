import subprocess
import tomllib
import zipfile
from pathlib import Path

import pytest

from edgesr.android_bench.runner import build as builds
from edgesr.android_bench.runner.build import BuildRequest, build, main
from edgesr.android_bench.runner.bundle import HEADERS, LITERT, RUNNER, SOURCES, Bundle, Platform, read_bundle
from edgesr.errors import DeviceError, MissingBackendError

REPO = Path(__file__).parents[3]
ARM_HEAD = b"\x7fELF" + bytes(14) + (183).to_bytes(2, "little")


def test_a_built_bundle_describes_itself(native_bundle: Bundle) -> None:
    read, _ = read_bundle(native_bundle.folder)
    assert read == native_bundle
    assert set(read.files) == {RUNNER, LITERT}
    done = subprocess.run([*read.command, "--runs=x"], cwd=read.folder, capture_output=True, timeout=60)
    assert done.returncode == 2


def test_a_failed_build_keeps_the_old_bundle(
    native_bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "kept"
    bundle = build(BuildRequest(Platform.LINUX_X86_64, folder))
    monkeypatch.setattr(builds, "WARNINGS", ("-no-such-flag",))
    with pytest.raises(
        DeviceError, match=r"^compiling the runner for linux-x86_64 failed: .*no-such-flag.*compile\.log"
    ):
        build(BuildRequest(Platform.LINUX_X86_64, folder))
    assert read_bundle(folder)[0] == bundle
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["kept"]


def test_android_needs_what_only_the_user_has(tmp_path: Path) -> None:
    with pytest.raises(MissingBackendError, match=r"needs --ndk FOLDER .* and --litert FILE .*; give both$"):
        BuildRequest(Platform.ANDROID_ARM64, ndk=tmp_path)
    with pytest.raises(MissingBackendError, match="needs --ndk FOLDER"):
        BuildRequest(Platform.ANDROID_ARM64, litert=tmp_path)


def test_a_folder_without_a_compiler_is_no_ndk(tmp_path: Path) -> None:
    (tmp_path / LITERT).write_bytes(ARM_HEAD)
    request = BuildRequest(Platform.ANDROID_ARM64, tmp_path / "out", ndk=tmp_path, litert=tmp_path / LITERT)
    with pytest.raises(
        MissingBackendError, match=r"holds no toolchains/llvm.*clang; give the folder of an Android NDK"
    ):
        build(request)


def test_an_ndk_compiles_against_the_library_in_an_aar(tmp_path: Path) -> None:
    """A stand-in for clang that writes its arguments where the program would be."""
    clang = tmp_path / "ndk/toolchains/llvm/prebuilt/linux-x86_64/bin/aarch64-linux-android26-clang"
    clang.parent.mkdir(parents=True)
    clang.write_text('#!/bin/sh\nfor last; do :; done\necho "$@" > "$last"\n')
    clang.chmod(0o755)
    with zipfile.ZipFile(tmp_path / "litert.aar", "w") as archive:
        archive.writestr(f"jni/x86_64/{LITERT}", b"\x7fELF of another machine")
        archive.writestr(f"jni/arm64-v8a/{LITERT}", ARM_HEAD + b"library")
    request = BuildRequest(Platform.ANDROID_ARM64, tmp_path / "out", tmp_path / "ndk", tmp_path / "litert.aar")
    bundle = build(request)
    assert (tmp_path / "out" / LITERT).read_bytes() == ARM_HEAD + b"library"
    assert bundle.command == ("./edgesr_runner",) and bundle.litert == "given"
    words = (tmp_path / "out" / RUNNER).read_text()
    assert "-Werror" in words and "max-page-size=16384" in words and "edgesr_runner.c" in words
    assert read_bundle(tmp_path / "out")[0] == bundle


def test_what_holds_no_library_is_refused(tmp_path: Path) -> None:
    def refusal(path: Path) -> str:
        with pytest.raises(DeviceError) as error:
            build(BuildRequest(Platform.ANDROID_ARM64, tmp_path / "out", tmp_path, path))
        return str(error.value)

    with zipfile.ZipFile(tmp_path / "empty.aar", "w") as archive:
        archive.writestr("classes.jar", b"")
    assert "empty.aar holds no libLiteRt.so for arm64; give LiteRT's .aar" in refusal(tmp_path / "empty.aar")
    assert "cannot read" in refusal(tmp_path / "missing.so")
    (tmp_path / "x86.so").write_bytes(ARM_HEAD[:18] + (62).to_bytes(2, "little"))
    assert "is no library for android-arm64; give the one for that machine" in refusal(tmp_path / "x86.so")
    assert not (tmp_path / "out").exists()


def test_a_missing_compiler_is_told_with_its_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / LITERT).write_bytes(ARM_HEAD)
    monkeypatch.setenv("PATH", str(tmp_path))
    code = main(["linux-arm64", "--output", str(tmp_path / "out"), "--litert", str(tmp_path / LITERT)])
    out, err = capsys.readouterr()
    assert (code, out) == (1, "")
    assert err.startswith("error: the runner needs aarch64-linux-gnu-gcc; run apt-get install gcc-aarch64-linux-gnu")
    assert err.count("\n") == 1


def test_a_failed_download_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stand_in = tmp_path / "python"
    stand_in.write_text("#!/bin/sh\necho 'ERROR: No matching distribution found' >&2\nexit 1\n")
    stand_in.chmod(0o755)
    monkeypatch.setattr(builds.sys, "executable", str(stand_in))
    with pytest.raises(
        DeviceError, match=r"for aarch64 failed: ERROR: No matching .*; check the network, or give the "
    ):
        build(BuildRequest(Platform.LINUX_ARM64, tmp_path / "out"))


def test_the_sources_are_shipped() -> None:
    data = tomllib.loads((REPO / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    shipped = {
        path.name for pattern in data["edgesr.android_bench.runner"]
        for path in (REPO / "android_bench" / "runner").glob(pattern)
    }  # fmt: skip
    assert shipped == {*SOURCES, *HEADERS}
