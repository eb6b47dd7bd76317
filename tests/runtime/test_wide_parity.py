"""16-bit activations in real files: do they pass operator by operator, and are seeded errors blamed where they are?"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgesr.artifact import IOContract
from edgesr.errors import ExportError
from edgesr.export.onnx import emit_onnx
from edgesr.export.tflite import emit_tflite
from edgesr.ops import Requantize
from edgesr.quant.calibration import calibrate
from edgesr.quant.widths import widen, widenable
from edgesr.quantized import QuantizedGraph, as_stored
from edgesr.runtime.cases import ParityCase
from edgesr.runtime.operator_parity import OperatorRow, compare_operators
from edgesr.runtime.runners import open_runner
from edgesr.sixteen_bits import FORMAT_REFUSALS
from edgesr.target import Format, IODtype, Precision, Target, find_target

FILES = ("tflite-a16w8", "onnx-a16w8")
RUNNERS = [("tflite-a16w8", "litert-xnnpack"), ("tflite-a16w8", "litert-reference"), ("onnx-a16w8", "onnxruntime")]
SIZE = (37, 53)
GATE, FIRST = "block_2.guidance_map_conv", "block_1.c2.conv"
Compare = Callable[..., list[OperatorRow]]


def target_of(name: str) -> Target:
    target = find_target(name)
    assert target is not None
    return target


@pytest.fixture(scope="module")
def wide(small: Any, images: list[np.ndarray]) -> QuantizedGraph:
    """The small network with 16 bits wherever LiteRT has kernels, and biases that can be wrong."""
    narrow: QuantizedGraph = small.quantized
    weight = narrow.weights[FIRST]
    bias = torch.arange(len(weight.bias), dtype=torch.int32) * 40 + weight.bias
    narrow = replace(narrow, weights={**narrow.weights, FIRST: replace(weight, bias=bias)})
    refusals = FORMAT_REFUSALS[Format.TFLITE]
    return widen(narrow, widenable(narrow.graph, refusals).groups, calibrate(narrow.graph, images), refusals)


@pytest.fixture(scope="module")
def compare(wide: QuantizedGraph, images: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Compare:
    """The file of one network against another, the true one by default."""
    folder = tmp_path_factory.mktemp("wide")
    case = ParityCase("natural odd", images[0][None, : SIZE[0], : SIZE[1]] / 255)

    def rows(name: str, runner: str, written: QuantizedGraph, judged: QuantizedGraph = wide) -> list[OperatorRow]:
        target = target_of(name)
        path: Path = folder / f"net.{target.format.value}"
        io, layout = target.default_io, target.default_layout
        if target.format is Format.TFLITE:
            path.write_bytes(emit_tflite(written, target.precision, io, (SIZE,), {}))
        else:
            path.write_bytes(emit_onnx(written, target.precision, io, layout, None, {}))
        contract = IOContract(io, layout, 3, 2, 1.0, (SIZE,), any_size=True)
        return compare_operators(
            name, target.precision, judged, open_runner(runner, target, path, contract), runner, case
        )

    return rows


def blamed(rows: list[OperatorRow]) -> set[str]:
    return {row.operator for row in rows if not row.passed}


@pytest.mark.parametrize(("name", "runner"), RUNNERS)
def test_honest_files_pass(name: str, runner: str, wide: QuantizedGraph, compare: Compare) -> None:
    rows = compare(name, runner, wide)
    assert not [row.describe() for row in rows if not row.passed]
    assert len(rows) >= len(wide.graph.ops) + 1
    kinds = {row.kind for row in rows}
    assert {"Requantize", "Conv2d", "Add", "Mul", "Concat", "DepthToSpace"} <= kinds


@pytest.mark.parametrize(("name", "runner"), RUNNERS)
@pytest.mark.parametrize("factor", [1.02, 0.98, 1.001])
def test_a_wrong_16_bit_scale_is_caught(
    name: str, runner: str, factor: float, wide: QuantizedGraph, compare: Compare
) -> None:
    """2 %, and a thousandth, which in 8 bits nobody could see."""
    params = wide.activations[GATE]
    wrong = replace(params, scale=as_stored(params.scale * factor))
    found = blamed(compare(name, runner, replace(wide, activations={**wide.activations, GATE: wrong})))
    assert found and found <= {GATE, *(op.name for op in wide.graph.consumers[GATE])}


@pytest.mark.parametrize(("name", "runner"), RUNNERS)
def test_a_bias_that_was_not_rescaled_is_caught(
    name: str, runner: str, wide: QuantizedGraph, small: Any, compare: Compare
) -> None:
    """The bias still in steps of the 8-bit input: some hundred times too small."""
    source = small.graph.producer(FIRST).inputs[0]
    ratio = small.quantized.activations[source].scale / wide.activations[source].scale
    assert ratio > 30
    weight = wide.weights[FIRST]
    small_bias = replace(weight, bias=(weight.bias / ratio).round().to(torch.int32))
    found = blamed(compare(name, runner, replace(wide, weights={**wide.weights, FIRST: small_bias})))
    assert found == {FIRST}


@pytest.mark.parametrize(("name", "runner"), RUNNERS)
def test_a_requantize_to_the_wrong_grid_is_caught(
    name: str, runner: str, wide: QuantizedGraph, compare: Compare
) -> None:
    params = wide.activations["input.16bit"]
    wrong = replace(params, scale=as_stored(params.scale * 1.02))
    found = blamed(compare(name, runner, replace(wide, activations={**wide.activations, "input.16bit": wrong})))
    readers = {op.name for op in wide.graph.consumers["input.16bit"]}
    assert "input.16bit" in found and found <= {"input.16bit", *readers}


def test_a_missing_requantize_cannot_be_written(wide: QuantizedGraph) -> None:
    """The graph without it is refused as it is made: no file of it can exist."""
    with pytest.raises(ExportError, match=r"DepthToSpace 'pixel_shuffle' mixes widths .* without a Requantize"):
        replace(wide, graph=wide.graph.without("pointwise_conv.8bit"))


def test_a_depth_to_space_in_16_bits_is_refused_with_the_reason(small: Any, wide: QuantizedGraph) -> None:
    *before, _, shuffle = wide.graph.ops
    shuffle, narrow = replace(shuffle, inputs=("pointwise_conv",)), Requantize(name="narrow", inputs=("pixel_shuffle",))
    graph = replace(wide.graph, ops=(*before, shuffle, narrow), output="narrow")
    activations = {**wide.activations, "pixel_shuffle": wide.activations["pointwise_conv"], "narrow": wide.output}
    network = replace(wide, graph=graph, activations=activations)
    with pytest.raises(ExportError, match="DepthToSpace 'pixel_shuffle' has 16-bit activations: LiteRT has no int16"):
        emit_tflite(network, Precision.A16W8, IODtype.INT8, (SIZE,), {})
    assert emit_onnx(network, Precision.A16W8, IODtype.UINT8, target_of("onnx-a16w8").default_layout, None, {})
