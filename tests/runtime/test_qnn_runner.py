"""Files on the emulated HTP: against exact arithmetic, and context binaries against the direct session."""

import importlib.util
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgesr.artifact import IOContract
from edgesr.errors import ArtifactError, DeviceError
from edgesr.export.npu.qnn import compile_qnn
from edgesr.export.onnx import emit_onnx
from edgesr.graph import Graph
from edgesr.ops import Convolution
from edgesr.qualcomm import find_soc
from edgesr.quant.calibration import calibrate
from edgesr.quant.widths import widen, widenable
from edgesr.quantized import WIDE_BITS, QuantizedGraph
from edgesr.runtime.cases import ParityCase
from edgesr.runtime.operator_parity import compare_operators
from edgesr.runtime.parity import compare_end_to_end
from edgesr.runtime.qnn_runner import QnnRunner
from edgesr.runtime.tolerance import INTEGER_TOLERANCES
from edgesr.target import IODtype, Layout, Precision

pytestmark = [
    pytest.mark.emulator,
    pytest.mark.skipif(
        importlib.util.find_spec("onnxruntime_qnn") is None,
        reason='onnxruntime_qnn is not installed: pip install "edgesr[qnn]"',
    ),
]
SIZE = (32, 48)
CONTRACT = IOContract(IODtype.UINT8, Layout.NHWC, 3, 2, 1.0, (SIZE,), any_size=False)
ELITE = find_soc("SM8750")
PRECISIONS = (Precision.INT8, Precision.A16W8, Precision.FP16)
NETWORKS = dict[Precision, Any]


@pytest.fixture(scope="module")
def networks(small: Any, images: list[np.ndarray]) -> NETWORKS:
    wide = widen(small.quantized, widenable(small.graph, {}).groups, calibrate(small.graph, images), {})
    return {Precision.INT8: small.quantized, Precision.A16W8: wide, Precision.FP16: small.graph}


@pytest.fixture(scope="module")
def case(images: list[np.ndarray]) -> ParityCase:
    return ParityCase("natural", (images[0][None, : SIZE[0], : SIZE[1]] / 255).astype(np.float64))


def written(network: Graph | QuantizedGraph, precision: Precision, folder: Path) -> Path:
    path = folder / f"{precision.value}.onnx"
    path.write_bytes(emit_onnx(network, precision, IODtype.UINT8, Layout.NHWC, SIZE, {}))
    return path


@pytest.mark.parametrize("precision", PRECISIONS, ids=lambda precision: precision.value)
def test_a_context_binary_is_the_direct_session_bit_for_bit_wherever_it_lies(
    precision: Precision, networks: NETWORKS, case: ParityCase, tmp_path: Path
) -> None:
    path = written(networks[precision], precision, tmp_path)
    direct = QnnRunner(path, CONTRACT, ELITE).run(case.image)
    compile_qnn(path.read_bytes(), ELITE, "net", tmp_path / "made")
    moved = Path(shutil.move(tmp_path / "made", tmp_path / "else where"))
    wrapped = QnnRunner(moved / "net.onnx", CONTRACT, ELITE)
    assert np.array_equal(wrapped.run(case.image), direct) and np.ptp(direct) > 0.1
    with pytest.raises(ArtifactError, match="wraps a context binary, which shows no tensors; trace the ONNX file"):
        wrapped.trace(case.image)
    (moved / "net_qnn.bin").unlink()
    with pytest.raises(DeviceError, match=r"net\.onnx does not run on .*; full log: ") as caught:
        QnnRunner(moved / "net.onnx", CONTRACT, ELITE)
    Path(str(caught.value).rsplit("full log: ")[1]).unlink()


def test_int8_operators_are_within_a_step_and_the_image_is_the_exact_ones(
    small: Any, networks: NETWORKS, case: ParityCase, tmp_path: Path
) -> None:
    path = written(networks[Precision.INT8], Precision.INT8, tmp_path)
    runner = QnnRunner(path, CONTRACT, ELITE)
    rows = compare_operators("f", Precision.INT8, networks[Precision.INT8], runner, runner.name, case, CONTRACT)
    assert [row.describe() for row in rows if not row.passed] == []
    assert max(row.max_lsb or 0 for row in rows) <= 1 and len(rows) == len(small.graph.ops) + 2, "both edges too"
    ends = compare_end_to_end("f", Precision.INT8, small.quantized, small.model, small.reference, [runner], [case])
    assert [row.describe() for row in ends if not row.passed] == []


def test_half_precision_with_bytes_is_within_the_limits(small: Any, images: list[np.ndarray], tmp_path: Path) -> None:
    """All of a file's parity: end to end, operator by operator, and the bytes at the edge."""
    path = written(small.graph, Precision.FP16, tmp_path)
    runner = QnnRunner(path, CONTRACT, ELITE)
    case = ParityCase("natural", (images[0][None, : SIZE[0], : SIZE[1]] / 255).astype(np.float64))
    rows = compare_operators("f", Precision.FP16, small.graph, runner, runner.name, case, CONTRACT)
    assert [row.describe() for row in rows if not row.passed] == []
    ends = compare_end_to_end(
        "f", Precision.FP16, small.graph, small.model, small.reference, [runner], [case], contract=CONTRACT
    )
    assert [row.describe() for row in ends if not row.passed] == []


def test_sixteen_bit_convolutions_sum_in_steps_of_256(networks: NETWORKS, case: ParityCase, tmp_path: Path) -> None:
    """The HTP sums the products of 16-bit activations in units of 256, rounded down, the bias rounded to zero.

    So a convolution is up to 512 steps of its accumulator too low, or 256 too high; what that is in steps of the output
    depends on the scales. All other operators are within 3 LSB.
    """
    network = networks[Precision.A16W8]
    runner = QnnRunner(written(network, Precision.A16W8, tmp_path), CONTRACT, ELITE)
    rows = compare_operators("f", Precision.A16W8, network, runner, runner.name, case, CONTRACT)
    found = {row.operator: row.max_lsb or 0 for row in rows}
    for op in network.graph:
        limit = float(INTEGER_TOLERANCES[network.bits(op.name)].max_lsb)
        if isinstance(op, Convolution) and network.bits(op.inputs[0]) == WIDE_BITS:
            steps = network.weights[op.name].scales * network.activations[op.inputs[0]].scale
            limit += 512 * float(steps.max()) / network.activations[op.name].scale
        assert found[op.name] <= limit, f"{op.name}: {found[op.name]} LSB, limit {limit:.1f}"


def test_a_runner_says_that_it_is_emulated_and_is_silent(
    networks: NETWORKS, case: ParityCase, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = written(networks[Precision.INT8], Precision.INT8, tmp_path)
    runner = QnnRunner(path, CONTRACT, find_soc("snapdragon-8-gen-2"))
    assert runner.name == "qnn-htp" and runner.emulated == "emulated HTP v79, compiled for SM8550 (v73)"
    runner.prepare(case.image)
    runner.invoke()
    runner.run(case.image)
    assert capfd.readouterr() == ("", "")


def test_a_file_that_does_not_run_whole_does_not_open(small: Any, tmp_path: Path) -> None:
    path = tmp_path / "free.onnx"
    path.write_bytes(emit_onnx(small.graph, Precision.FP16, IODtype.UINT8, Layout.NHWC, None, {}))
    with pytest.raises(DeviceError, match=r"its size is free.*--size HxW\); full log: ") as caught:
        QnnRunner(path, replace(CONTRACT, any_size=True), ELITE)
    log = Path(str(caught.value).rsplit("full log: ")[1])
    assert "\n" not in str(caught.value) and log.stat().st_size
    log.unlink()
