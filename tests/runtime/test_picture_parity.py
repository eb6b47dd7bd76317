"""Does the parity report show what a user would see of an error? Errors are seeded into networks and files."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from edgesr.runtime.parity import ParityReport
from edgesr.runtime.picture_error import PictureError

INT8_FILES = ["tflite-int8", "onnx-int8"]
HEAD, ROWS = "pointwise_conv", 12
LEVELS = 4


@pytest.fixture(scope="module")
def pictures(images: list[np.ndarray]) -> Callable[[Any], list[PictureError]]:
    def found(exported: Any) -> list[PictureError]:
        rows = exported.check(images).rows
        shown = [row for row in rows if not row.runner.startswith("graph")]
        assert all((row.picture is not None) == row.case.startswith("natural") for row in shown)
        return [row.picture for row in shown if row.picture is not None]

    return found


@pytest.mark.parametrize("name", ["tflite-fp32", "onnx-fp32"])
def test_float_files_give_the_networks_bytes(name: str, export: Any, pictures: Any) -> None:
    for picture in pictures(export(name)):
        assert picture.worst_shift_levels < 1e-3 and picture.clipped_share == 0
        assert min(picture.interior_psnr_db, picture.border_psnr_db) > 70


@pytest.fixture(scope="module")
def with_shift(small: Any) -> Callable[[np.ndarray], Any]:
    """The network whose integer bias before the shuffle is wrong by so many levels in each of its rows."""

    def make(levels: np.ndarray) -> Any:
        network = small.quantized
        op, weight = network.graph.producer(HEAD), network.weights[HEAD]
        graph = network.graph.rewritten({HEAD: [dataclasses.replace(op, bias=torch.zeros(len(levels)).double())]})
        steps = torch.from_numpy(levels / 255) / (weight.scales * network.activations[op.inputs[0]].scale)
        wrong = dataclasses.replace(weight, bias=(weight.bias + steps.round()).int())
        weights = {**network.weights, HEAD: wrong}
        return dataclasses.replace(small, quantized=dataclasses.replace(network, graph=graph, weights=weights))

    return make


@pytest.mark.parametrize("channel", range(3))
@pytest.mark.parametrize("name", INT8_FILES)
def test_a_shifted_bias_shows_in_its_channel(
    name: str, channel: int, export: Any, pictures: Any, with_shift: Callable[[np.ndarray], Any]
) -> None:
    """Seeded: the bias of one colour's rows, before the shuffle, is some levels too large."""
    levels = np.where(np.arange(ROWS) % 3 == channel, LEVELS, 0)
    sound, shifted = pictures(export(name)), pictures(export(name, network=with_shift(levels)))
    for before, after in zip(sound, shifted, strict=True):
        difference = np.subtract(after.shift_levels, before.shift_levels)
        assert difference == pytest.approx(np.where(np.arange(3) == channel, LEVELS, 0), abs=0.5)
        assert abs(after.shift_levels[channel]) == after.worst_shift_levels


@pytest.mark.parametrize("name", INT8_FILES)
@pytest.mark.parametrize(("sign", "share"), [(1, "white_share"), (-1, "black_share")])
def test_a_saturating_output_is_wrongly_clipped(
    name: str, sign: int, share: str, export: Any, pictures: Any, with_shift: Callable[[np.ndarray], Any]
) -> None:
    """Seeded: everything is a hundred levels too bright, so that light greys become white; or too dark."""
    for picture in pictures(export(name, network=with_shift(np.full(ROWS, sign * 100)))):
        assert getattr(picture, share) == picture.clipped_share > 0.01
    assert max(getattr(picture, share) for picture in pictures(export(name))) < 0.01


@pytest.mark.parametrize("name", INT8_FILES)
def test_a_range_that_cuts_off_the_whites_darkens(name: str, export: Any, small: Any, with_range: Any) -> None:
    """Seeded: the tensors that carry the picture to the head keep two thirds of their range."""
    carriers, white = {"conv_near", "block_2.mul", "cat"}, [np.full((40, 48, 3), 250, np.uint8)]
    network = dataclasses.replace(small, quantized=with_range(small.quantized, carriers, 2 / 3))
    sound, dark = (exported.check(white) for exported in (export(name), export(name, network=network)))
    before, after = (
        max(max(row.picture.shift_levels) for row in report.rows if row.picture and row.runner[:5] != "graph")
        for report in (sound, dark)
    )
    assert abs(before) < 1 and after < -5, "every channel darkens"
    clipped, narrowed = (
        {row.operator for row in report.operators if row.span and row.span.unwanted_clipped_share > 0.1}
        for report in (sound, dark)
    )
    assert narrowed - clipped == {"conv_near", "cat"}


def test_summaries_hold_the_worst(export: Any, images: list[np.ndarray]) -> None:
    exported = export("onnx-int8")
    report: ParityReport = exported.check(images, thorough=True)
    worst: Any = report.summary()["worst"]
    found = [row.picture for row in report.rows if row.runner == "onnxruntime" and row.picture is not None]
    assert len(found) == 3
    shift = max(picture.worst_shift_levels for picture in found)
    assert worst["onnxruntime"]["colour_shift_levels"] == shift > 0
    assert worst["onnxruntime"]["wrongly_clipped_share"] == max(picture.clipped_share for picture in found)
    noise = ParityReport(tuple(row for row in report.rows if row.picture is None), ())
    assert noise.summary()["worst"]["onnxruntime"]["colour_shift_levels"] is None  # type: ignore[index]  # a mapping
