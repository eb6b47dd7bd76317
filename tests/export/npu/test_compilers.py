"""How the vendors' compilers are wired to the tables' names."""

import importlib.metadata
import sys

import pytest

from edgesr.ethos_u import ETHOS_U
from edgesr.export.npu.compilers import NPU_COMPILERS, NpuCompiler, find_compiler
from edgesr.export.npu.litert_aot import SDK_PACKAGE, SDK_VARIABLE
from edgesr.export.npu.socs import find_npu
from edgesr.export.npu.tables import load_tables
from edgesr.qualcomm import SOCS
from edgesr.target import Format

FORMATS = {("Vela", Format.TFLITE), ("QNN", Format.ONNX), ("LiteRT's compiler", Format.TFLITE)}
VELA, QNN, AOT = NPU_COMPILERS


@pytest.mark.parametrize("compiler", NPU_COMPILERS, ids=lambda x: x.name)
def test_every_name_means_the_same_to_tables_and_compilers(compiler: NpuCompiler) -> None:
    tables = {table.npu: table for table in load_tables()}
    for family, stand_in in compiler.npus.items():
        assert stand_in in compiler.members and find_npu(stand_in).table is tables[family]
        assert all(format_ in tables[family].formats for format_ in compiler.formats)
    for member in compiler.members:
        named = find_npu(member)
        assert named.soc == member and named.table.npu in compiler.npus


def test_the_largest_member_stands_for_its_family() -> None:
    for family, stand_in in VELA.npus.items():
        macs = {npu.name: npu.macs_per_cycle for npu in ETHOS_U if npu.family == family}
        assert stand_in == max(macs, key=lambda name: macs[name])
    assert QNN.members == {soc.part for soc in SOCS} and QNN.npus == AOT.npus == {"qualcomm-htp": "SM8750"}


def test_who_is_asked_about_which_file() -> None:
    assert {(x.name, format_) for x in NPU_COMPILERS for format_ in x.formats} == FORMATS
    assert find_compiler("qualcomm-htp", Format.ONNX, NPU_COMPILERS) is QNN and QNN.wants_fixed_size
    assert find_compiler("qualcomm-htp", Format.TFLITE, NPU_COMPILERS) is AOT
    assert find_compiler("ethos-u65", Format.TFLITE, NPU_COMPILERS) is VELA
    assert find_compiler("ethos-u65", Format.ONNX, NPU_COMPILERS) is None
    assert find_compiler("google-tensor", Format.TFLITE, NPU_COMPILERS) is None


def test_what_is_missing_is_named_with_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.metadata.version

    def missing(name: str) -> str:
        if name == "ai-edge-litert":
            return real(name)
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    monkeypatch.setitem(sys.modules, "onnxruntime_qnn", None)
    monkeypatch.delenv(SDK_VARIABLE, raising=False)
    monkeypatch.setitem(sys.modules, SDK_PACKAGE, None)
    for compiler, line in ((VELA, 'pip install "edgesr[ethos-u]"'), (QNN, 'pip install "edgesr[qnn]"'),
                           (AOT, "pip install ai-edge-litert-sdk-qualcomm")):  # fmt: skip
        why = compiler.available()
        assert why is not None and line in why and "\n" not in why
