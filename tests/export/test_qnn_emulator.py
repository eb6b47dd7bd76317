"""Does Qualcomm's NPU take files with 16-bit activations whole, and compute what ONNX Runtime's CPU computes?

On the HTP emulator of `onnxruntime-qnn`, which prints no latencies worth anything. Run in an environment with it.
"""

import importlib.util
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from edgesr.export.capture import capture
from edgesr.export.onnx import emit_onnx
from edgesr.export.pipeline import NATIVE_FOLDS, run_folds
from edgesr.images import load_rgb
from edgesr.qnn_session import open_qnn_session
from edgesr.qualcomm import find_soc
from edgesr.quant.builtin import builtin_calibration_paths
from edgesr.quant.calibration import calibrate
from edgesr.quant.ranges import RangeRule, choose_ranges
from edgesr.quant.weights import quantize_weights
from edgesr.quant.widths import widen, widenable
from edgesr.quantized import QuantizedGraph
from edgesr.target import IODtype, Layout, Precision

pytestmark = [
    pytest.mark.emulator,
    pytest.mark.skipif(
        importlib.util.find_spec("onnxruntime_qnn") is None,
        reason='onnxruntime_qnn is not installed: pip install "edgesr[qnn]"',
    ),
]
SIZES = ((32, 32), (64, 96))
LEAST_PSNR_DB = {"all": 55.0, "some": 45.0}
"""Whole in 16 bits nearly all bytes are equal; in 8-bit parts single steps differ and gates amplify them."""


def npu_session(content: bytes) -> ort.InferenceSession:
    """The emulated NPU of a Snapdragon 8 Elite; nothing may fall back to the CPU."""
    return open_qnn_session(content, find_soc("snapdragon-8-elite"))


def cpu_session(content: bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.x64quantprecision", "1")
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def networks(gentle_model: Any) -> dict[str, QuantizedGraph]:
    """The small network with 16 bits in all tensors, and in some: those of the join, and a convolution with a ReLU."""
    graph, _ = run_folds(capture(gentle_model), NATIVE_FOLDS)
    calibration = calibrate(graph, [load_rgb(path) for path in builtin_calibration_paths()[:12]])
    activations = choose_ranges(graph, calibration, RangeRule())
    narrow = QuantizedGraph(graph, activations, quantize_weights(graph, activations))
    groups = widenable(graph, {}).groups
    some = [group for group in groups if "cat" in group or group == ("block_1.c2.conv",)]
    assert len(some) == 2
    return {"all": widen(narrow, groups, calibration, {}), "some": widen(narrow, some, calibration, {})}


@pytest.mark.parametrize("which", ["all", "some"])
@pytest.mark.parametrize("size", SIZES)
def test_the_npu_takes_the_whole_file_and_agrees_with_the_cpu(
    which: str, size: tuple[int, int], networks: dict[str, QuantizedGraph]
) -> None:
    content = emit_onnx(networks[which], Precision.A16W8, IODtype.UINT8, Layout.NHWC, size, {})
    photo = load_rgb(builtin_calibration_paths()[20])[: size[0], : size[1]][None]
    outputs = [
        session.run(None, {"image": photo})[0].astype(np.float64)
        for session in (npu_session(content), cpu_session(content))
    ]
    difference = outputs[0] - outputs[1]
    psnr = 10 * np.log10(255**2 / max(float((difference**2).mean()), 1e-9))
    frame = np.abs(difference)
    inside = frame[:, 4:-4, 4:-4].mean()
    print(
        f"{which} at {size[0]}x{size[1]}: PSNR {psnr:.1f} dB, largest {frame.max():g}, inside {inside:.3f} on average"
    )
    assert psnr >= LEAST_PSNR_DB[which]
    assert frame[:, :4].mean() <= 3 * inside + 0.1, "the border is padded with zero, not with the lowest integer"
