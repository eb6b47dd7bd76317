"""Vendor compilers that say where the operators of a file run: one literal table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgesr.export.npu.placement import Placement
from edgesr.target import Format

Place = Callable[[Path, str, Path], Placement]
"""From a file, the NPU's name and a folder for logs to what the compiler did with each operator."""


@dataclass(frozen=True)
class NpuCompiler:
    """A compiler for the NPUs of some tables.

    `default_npu` is the SoC or member that it compiles for where only the family is asked for. `available` says why it
    cannot run here, with the line that installs it; None where it can. `place` raises `EdgeSRError` where it fails.
    """

    name: str
    tables: tuple[str, ...]
    formats: tuple[Format, ...]
    default_npu: Callable[[str], str]
    available: Callable[[], str | None]
    place: Place


NPU_COMPILERS: tuple[NpuCompiler, ...] = ()


def find_compiler(table: str, format_: Format, compilers: tuple[NpuCompiler, ...] | None = None) -> NpuCompiler | None:
    """The compiler of an NPU's table for a file format, None where there is none."""
    known = NPU_COMPILERS if compilers is None else compilers
    return next((x for x in known if table in x.tables and format_ in x.formats), None)
