"""A bundle: the folder with the runner and all that it needs on a device, and `bundle.json` that describes it.

    {"platform": "linux-arm64", "litert": "2.3.0", "sources": SHA256, "command": [...], "files": {NAME: SHA256}}

`command` starts the runner with the bundle as working directory; flags follow it. `sources` is the hash of the C
sources that it was built from, so that a bundle of an older edgesr is not used unseen.
"""

from __future__ import annotations

import enum
import hashlib
import importlib.metadata
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from edgesr.android_bench.cache import cache_folder
from edgesr.errors import DeviceError, MissingBackendError

DESCRIPTION = "bundle.json"
RUNNER = "edgesr_runner"
LITERT = "libLiteRt.so"
SOURCES = ("edgesr_runner.c", "flags.c", "network.c", "report.c")
HEADERS = ("flags.h", "litert_c_api.h", "network.h", "report.h")
GIVEN = "given"
"""What stands for LiteRT's version where the user gave the library."""


class Platform(enum.StrEnum):
    """Where a runner runs."""

    LINUX_ARM64 = "linux-arm64"
    ANDROID_ARM64 = "android-arm64"
    LINUX_X86_64 = "linux-x86_64"


BUILD_ARGUMENTS: Mapping[Platform, str] = MappingProxyType(
    {Platform.LINUX_ARM64: "", Platform.ANDROID_ARM64: " --ndk NDK_FOLDER --litert FILE", Platform.LINUX_X86_64: ""}
)


@dataclass(frozen=True)
class Bundle:
    """A runner that can be pushed: `files` are names in `folder` with their SHA-256."""

    folder: Path
    platform: Platform
    litert: str
    command: tuple[str, ...]
    files: Mapping[str, str]

    def __post_init__(self) -> None:
        """Refuse a bundle without its runner, or with a file outside its folder."""
        if not self.command or RUNNER not in self.files or LITERT not in self.files:
            raise ValueError(f"a bundle has a command, {RUNNER} and {LITERT}")
        if outside := [name for name in self.files if Path(name).name != name or name in (".", "..")]:
            raise ValueError(f"{outside[0]!r} is no file in the bundle's folder")


def build_line(platform: Platform) -> str:
    """What to type to get a bundle."""
    return f"python -m edgesr.android_bench.runner.build {platform}{BUILD_ARGUMENTS[platform]}"


def bundles_folder() -> Path:
    """Where bundles lie, one folder for each platform: $EDGESR_RUNNERS, or the user's cache folder."""
    given = os.environ.get("EDGESR_RUNNERS")
    return Path(given) if given else cache_folder() / "runners"


def find_bundle(platform: Platform) -> Bundle:
    """The bundle for a platform, its files checked.

    Raises `MissingBackendError` where there is none, or one that other sources or another LiteRT made (the host's
    outputs could then differ from the device's), and `DeviceError` where it is damaged; each with the line that builds
    it.
    """
    folder = bundles_folder() / platform
    if not (folder / DESCRIPTION).is_file():
        raise MissingBackendError(f"no runner for {platform} in {folder}; run {build_line(platform)}")
    bundle, sources = read_bundle(folder)
    if sources != hash_sources():
        raise MissingBackendError(f"{folder} was built by another edgesr; run {build_line(platform)}")
    if bundle.litert not in (GIVEN, litert_version()):
        raise MissingBackendError(
            f"{folder} holds LiteRT {bundle.litert}, this machine runs {litert_version()}; run {build_line(platform)}"
        )
    return bundle


def read_bundle(folder: Path) -> tuple[Bundle, str]:
    """The bundle in a folder and the hash of its sources; raises `DeviceError` where it is not as it was built."""
    try:
        value = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        bundle = _from_json(folder, value)
        changed = [name for name, digest in bundle.files.items() if sha256_of(folder / name) != digest]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DeviceError(f"{folder} is no sound runner bundle ({error}); delete it and build it again") from error
    if changed:
        raise DeviceError(f"{folder / changed[0]} is not what was built; run {build_line(bundle.platform)}")
    return bundle, str(value["sources"])


def _from_json(folder: Path, value: Any) -> Bundle:
    command = tuple(map(str, value["command"]))
    return Bundle(folder, Platform(value["platform"]), str(value["litert"]), command, dict(value["files"]))


def write_description(bundle: Bundle) -> None:
    """Write `bundle.json` into the bundle's folder."""
    value = {
        "platform": bundle.platform.value, "litert": bundle.litert, "sources": hash_sources(),
        "command": list(bundle.command), "files": dict(bundle.files),
    }  # fmt: skip
    (bundle.folder / DESCRIPTION).write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def source_folder() -> Path:
    """Where the C sources lie: beside this module, in a clone and in an installation."""
    return Path(__file__).parent


def hash_sources() -> str:
    """One SHA-256 over the names and contents of the C sources."""
    digest = hashlib.sha256()
    for name in sorted((*SOURCES, *HEADERS)):
        digest.update(f"{name}\n".encode() + (source_folder() / name).read_bytes())
    return digest.hexdigest()


def litert_version() -> str:
    """The version of ai-edge-litert on this machine."""
    try:
        return importlib.metadata.version("ai-edge-litert")
    except importlib.metadata.PackageNotFoundError:
        raise MissingBackendError("ai-edge-litert is not installed; run pip install edgesr") from None


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
