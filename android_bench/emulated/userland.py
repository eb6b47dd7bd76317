"""`python -m edgesr.android_bench.emulated.userland [--debs FOLDER] [--if-missing]`: the device's arm64 programs.

Debian's mksh (Android's shell) and toybox (Android's commands) with their C library, unpacked into the user's cache
folder, together with two small libraries that are compiled here: access_shim.c for the guest and count_instructions.c
for QEMU. Packages come from the Debian or Ubuntu sources of this machine, by apt in a folder of its own: that needs no
root and no foreign architecture in dpkg. `--debs` takes them from a folder instead. Nothing of Debian is part of
edgesr.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgesr.android_bench.cache import cache_folder, written_whole
from edgesr.android_bench.emulated.launcher import PLUGIN, PRIVATE, SHIM
from edgesr.android_bench.setup_step import run_step
from edgesr.errors import DeviceError, EdgeSRError, MissingBackendError

PACKAGES = ("mksh", "toybox", "libc6", "libcrypt1")
LIBRARIES = ("ld-linux-aarch64.so.1", "libc.so.6", "libm.so.6", "libcrypt.so.1")
FOLDERS = ("data/local/tmp", "sdcard", "proc", "sys", "dev", "tmp", "etc", "system/etc/dumpsys", "host-rootfs")
"""Also the places that proot binds host files to, so that it needs no folder of its own for them."""
COMMANDS = (
    "[", "base64", "basename", "cat", "chmod", "chown", "chrt", "cksum", "clear", "cmp", "cp", "cut", "date", "dd",
    "df", "dirname", "dmesg", "du", "echo", "egrep", "env", "expr", "fallocate", "false", "fgrep", "file", "find",
    "flock", "free", "fsync", "getconf", "grep", "groups", "gunzip", "gzip", "head", "hostname", "id", "ifconfig",
    "kill", "killall", "ln", "logname", "ls", "lsof", "md5sum", "mkdir", "mkfifo", "mktemp", "mount", "mountpoint",
    "mv", "nice", "nl", "nohup", "nproc", "od", "paste", "pgrep", "pidof", "pkill", "pmap", "printenv", "printf",
    "ps", "pwd", "readlink", "realpath", "renice", "rm", "rmdir", "sed", "seq", "setsid", "sha1sum", "sha256sum",
    "sha512sum", "sleep", "sort", "split", "stat", "strings", "sync", "sysctl", "tac", "tail", "tar", "taskset",
    "tee", "test", "time", "timeout", "top", "touch", "tr", "true", "truncate", "tty", "ulimit", "umount", "uname",
    "uniq", "unlink", "uptime", "usleep", "uudecode", "uuencode", "vmstat", "wc", "which", "whoami", "xargs", "xxd",
    "yes", "zcat",
)  # fmt: skip
"""Commands that Android's toybox answers to; one that Debian's lacks says so."""
SOURCES = ("access_shim.c", "count_instructions.c", "system/dumpsys", "system/getprop", "userland.py")
COMPILE = ("-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC")
HASH_FILE = "userland.sha256"
FIRST_QEMU_OF_API_2 = 9
LIMIT_S = 600.0
APT_CURE = "check the network, or give a folder with the arm64 packages mksh, toybox, libc6, libcrypt1 by --debs"
BUILD_LINE = "make emulator-deps"


@dataclass(frozen=True)
class Userland:
    """An unpacked root folder that devices copy."""

    root: Path


def userland_folder() -> Path:
    """Where it lies: $EDGESR_USERLAND, or the user's cache folder."""
    given = os.environ.get("EDGESR_USERLAND")
    return Path(given) if given else cache_folder() / "userland" / "arm64"


def find_userland() -> Userland:
    """The userland; raises `MissingBackendError` where there is none, or one of another edgesr's."""
    folder = userland_folder()
    try:
        found = (folder / HASH_FILE).read_text(encoding="utf-8").strip()
    except OSError:
        raise MissingBackendError(f"no arm64 programs in {folder}; run {BUILD_LINE}") from None
    if found != _hash_sources():
        raise MissingBackendError(f"{folder} was made by another edgesr; run {BUILD_LINE}")
    return Userland(folder / "root")


def build_userland(debs: Path | None = None) -> Userland:
    """Fetch (or take from `debs`), unpack and compile; raises `MissingBackendError` or `DeviceError` with the cure."""
    folder = userland_folder()
    with written_whole(folder) as fresh, tempfile.TemporaryDirectory(prefix="edgesr-") as work:
        packages = _fetch(Path(work), folder) if debs is None else sorted(debs.glob("*.deb"))
        _unpack(packages, Path(work) / "unpacked", folder)
        _assemble(Path(work) / "unpacked", fresh / "root")
        _compile(fresh / "root" / PRIVATE, folder)
        (fresh / HASH_FILE).write_text(_hash_sources() + "\n", encoding="utf-8")
    return Userland(folder / "root")


def _log(folder: Path, step: str) -> Path:
    return folder.parent / f"{folder.name}.{step}.log"


def _fetch(work: Path, folder: Path) -> list[Path]:
    """Download the packages by apt, with package lists of arm64 that this machine's own lists do not see."""
    for name in ("lists/partial", "cache/archives/partial", "debs"):
        (work / name).mkdir(parents=True)
    options = {
        "APT::Architecture": "arm64", "APT::Architectures": "arm64", "APT::Sandbox::User": "",
        "Dir::State": str(work), "Dir::State::lists": str(work / "lists"), "Dir::State::status": "/dev/null",
        "Dir::Cache": str(work / "cache"),
    }  # fmt: skip
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    run_step("apt-get update for arm64", ["apt-get", *words, "update"], _log(folder, "update"), LIMIT_S, APT_CURE)
    uris = run_step("looking for the arm64 packages", ["apt-get", *words, "--print-uris", "download", *PACKAGES],
                    _log(folder, "uris"), LIMIT_S, APT_CURE)  # fmt: skip
    if len(uris.splitlines()) < len(PACKAGES):
        raise DeviceError(f"apt knows not all of {', '.join(PACKAGES)} for arm64; {APT_CURE}")
    arguments = ["env", f"--chdir={work / 'debs'}", "apt-get", *words, "download", *PACKAGES]
    run_step("the download of the arm64 packages", arguments, _log(folder, "download"), LIMIT_S, APT_CURE)
    return sorted((work / "debs").glob("*.deb"))


def _unpack(packages: Sequence[Path], target: Path, folder: Path) -> None:
    for name in PACKAGES:
        if not any(package.name.startswith(f"{name}_") for package in packages):
            raise DeviceError(f"no package {name} for arm64 among the .deb files given; {APT_CURE}")
    for package in packages:
        arguments = ["dpkg-deb", "--extract", str(package), str(target)]
        run_step(f"unpacking {package.name}", arguments, _log(folder, "unpack"), LIMIT_S, "install dpkg")


def _assemble(unpacked: Path, root: Path) -> None:
    """Android's places for the programs: /system/bin with mksh as sh, and a link for each of toybox's commands."""
    for name in (*FOLDERS, "system/bin", "lib", PRIVATE):
        (root / name).mkdir(parents=True)
    programs = root / "system" / "bin"
    shutil.copy2(_first(unpacked, "bin/mksh", "usr/bin/mksh"), programs / "sh")
    shutil.copy2(_first(unpacked, "bin/toybox", "usr/bin/toybox"), programs / "toybox")
    for name in COMMANDS:
        (programs / name).symlink_to("toybox")
    for name in LIBRARIES:
        places = [f"{folder}/{name}" for folder in ("lib/aarch64-linux-gnu", "usr/lib/aarch64-linux-gnu", "lib")]
        shutil.copyfile(_first(unpacked, *places), root / "lib" / name)
    (root / "lib" / LIBRARIES[0]).chmod(0o755)
    for script in ("getprop", "dumpsys"):
        shutil.copyfile(Path(__file__).parent / "system" / script, programs / script)
        (programs / script).chmod(0o755)


def _first(folder: Path, *names: str) -> Path:
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise DeviceError(f"the arm64 packages hold no {names[0]}; {APT_CURE}")


def _compile(target: Path, folder: Path) -> None:
    source = Path(__file__).parent
    cure = f"run {BUILD_LINE}"
    for compiler, name, library, extra in (
        ("aarch64-linux-gnu-gcc", "access_shim.c", SHIM, ()),
        ("cc", "count_instructions.c", PLUGIN, (f"-DPLUGIN_API={_plugin_api()}",)),
    ):
        arguments = [compiler, *COMPILE, *extra, str(source / name), "-o", str(target / library)]
        run_step(f"compiling {name}", arguments, _log(folder, name), LIMIT_S, cure)


def _plugin_api() -> int:
    """The version of the plugin interface that the installed QEMU takes."""
    words = subprocess.run(
        ["qemu-aarch64", "--version"], capture_output=True, text=True, timeout=60, check=False
    ).stdout
    found = re.search(r"version (\d+)\.", words)
    if found is None:
        raise DeviceError(f"qemu-aarch64 does not say its version; run {BUILD_LINE}")
    return 2 if int(found[1]) >= FIRST_QEMU_OF_API_2 else 1


def _hash_sources() -> str:
    digest = hashlib.sha256()
    for name in SOURCES:
        digest.update(f"{name}\n".encode() + (Path(__file__).parent / name).read_bytes())
    return digest.hexdigest()


def _is_there() -> bool:
    try:
        find_userland()
    except MissingBackendError:
        return False
    return True


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0, or the error's exit code after printing it in one line."""
    parser = argparse.ArgumentParser(
        prog="python -m edgesr.android_bench.emulated.userland", description="Fetch the emulated device's programs."
    )
    parser.add_argument("--debs", type=Path, help="a folder with the arm64 packages, instead of apt's sources")
    parser.add_argument("--if-missing", action="store_true", help="do nothing where they are there already")
    options = parser.parse_args(arguments)
    try:
        userland = find_userland() if options.if_missing and _is_there() else build_userland(options.debs)
    except EdgeSRError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"arm64 programs: {userland.root}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
