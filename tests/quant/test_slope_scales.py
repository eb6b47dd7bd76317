"""A LeakyReLU's steps on the real XNNPACK kernels, which hold both of its slopes in 8 fractional bits."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgesr.artifact import IOContract
from edgesr.export.tflite import emit_tflite
from edgesr.graph import Graph
from edgesr.ops import Concat, LeakyRelu
from edgesr.quant.calibration import calibrate
from edgesr.quant.ranges import RangeRule, choose_ranges
from edgesr.quant.slope_scales import FRACTION, WIDEST, with_exact_slopes
from edgesr.quant.weights import quantize_weights
from edgesr.quantized import QuantizedGraph, QuantParams
from edgesr.runtime.cases import ParityCase
from edgesr.runtime.litert_runner import Kernels, LiteRTRunner
from edgesr.runtime.operator_parity import compare_operators
from edgesr.target import IODtype, Layout, Precision

Images = tuple[np.ndarray, ...]
SLOPES = (0.05, 0.1, 0.2, -0.3)


def leaky(build: Any, slope: float) -> Graph:
    """A LeakyReLU of tensors that are negative for the most part."""
    graph: Graph = build.graph(
        build.conv("a", "input", 3, 8), LeakyRelu(name="f", inputs=("a",), slope=slope), build.conv("out", "f", 8, 3)
    )  # fmt: skip
    graph.parameters()["a", "bias"].sub_(1.5)
    return graph


def badly_stepped(graph: Graph, images: Images, slope: float) -> dict[str, QuantParams]:
    """Ranges as chosen, the output's step widened until 256 slope r lies between two whole numbers."""
    chosen = choose_ranges(graph, calibrate(graph, images), RangeRule())
    exact = FRACTION * abs(slope) * chosen["a"].scale / chosen["f"].scale
    step = chosen["f"].scale * exact / (math.floor(exact - 0.5) + 0.5)
    return chosen | {"f": QuantParams(step, chosen["f"].zero_point)}


def failures(network: QuantizedGraph, images: Images, file: Path) -> list[str]:
    """Operators that XNNPACK computes otherwise than the graph says."""
    size = images[0].shape[:2]
    file.write_bytes(emit_tflite(network, Precision.INT8, IODtype.INT8, [size], {}))
    runner = LiteRTRunner(file, IOContract(IODtype.INT8, Layout.NHWC, 3, 1, 1.0, (size,), True), Kernels.XNNPACK)
    case = ParityCase("noise", images[0][None] / 255)
    rows = compare_operators(file.name, Precision.INT8, network, runner, "litert-xnnpack", case)
    return [row.operator for row in rows if not row.passed]


@pytest.mark.parametrize("slope", SLOPES)
def test_xnnpack_computes_what_the_graph_says(slope: float, build: Any, noise: Images, tmp_path: Path) -> None:
    graph = leaky(build, slope)
    chosen = with_exact_slopes(graph, badly_stepped(graph, noise, slope))
    network = QuantizedGraph(graph, chosen, quantize_weights(graph, chosen))
    assert failures(network, noise, tmp_path / "model.tflite") == []


def test_and_not_with_steps_between_its_numbers(build: Any, noise: Images, tmp_path: Path) -> None:
    graph = leaky(build, 0.05)
    chosen = badly_stepped(graph, noise, 0.05)
    network = QuantizedGraph(graph, chosen, quantize_weights(graph, chosen))
    assert failures(network, noise, tmp_path / "model.tflite") == ["f"]


@pytest.mark.parametrize("slope", SLOPES)
@pytest.mark.parametrize("output_step", [0.011, 0.0173, 0.03, 0.052])
def test_the_step_grows_by_a_tenth_at_most_and_covers_the_range(slope: float, output_step: float, build: Any) -> None:
    before = QuantParams(0.02, -31)
    graph = leaky(build, slope)
    steps = {"f": QuantParams(output_step, -20), "out": QuantParams(1 / 255, -128), "input": QuantParams(1 / 255, -128)}
    after = with_exact_slopes(graph, steps | {"a": before})["a"]
    k = FRACTION * after.scale / output_step
    assert (
        before.scale * (1 - 1e-6)
        <= after.scale
        <= max(WIDEST, 1 + output_step / FRACTION / before.scale) * before.scale
    )
    assert k == pytest.approx(round(k), abs=1e-4)
    for end in ("lowest", "highest"):
        old, new = (p.scale * (getattr(p, end) - p.zero_point) for p in (before, after))
        assert abs(new) >= abs(old) - after.scale / 2


def test_a_step_that_others_share_is_left_alone(build: Any, noise: Images) -> None:
    graph = build.graph(
        build.conv("a", "input", 3, 4), build.conv("b", "input", 3, 4), Concat(name="c", inputs=("a", "b")),
        LeakyRelu(name="f", inputs=("c",), slope=0.1), build.conv("out", "f", 8, 3),
    )  # fmt: skip
    chosen = choose_ranges(graph, calibrate(graph, noise), RangeRule())
    assert with_exact_slopes(graph, chosen) == chosen
