"""`python -m edgesr.android_bench.runner.build PLATFORM [--output DIR] [--ndk DIR] [--litert FILE]`.

Compile the runner and put it with all that it needs into a bundle (see bundle.py), whole or not at all:

- linux-arm64: by aarch64-linux-gnu-gcc, against libLiteRt.so of the aarch64 wheel of the installed ai-edge-litert; the
  C and C++ libraries and their loader come from the cross compiler, so that the bundle runs under any kernel;
- android-arm64: by the clang of an NDK, against the libLiteRt.so that the user gives (--litert: the library, or the
  .aar that holds it); it needs nothing of glibc and sees the phone's vendor libraries;
- linux-x86_64: by the machine's own compiler, against the installed wheel; for tests.

Nothing of LiteRT, Debian or the NDK is part of edgesr: it is fetched, or given, on the user's machine.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import stat
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgesr.android_bench.cache import written_whole
from edgesr.android_bench.runner.bundle import (
    GIVEN,
    HEADERS,
    LITERT,
    RUNNER,
    SOURCES,
    Bundle,
    Platform,
    bundles_folder,
    find_bundle,
    litert_version,
    sha256_of,
    source_folder,
    write_description,
)
from edgesr.android_bench.setup_step import run_step
from edgesr.errors import DeviceError, EdgeSRError, MissingBackendError

CROSS_COMPILER = "aarch64-linux-gnu-gcc"
CROSS_PACKAGES = "apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross (or make emulator-deps)"
LOADER = "ld-linux-aarch64.so.1"
GLIBC = (LOADER, "libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libgcc_s.so.1",
         "libstdc++.so.6")  # fmt: skip
"""What libLiteRt.so and the runner need of a glibc system."""
WHEEL_TAGS = ("manylinux_2_17_aarch64", "manylinux2014_aarch64", "manylinux_2_27_aarch64", "manylinux_2_28_aarch64",
              "manylinux_2_31_aarch64")  # fmt: skip
WARNINGS = ("-Wall", "-Wextra", "-Werror")
LINKING = ("-Wl,--allow-shlib-undefined", "-Wl,-rpath,$ORIGIN")
ANDROID_API = 26
ANDROID_PAGE = "-Wl,-z,max-page-size=16384"
LIBRARY_IN_AAR = f"jni/arm64-v8a/{LITERT}"
DOWNLOAD_LIMIT_S = 600.0
COMPILE_LIMIT_S = 300.0
AARCH64, X86_64 = 183, 62
"""ELF's numbers of the machines."""
MACHINES = {Platform.LINUX_ARM64: AARCH64, Platform.ANDROID_ARM64: AARCH64, Platform.LINUX_X86_64: X86_64}


@dataclass(frozen=True)
class BuildRequest:
    """What to build, where, and what the user gives for it. `output` None means where `find_bundle` looks."""

    platform: Platform
    output: Path | None = None
    ndk: Path | None = None
    litert: Path | None = None

    def __post_init__(self) -> None:
        """Refuse an Android build without what only the user has."""
        if self.platform is Platform.ANDROID_ARM64 and (self.ndk is None or self.litert is None):
            raise MissingBackendError(
                "android-arm64 needs --ndk FOLDER (an Android NDK) and --litert FILE (LiteRT's .aar for Android, or "
                "the libLiteRt.so in it); give both"
            )

    @property
    def folder(self) -> Path:
        """Where the bundle goes."""
        return self.output or bundles_folder() / self.platform

    def log(self, step: str) -> Path:
        """Where a step's output is kept."""
        return self.folder.parent / f"{self.folder.name}.{step}.log"


def build(request: BuildRequest) -> Bundle:
    """Build a bundle; raises `MissingBackendError` or `DeviceError`, with the cure and the log."""
    with written_whole(request.folder) as fresh:
        version = _put_litert(request, fresh / LITERT)
        _require_machine(fresh / LITERT, request.platform)
        _compile(request, fresh)
        if request.platform is Platform.LINUX_ARM64:
            _put_glibc(request, fresh)
        files = {path.name: sha256_of(path) for path in sorted(fresh.iterdir())}
        write_description(Bundle(fresh, request.platform, version, _command(request.platform), files))
    return Bundle(request.folder, request.platform, version, _command(request.platform), files)


def _command(platform: Platform) -> tuple[str, ...]:
    if platform is Platform.LINUX_ARM64:
        return f"./{LOADER}", "--library-path", ".", f"./{RUNNER}"
    return (f"./{RUNNER}",)


def _put_litert(request: BuildRequest, target: Path) -> str:
    """Copy the platform's libLiteRt.so; its version."""
    if request.litert is not None:
        _copy_library(request.litert, target)
        return GIVEN
    if request.platform is Platform.LINUX_X86_64:
        _copy_library(_installed_library(), target)
    else:
        with tempfile.TemporaryDirectory(prefix="edgesr-") as folder:
            _copy_library(_download_wheel(request, Path(folder)), target)
    return litert_version()


def _installed_library() -> Path:
    spec = importlib.util.find_spec("ai_edge_litert")
    if spec is None or spec.origin is None:
        raise MissingBackendError("ai-edge-litert is not installed; run pip install edgesr")
    return Path(spec.origin).parent / LITERT


def _download_wheel(request: BuildRequest, folder: Path) -> Path:
    wanted = f"ai-edge-litert=={litert_version()}"
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    tags = [word for tag in WHEEL_TAGS for word in ("--platform", tag)]
    arguments = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check",
                 "--only-binary=:all:", "--no-deps", "--implementation", "cp", "--python-version", python, *tags,
                 "--dest", str(folder), wanted]  # fmt: skip
    cure = "check the network, or give the wheel for aarch64 by --litert FILE"
    run_step(f"the download of {wanted} for aarch64", arguments, request.log("download"), DOWNLOAD_LIMIT_S, cure)
    return next(folder.glob("*.whl"))


def _copy_library(source: Path, target: Path) -> None:
    """Copy libLiteRt.so itself, or take it out of a wheel or an .aar."""
    try:
        if not zipfile.is_zipfile(source):
            shutil.copyfile(source, target)
            return
        with zipfile.ZipFile(source) as archive:
            names = [name for name in archive.namelist() if name in (f"ai_edge_litert/{LITERT}", LIBRARY_IN_AAR)]
            if not names:
                raise DeviceError(f"{source} holds no {LITERT} for arm64; give LiteRT's .aar, its wheel or the library")
            target.write_bytes(archive.read(names[0]))
    except (OSError, zipfile.BadZipFile) as error:
        raise DeviceError(f"cannot read {source}: {error}; give LiteRT's .aar, its wheel or the library") from error


def _require_machine(library: Path, platform: Platform) -> None:
    with library.open("rb") as file:
        head = file.read(20)
    if head[:4] != b"\x7fELF" or int.from_bytes(head[18:20], "little") != MACHINES[platform]:
        raise DeviceError(f"the {LITERT} given is no library for {platform}; give the one for that machine")


def _compile(request: BuildRequest, folder: Path) -> None:
    compiler, extra, cure = _compiler(request)
    source = source_folder()
    missing = [name for name in (*SOURCES, *HEADERS) if not (source / name).is_file()]
    if missing:
        raise DeviceError(f"{source / missing[0]} is missing; reinstall edgesr")
    arguments = [compiler, "-std=gnu11", "-O2", *WARNINGS, *(str(source / name) for name in SOURCES),
                 str(folder / LITERT), *LINKING, *extra, "-o", str(folder / RUNNER)]  # fmt: skip
    run_step(f"compiling the runner for {request.platform}", arguments, request.log("compile"), COMPILE_LIMIT_S, cure)


def _compiler(request: BuildRequest) -> tuple[str, Sequence[str], str]:
    """The compiler, its further flags, and what to do where it fails."""
    if request.ndk is not None and request.platform is Platform.ANDROID_ARM64:
        cure = "give the folder of an Android NDK (r26 or later) and the libLiteRt.so of LiteRT 2.3 or later"
        clang = f"toolchains/llvm/prebuilt/*/bin/aarch64-linux-android{ANDROID_API}-clang"
        found = sorted(request.ndk.glob(clang))
        if not found:
            raise MissingBackendError(f"{request.ndk} holds no {clang}; {cure}")
        return str(found[0]), (ANDROID_PAGE,), cure
    if request.platform is Platform.LINUX_ARM64:
        return _require(CROSS_COMPILER, f"run {CROSS_PACKAGES}"), (), f"run {CROSS_PACKAGES}"
    return _require("cc", "install a C compiler"), (), "install a C compiler"


def _require(program: str, cure: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise MissingBackendError(f"the runner needs {program}; {cure}")
    return path


def _put_glibc(request: BuildRequest, folder: Path) -> None:
    """Copy the loader and the libraries that the cross compiler links with."""
    cure = f"run {CROSS_PACKAGES}"
    for name in GLIBC:
        arguments = [CROSS_COMPILER, f"-print-file-name={name}"]
        found = Path(
            run_step(f"looking for {name}", arguments, request.log("libraries"), COMPILE_LIMIT_S, cure).strip()
        )
        if not found.is_absolute() or not found.is_file():
            raise MissingBackendError(f"{CROSS_COMPILER} knows no {name}; {cure}")
        shutil.copyfile(found, folder / name)
    for name in (LOADER, RUNNER):
        path = folder / name
        path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0, or the error's exit code after printing it in one line."""
    options = _parser().parse_args(arguments)
    platform = Platform(options.platform)
    try:
        if options.if_missing and _is_there(platform):
            bundle = find_bundle(platform)
        else:
            bundle = build(BuildRequest(platform, options.output, options.ndk, options.litert))
    except EdgeSRError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"runner for {bundle.platform} with LiteRT {bundle.litert}: {bundle.folder}")
    return 0


def _is_there(platform: Platform) -> bool:
    try:
        find_bundle(platform)
    except (MissingBackendError, DeviceError):
        return False
    return True


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m edgesr.android_bench.runner.build", description="Build the device runner."
    )
    parser.add_argument("platform", choices=[platform.value for platform in Platform])
    parser.add_argument("--output", type=Path, help=f"the bundle's folder (default: {bundles_folder()}/PLATFORM)")
    parser.add_argument("--ndk", type=Path, default=_given_ndk(), help="an Android NDK (default: $ANDROID_NDK_HOME)")
    parser.add_argument("--litert", type=Path, help=f"LiteRT's .aar or wheel for arm64, or the {LITERT} in it")
    parser.add_argument("--if-missing", action="store_true", help="do nothing where a sound one is there already")
    return parser


def _given_ndk() -> Path | None:
    given = os.environ.get("ANDROID_NDK_HOME")
    return Path(given) if given else None


if __name__ == "__main__":
    sys.exit(main())
