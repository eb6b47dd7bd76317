"""Vendor compilers that say where the operators of a file run: one literal table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgesr.errors import MissingBackendError
from edgesr.ethos_u import ETHOS_U, find_ethos_u
from edgesr.export.npu.ethos_u import place_on_ethos_u, vela_version
from edgesr.export.npu.litert_aot import SOCS as AOT_SOCS
from edgesr.export.npu.litert_aot import find_qairt_libraries, place_with_litert_aot
from edgesr.export.npu.placement import Placement
from edgesr.export.npu.qnn import place_on_qnn
from edgesr.qnn_session import qnn_versions
from edgesr.qualcomm import SOCS, find_soc
from edgesr.target import Format


@dataclass(frozen=True)
class NpuCompiler:
    """A compiler for the NPUs of some tables.

    `npus` maps each table's name to the SoC or member that is compiled for where only the family was asked for.
    `available` says why the compiler cannot run here, with the line that installs it; None where it can. `place` takes
    a file, an NPU's name as `npus` has it or as the user gave it, and a folder for logs; it raises `EdgeSRError` where
    the compiler fails. `members` are the NPUs that it compiles for, `wants_fixed_size` where it takes no file of a free
    size.
    """

    name: str
    npus: Mapping[str, str]
    members: frozenset[str]
    formats: tuple[Format, ...]
    available: Callable[[], str | None]
    place: Callable[[Path, str, Path], Placement]
    wants_fixed_size: bool = False


def _why_no_vela() -> str | None:
    return _why_not(vela_version)


def _why_no_qnn() -> str | None:
    return _why_not(qnn_versions)


def _why_no_aot() -> str | None:
    return _why_not(find_qairt_libraries)


def _why_not(find: Callable[[], object]) -> str | None:
    try:
        find()
    except MissingBackendError as error:
        return str(error)
    return None


def _vela(path: Path, npu: str, logs: Path) -> Placement:
    return place_on_ethos_u(path, find_ethos_u(npu), logs)


def _qnn(path: Path, npu: str, logs: Path) -> Placement:
    return place_on_qnn(path, find_soc(npu), logs)


_SOCS = frozenset(soc.part for soc in SOCS)
NPU_COMPILERS: tuple[NpuCompiler, ...] = (
    NpuCompiler(
        "Vela", {npu.family: npu.name for npu in ETHOS_U}, frozenset(npu.name for npu in ETHOS_U), (Format.TFLITE,),
        _why_no_vela, _vela,
    ),
    NpuCompiler("QNN", {"qualcomm-htp": "SM8750"}, _SOCS, (Format.ONNX,), _why_no_qnn, _qnn, wants_fixed_size=True),
    NpuCompiler(
        "LiteRT's compiler", {"qualcomm-htp": "SM8750"}, frozenset(AOT_SOCS), (Format.TFLITE,), _why_no_aot,
        place_with_litert_aot,
    ),
)  # fmt: skip
"""Of a family, the largest Ethos-U and the Snapdragon 8 Elite stand for all."""


def find_compiler(table: str, format_: Format, compilers: Sequence[NpuCompiler]) -> NpuCompiler | None:
    """The compiler of an NPU's table for a file format, None where there is none."""
    return next((x for x in compilers if table in x.npus and format_ in x.formats), None)
