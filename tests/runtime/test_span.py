from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgesr.quantized import IMAGE_GRID, QuantizedGraph, QuantParams
from edgesr.runtime.cases import ParityCase
from edgesr.runtime.operator_parity import OperatorRow, compare_operators
from edgesr.runtime.parity import ParityReport
from edgesr.runtime.span import Span, measure_span
from edgesr.runtime.torch_runner import IntegerRunner
from edgesr.target import Precision

C2 = "block_2.c2.conv"
STEP = QuantParams(0.5, 0)


def spans(values: list[float], found: list[float], params: QuantParams = STEP) -> Span:
    return measure_span(np.array(values), np.array(found), params, IMAGE_GRID)


def test_float_tensors_have_a_range_alone() -> None:
    span = measure_span(np.array([-1.0, 3.0]), np.array([-1.0, 3.0]), None, None)
    assert span == Span(-1.0, 3.0, None) and span.unwanted_clipped_share == 0.0


def test_values_more_than_half_a_step_outside_are_clipped() -> None:
    span = spans([-64.3, -64.2, 0.0, 63.7, 63.8], [-128, -128, 0, 127, 127]).integers
    assert span is not None
    assert (span.bits, span.lowest, span.highest) == (8, -64.0, 63.5)
    assert span.clipped_share == span.railed_share == pytest.approx(2 / 5)


def test_what_earlier_errors_bring_back_is_clipped_but_not_railed() -> None:
    span = spans([70.0, 70.0, 70.0, 0.0], [127, 120, -128, -128]).integers
    assert span is not None and (span.clipped_share, span.railed_share) == (0.75, 0.25)


def test_the_bits_are_the_grids() -> None:
    span = spans([-20000.0, 16000.0], [-32768, 32000], QuantParams(0.5, 0, bits=16)).integers
    assert span is not None
    assert (span.bits, span.lowest, span.highest, span.clipped_share) == (16, -16384.0, 16383.5, 0.5)


def test_clipping_on_the_images_grid_is_wanted() -> None:
    span = measure_span(np.array([-0.2, 0.5, 1.3]), np.array([-128, 0, 127]), IMAGE_GRID, IMAGE_GRID)
    assert span.integers is not None and span.integers.clips_image
    assert span.integers.clipped_share == pytest.approx(2 / 3) and span.unwanted_clipped_share == 0.0


@pytest.fixture(scope="module")
def rows(images: list[np.ndarray]) -> Callable[[QuantizedGraph], dict[str, OperatorRow]]:
    case = ParityCase("natural odd 37x53", images[0][None, :37, :53] / 255)

    def compare(network: QuantizedGraph) -> dict[str, OperatorRow]:
        found = compare_operators("f", Precision.INT8, network, IntegerRunner(network), "graph-int8", case)
        return {row.operator: row for row in found}

    return compare


@pytest.mark.parametrize("tensor", [C2, "block_2.add", "block_1.c1.conv"])
def test_a_narrowed_range_is_named_by_its_clipped_share(
    tensor: str, rows: Any, small: Any, with_range: Callable[..., QuantizedGraph]
) -> None:
    """Seeded: a tensor keeps a quarter of its range. Its own error shows it, and nobody else's does."""
    sound, narrowed = rows(small.quantized), rows(with_range(small.quantized, {tensor}, 0.25))
    clipped = {name: row.span.unwanted_clipped_share for name, row in narrowed.items()}
    assert max(clipped, key=lambda name: clipped[name]) == tensor
    assert clipped[tensor] > 10 * max(share for name, share in clipped.items() if name != tensor)
    assert clipped[tensor] > 0.001 > sound[tensor].span.unwanted_clipped_share
    lost = {name: sound[name].own_sqnr_db - row.own_sqnr_db for name, row in narrowed.items()}
    assert lost[tensor] > 10, "whoever inherits the error adds little of its own"
    assert lost[tensor] > 3 * max(x for name, x in lost.items() if name != tensor)
    assert narrowed[tensor].passed, "the file computes what it says: it is the range that is wrong"
    report = ParityReport((), tuple(narrowed.values()))
    assert report.summary()["tensor_clipped_share"] == clipped[tensor]


def test_own_errors_are_apart_from_inherited_ones(rows: Any, small: Any) -> None:
    found = rows(small.quantized)
    for name in ("cat", "pixel_shuffle", "output edge"):
        assert found[name].own_sqnr_db == 200.0 > 60 > found[name].sqnr_db, "values are moved, not rounded"
    for name in ("block_2.c2.conv", "block_2.add", "block_2.mul", "depthwise_conv"):
        assert found[name].own_sqnr_db > found[name].sqnr_db + 4
    for name in ("conv_near", "block_1.c1.conv"):
        assert found[name].own_sqnr_db == pytest.approx(found[name].sqnr_db, abs=0.1), "their input is exact"
