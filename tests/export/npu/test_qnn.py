"""Compiling for Qualcomm's HTP, and asking where operators run: with the real compiler, and in front of it."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgesr.architecture import SRModel
from edgesr.errors import ArtifactError, ExportError, MissingBackendError
from edgesr.export.capture import capture
from edgesr.export.npu.placement import Evidence, Place
from edgesr.export.npu.qnn import compile_qnn, place_on_qnn
from edgesr.export.onnx import emit_onnx
from edgesr.export.pipeline import NATIVE_FOLDS, run_folds
from edgesr.images import load_rgb
from edgesr.qualcomm import SOCS, Soc, find_soc
from edgesr.quant.builtin import builtin_calibration_paths
from edgesr.quant.calibration import calibrate
from edgesr.quant.ranges import RangeRule, choose_ranges
from edgesr.quant.weights import quantize_weights
from edgesr.quant.widths import widen, widenable
from edgesr.quantized import QuantizedGraph
from edgesr.target import IODtype, Layout, Precision

emulator = [
    pytest.mark.emulator,
    pytest.mark.skipif(
        importlib.util.find_spec("onnxruntime_qnn") is None,
        reason='onnxruntime_qnn is not installed: pip install "edgesr[qnn]"',
    ),
]
PRECISIONS = (Precision.INT8, Precision.A16W8, Precision.FP16)
SIZE = (16, 24)
ELITE = find_soc("SM8750")


def marked(test: Callable[..., None]) -> Callable[..., None]:
    """A test that needs the compiler; the others here need none."""
    for mark in emulator:
        test = mark(test)
    return test


Emit = Callable[[Precision], bytes]


@pytest.fixture(scope="module")
def emit(gentle_model: SRModel) -> Emit:
    return emitter_of(gentle_model)


def emitter_of(model: SRModel) -> Emit:
    """One network in every precision, with bytes in and out."""
    graph, _ = run_folds(capture(model), NATIVE_FOLDS)
    calibration = calibrate(graph, [load_rgb(path) for path in builtin_calibration_paths()[:4]])
    activations = choose_ranges(graph, calibration, RangeRule())
    narrow = QuantizedGraph(graph, activations, quantize_weights(graph, activations))
    wide = widen(narrow, widenable(graph, {}).groups, calibration, {})
    networks: dict[Precision, Any] = {Precision.INT8: narrow, Precision.A16W8: wide, Precision.FP16: graph}
    return lambda precision: emit_onnx(
        networks[precision], precision, IODtype.UINT8, Layout.NHWC, SIZE, {"target": precision.value}
    )


def foreign(*kinds: str, size: int | str = 8) -> onnx.ModelProto:
    """A convolution and a chain of unary operators, most without a name, as some converter would write it."""
    weight = numpy_helper.from_array(np.full((4, 3, 3, 3), 0.1, np.float32), "w")
    nodes = [helper.make_node("Conv", ["image", "w"], ["v0"], pads=[1, 1, 1, 1])]
    nodes += [helper.make_node(kind, [f"v{i}"], [f"v{i + 1}"]) for i, kind in enumerate(kinds)]
    edges = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, size, size])
        for name, channels in (("image", 3), (f"v{len(kinds)}", 4))
    ]
    graph = helper.make_graph(nodes, "foreign", edges[:1], edges[1:], [weight])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@marked
@pytest.mark.parametrize("precision", PRECISIONS, ids=lambda precision: precision.value)
@pytest.mark.parametrize("soc", SOCS, ids=lambda soc: soc.part)
def test_the_whole_network_compiles_for_every_soc(precision: Precision, soc: Soc, emit: Emit, tmp_path: Path) -> None:
    content = emit(precision)
    found = compile_qnn(content, soc, "net", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["net.onnx", "net_qnn.bin"]
    assert (found.wrapper, found.binary) == ("net.onnx", "net_qnn.bin") and 0 < found.seconds < 60
    placement = found.placement
    names = [node.output[0] for node in onnx.load_from_string(content).graph.node]
    assert [op.name for op in placement.operators] == names
    assert placement.is_whole and placement.partitions == 1 and placement.evidence is Evidence.COMPILED
    assert placement.npu == soc.name and soc.part in placement.source and "onnxruntime-qnn" in placement.source
    wrapper = onnx.load(tmp_path / "out" / "net.onnx")
    props = {p.key: p.value for p in wrapper.metadata_props}
    assert props["edgesr"] == f'{{"target": "{precision.value}"}}', "the contract travels with the wrapper"
    numbers = props["ep_compatibility_info.QNNExecutionProvider"].split(":")
    assert [str(soc.htp_arch), str(soc.soc_model)] == numbers[4:6], "compiled for another SoC"


@marked
def test_the_official_network_compiles_whole(tmp_path: Path) -> None:
    from edgesr.model.registry import load_model

    weights = shared() / "checkpoints" / "spanv2_x4_official.pth"
    if not weights.exists():
        pytest.skip(f"the official checkpoint is not at {weights}; set EDGESR_SHARED")
    emit = emitter_of(load_model(weights=weights))
    for precision in PRECISIONS:
        for soc in SOCS[1:]:
            found = compile_qnn(emit(precision), soc, f"{precision.value}-{soc.part}", tmp_path)
            assert found.placement.is_whole and found.seconds < 10


def shared() -> Path:
    import os

    return Path(os.environ.get("EDGESR_SHARED", Path(__file__).parents[4] / "shared"))


@marked
def test_logs_are_kept_where_they_are_asked_for(emit: Emit, tmp_path: Path) -> None:
    found = compile_qnn(emit(Precision.INT8), ELITE, "net", tmp_path / "out", log_folder=tmp_path / "logs")
    assert found.placement.log == tmp_path / "logs" / "net_qnn.log"
    assert "onnxruntime" in found.placement.log.read_text(errors="replace")


@marked
def test_a_network_that_the_npu_refuses_is_one_line_and_writes_nothing(tmp_path: Path) -> None:
    content = foreign("Sigmoid", "Erf").SerializeToString()
    with pytest.raises(ExportError) as caught:
        compile_qnn(content, ELITE, "net", tmp_path / "out", log_folder=tmp_path / "logs")
    message = str(caught.value)
    assert "QNN does not take Erf 'v2': Operators of type Erf are not supported" in message and "\n" not in message
    assert "; replace it with " in message and message.endswith(f"full log: {tmp_path / 'logs' / 'net_qnn.log'}")
    assert not (tmp_path / "out").exists()


@marked
def test_a_free_size_is_refused_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"its size is free.*; export with a fixed size \(--size HxW\); full log: "):
        compile_qnn(foreign("Relu", size="n").SerializeToString(), ELITE, "net", tmp_path, tmp_path / "logs")


@marked
def test_a_compiler_that_runs_past_its_limit(emit: Emit, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"QNN was stopped after 0\.01 s"):
        compile_qnn(emit(Precision.INT8), ELITE, "net", tmp_path / "out", tmp_path / "logs", time_limit_s=0.01)
    assert not (tmp_path / "out").exists()


@marked
def test_a_foreign_file_is_placed_operator_by_operator(tmp_path: Path) -> None:
    path = tmp_path / "foreign.onnx"
    onnx.save(foreign("Sigmoid", "Erf", "Relu", "Erf", "Tanh"), path)
    found = place_on_qnn(path, ELITE, tmp_path / "logs")
    assert [(op.name, op.kind, op.place) for op in found.operators] == [
        ("v0", "Conv", Place.NPU), ("v1", "Sigmoid", Place.NPU), ("v2", "Erf", Place.CPU), ("v3", "Relu", Place.NPU),
        ("v4", "Erf", Place.CPU), ("v5", "Tanh", Place.NPU),
    ]  # fmt: skip
    assert found.partitions == 3 and not found.is_whole
    assert all("Erf are not supported by QNN" in op.reason for op in found.operators if op.place is Place.CPU)
    assert found.log is not None and found.log.parent == tmp_path / "logs"


@marked
def test_a_wrapper_is_placed_too(emit: Emit, tmp_path: Path) -> None:
    compile_qnn(emit(Precision.INT8), ELITE, "net", tmp_path)
    found = place_on_qnn(tmp_path / "net.onnx", ELITE)
    assert [op.kind for op in found.operators] == ["EPContext"] and found.is_whole and found.log is None


def test_a_name_with_folders_is_no_stem(tmp_path: Path) -> None:
    for stem in ("", "a/b", "../a"):
        with pytest.raises(ExportError, match="is no name of a file; give one without folders"):
            compile_qnn(b"", ELITE, stem, tmp_path)


def test_without_the_package_nothing_is_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime_qnn", None)
    path = tmp_path / "foreign.onnx"
    onnx.save(foreign("Relu"), path)
    with pytest.raises(MissingBackendError, match=r'run pip install "edgesr\[qnn\]"$'):
        place_on_qnn(path, ELITE)
    with pytest.raises(MissingBackendError, match=r'run pip install "edgesr\[qnn\]"$'):
        compile_qnn(path.read_bytes(), ELITE, "net", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@marked
def test_what_is_no_onnx_file(tmp_path: Path) -> None:
    path = tmp_path / "corrupt.onnx"
    path.write_bytes(b"\x08\xff\xff nonsense")
    with pytest.raises(ArtifactError, match=r"corrupt\.onnx is no whole ONNX file"):
        place_on_qnn(path, ELITE)
