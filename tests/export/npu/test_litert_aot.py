"""LiteRT's compiler for Qualcomm: without an SDK, faked, and, with QNN's libraries, itself."""

import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from edgesr.errors import ArtifactError, EdgeSRError, ExportError, MissingBackendError
from edgesr.export.npu import litert_aot
from edgesr.export.npu.litert_aot import (
    LIBRARIES,
    SDK_VARIABLE,
    SOCS,
    compile_litert_aot,
    find_aot_soc,
    find_qairt_libraries,
    place_with_litert_aot,
)
from edgesr.export.npu.placement import Evidence, Place
from edgesr.export.npu.tflite_listing import list_operators
from edgesr.export.npu.unfolded import emit_unfolded
from edgesr.export.tflite_builder import ModelBuilder
from edgesr.quantized import QuantizedGraph

Fake = Callable[[str], None]
TOOK = (
    "print('INFO: [x] Partitioned subgraph<0>, selected {taken} ops, from a total of {total} ops. "
    "resulted in {n} partitions.')\n"
)
COMPLAINTS = """[ ERROR ]   <E> [4294967295] has incorrect Rank 6.
[ ERROR ]   <E> QnnBackend_validateOpConfig failed 3110
[ ERROR ]   <E> Failed to validate op Conv2d_7 with error 0xc26"""
REFUSAL = """QNN op validation failed: 'Conv2d_7' (type=Conv2d)
  Inputs:
ERROR: [x]
LiteRT Op #1 'Conv2d' (code=3) is not supported in Qualcomm Compiler."""
WORDS = f"print({COMPLAINTS!r})\nprint({REFUSAL!r}, file=sys.stderr)\n"
COPY = "result.write_bytes(model.read_bytes())\n"
LOAD = "print('Could not load shared library /a/b.so: libQnnHtp.so: cannot open'); sys.exit(6)"


@pytest.fixture
def sdk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that has the names of all the libraries."""
    folder = tmp_path / "sdk" / "lib" / "x86_64-linux-clang"
    folder.mkdir(parents=True)
    for name in LIBRARIES:
        (folder / name).touch()
    monkeypatch.setenv(SDK_VARIABLE, str(tmp_path / "sdk"))
    return folder


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sdk: Path) -> Fake:
    """`fake(code)`: a compiler that runs `code`, with `model` and `result`, the paths to read and to write."""
    package = tmp_path / "litert"
    (package / "vendors" / "qualcomm" / "compiler").mkdir(parents=True)
    (package / "tools").mkdir()
    monkeypatch.setattr(litert_aot, "_litert_folder", lambda: package)

    def install(code: str) -> None:
        program = package / "tools" / "apply_plugin_main"
        prelude = "import os, pathlib, sys, time\nflags = dict(a[2:].split('=', 1) for a in sys.argv[1:])\n"
        paths = "model, result = pathlib.Path(flags['model']), pathlib.Path(flags['o'])\n"
        program.write_text(f"#!{shutil.which('python3')}\n{prelude}{paths}{code}")
        program.chmod(0o755)

    return install


def test_socs_in_any_case_and_near_ones() -> None:
    assert find_aot_soc("sm8750") == "SM8750"
    assert [find_aot_soc(soc) for soc in SOCS] == list(SOCS)
    with pytest.raises(EdgeSRError, match=r"^LiteRT compiles for no SoC called 'SM8751'; choose SM8750"):
        find_aot_soc("SM8751")


def test_the_table_is_litert_own() -> None:
    from ai_edge_litert.aot.vendors.qualcomm.target import SocModel

    assert {soc.value for soc in SocModel if soc.value.startswith("SM")} == set(SOCS)


def test_no_sdk(monkeypatch: pytest.MonkeyPatch, native_file: bytes, tmp_path: Path) -> None:
    monkeypatch.delenv(SDK_VARIABLE, raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        MissingBackendError, match=r"run pip install ai-edge-litert-sdk-qualcomm==\d+\.\d+\.\d+, or set"
    ):
        compile_litert_aot(native_file, "SM8750", tmp_path)


def test_a_package_whose_sdk_was_never_downloaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(SDK_VARIABLE, raising=False)
    (tmp_path / "ai_edge_litert_sdk_qualcomm").mkdir()
    (tmp_path / "ai_edge_litert_sdk_qualcomm" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingBackendError, match=r"data lacks libQnnHtp\.so.*pip install --force-reinstall ai-edge"):
        find_qairt_libraries()


def test_an_sdk_folder_is_its_root_or_the_folder_of_the_libraries(
    sdk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_qairt_libraries() == sdk
    monkeypatch.setenv(SDK_VARIABLE, str(sdk))
    assert find_qairt_libraries() == sdk
    (sdk / "libQnnIr.so").unlink()
    with pytest.raises(MissingBackendError, match=rf"lacks libQnnIr\.so; set {SDK_VARIABLE} to a folder that holds"):
        find_qairt_libraries()


def test_what_is_left_in_the_file_is_on_the_cpu(fake: Fake, native_file: bytes, tmp_path: Path) -> None:
    total = len(list_operators(native_file, "file"))
    fake(TOOK.format(taken=0, total=total, n=0) + WORDS + "print(flags, os.environ['LD_LIBRARY_PATH'])\n" + COPY)
    result = compile_litert_aot(native_file, "sm8750", tmp_path, source="net.tflite")
    placement = result.placement
    assert (placement.npu, placement.evidence, placement.partitions) == ("SM8750", Evidence.COMPILED, 0)
    assert placement.count(Place.CPU) == total and result.taken == 0
    assert placement.operators[1].reason == "Qualcomm's validator refuses it: has incorrect Rank 6"
    assert placement.operators[0].reason == "the compiler left it to the CPU without a reason"
    assert placement.log is not None
    log = placement.log.read_text()
    assert "'soc_model': 'SM8750'" in log and "x86_64-linux-clang" in log and "LiteRT Op #1" in log


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (LOAD, r"cannot load the plugin or the SDK: /a/b\.so: libQnnHtp\.so: cannot open; check EDGESR_QAIRT_SDK"),
        ("print('Unexpected SoC model: X'); sys.exit(1)", "this version knows no SM8750; choose an older SoC"),
        ("sys.exit('out of luck')", "net.tflite ended with code 1: out of luck; `edgesr audit` shows"),
        ("os.kill(os.getpid(), 6)", "net.tflite died of SIGABRT"),
        ("", "ended well but wrote no file"),
        ("result.write_bytes(b'rubbish')", "wrote no sound file"),
        (TOOK.format(taken=9, total=9, n=1) + COPY, "says it took 9 operators in 1 partitions, its file says 0 in 0"),
        ("time.sleep(60)", "ran past 1.5 s and was stopped"),
    ],
)
def test_failures(code: str, message: str, fake: Fake, native_file: bytes, tmp_path: Path) -> None:
    fake(code)
    with pytest.raises(ExportError, match=message) as caught:
        compile_litert_aot(native_file, "SM8750", tmp_path, time_limit_s=1.5, source="net.tflite")
    log = tmp_path / "net.sm8750.litert-aot.log"
    assert str(log) in str(caught.value) and log.exists() and "\n" not in str(caught.value)


def test_no_tflite_file(sdk: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"cannot read .*none\.tflite"):
        place_with_litert_aot(tmp_path / "none.tflite", "SM8750", tmp_path)
    with pytest.raises(ArtifactError, match="the model is no TFLite file"):
        compile_litert_aot(b"rubbish", "SM8750", tmp_path)


@pytest.mark.emulator
@pytest.mark.parametrize("soc", SOCS)
def test_the_whole_network_is_one_partition(
    soc: str, real_sdk: Path, small_network: QuantizedGraph, native_file: bytes, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv(SDK_VARIABLE, str(real_sdk))
    result = compile_litert_aot(native_file, soc, tmp_path)
    assert result.placement.is_whole and result.placement.partitions == 1
    assert result.taken == len(small_network.graph.ops)
    assert [op.kind for op in list_operators(result.content, "compiled")] == ["DISPATCH_OP"]
    with pytest.raises(ArtifactError, match="already compiled for an NPU"):
        compile_litert_aot(result.content, soc, tmp_path)


@pytest.mark.emulator
def test_the_official_network_and_the_unfolded_one(
    real_sdk: Path, official_network: QuantizedGraph, emit: Callable[..., bytes], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv(SDK_VARIABLE, str(real_sdk))
    for content in (emit(official_network, (128, 128)), emit_unfolded(official_network, (128, 128))):
        placement = compile_litert_aot(content, "SM8750", tmp_path).placement
        assert placement.is_whole and placement.partitions == 1


@pytest.mark.emulator
def test_a_shuffle_of_rank_six_is_refused_with_the_reason(
    real_sdk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SDK_VARIABLE, str(real_sdk))
    path = tmp_path / "six.tflite"
    path.write_bytes(shuffle_of_rank_six())
    placement = place_with_litert_aot(path, "SM8750", tmp_path)
    places = [(op.kind, op.place) for op in placement.operators]
    assert places == [("RELU", Place.NPU), ("RESHAPE", Place.CPU), ("TRANSPOSE", Place.CPU), ("RESHAPE", Place.CPU)]
    for op in placement.operators[1:]:
        assert op.reason == "Qualcomm's validator refuses it: has incorrect Rank 6" and "DEPTH_TO_SPACE" in op.remedy


def shuffle_of_rank_six() -> bytes:
    """RELU, then PixelShuffle by 2 as RESHAPE, TRANSPOSE and RESHAPE over six axes, in float32."""
    builder = ModelBuilder("rank six")
    graph: Any = builder.subgraph("main")
    builtin, options = schema.BuiltinOperator, schema.BuiltinOptions
    x = graph.tensor("x", (1, 4, 6, 12), "float32")
    y = graph.tensor("y", (1, 4, 6, 12), "float32")
    graph.operator(builtin.RELU, 1, [x], [y])
    for name, shape, order in (
        ("r", (1, 4, 6, 3, 2, 2), ()),
        ("t", (1, 4, 2, 6, 2, 3), (0, 1, 4, 2, 5, 3)),
        ("z", (1, 8, 12, 3), ()),
    ):
        numbers = graph.constant(f"{name}.numbers", np.array(order or shape, np.int32))
        result = graph.tensor(name, shape, "float32")
        if order:
            graph.operator(
                builtin.TRANSPOSE, 1, [y, numbers], [result], schema.TransposeOptionsT(), options.TransposeOptions
            )
        else:
            reshape = schema.ReshapeOptionsT()
            reshape.newShape = list(shape)
            graph.operator(builtin.RESHAPE, 1, [y, numbers], [result], reshape, options.ReshapeOptions)
        y = result
    graph.finish([x], [y])
    return builder.serialize()
