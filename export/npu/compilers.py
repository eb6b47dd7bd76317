"""Vendor compilers that say where the operators of a file run: one literal table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgesr.export.npu.placement import Placement
from edgesr.target import Format


@dataclass(frozen=True)
class NpuCompiler:
    """A compiler for the NPUs of some tables.

    `npus` maps each table's name to the SoC or member that is compiled for where only the family was asked for.
    `available` says why the compiler cannot run here, with the line that installs it; None where it can. `place` takes
    a file, an NPU's name as `npus` has it or as the user gave it, and a folder for logs; it raises `EdgeSRError` where
    the compiler fails.
    """

    name: str
    npus: Mapping[str, str]
    formats: tuple[Format, ...]
    available: Callable[[], str | None]
    place: Callable[[Path, str, Path], Placement]


NPU_COMPILERS: tuple[NpuCompiler, ...] = ()


def find_compiler(table: str, format_: Format, compilers: Sequence[NpuCompiler]) -> NpuCompiler | None:
    """The compiler of an NPU's table for a file format, None where there is none."""
    return next((x for x in compilers if table in x.npus and format_ in x.formats), None)
