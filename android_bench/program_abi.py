"""Which processors a program runs on, read from its ELF header before it is sent to a device that cannot start it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from edgesr.errors import DeviceError

ELF_MAGIC = b"\x7fELF"
MACHINE_OFFSET = 18
ABIS: Mapping[int, str] = {3: "x86", 40: "armeabi-v7a", 62: "x86_64", 183: "arm64-v8a", 243: "riscv64"}
"""Android's name of each ELF machine number (e_machine of the System V ABI's header)."""


def abi_of(program: Path) -> str | None:
    """The ABI of an ELF program, None for a script (`#!`); raises `DeviceError` for anything else."""
    try:
        with program.open("rb") as file:
            head = file.read(MACHINE_OFFSET + 2)
    except OSError as error:
        raise DeviceError(
            f"{program} cannot be read: {error.strerror}; give a benchmark program with --runner"
        ) from error
    if head.startswith(b"#!"):
        return None
    if not head.startswith(ELF_MAGIC) or len(head) < MACHINE_OFFSET + 2:
        raise DeviceError(f"{program} is neither an ELF program nor a script; give a benchmark program with --runner")
    machine = int.from_bytes(head[MACHINE_OFFSET:], "big" if head[5] == 2 else "little")
    return ABIS.get(machine, f"ELF machine {machine}")


def refuse_foreign(program: Path, abis: Sequence[str]) -> None:
    """Raise `DeviceError` where the device's ABIs are known and the program is for none of them."""
    abi = abi_of(program)
    if abi is not None and abis and abi not in abis:
        raise DeviceError(
            f"{program} is a program for {abi}, the device runs {', '.join(abis)}; give one built for it with --runner"
        )
