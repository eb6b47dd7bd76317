"""The score that results are chosen by: PSNR of integer arithmetic to the clipped float output, image by image."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from edgesr.graph import Graph
from edgesr.quant.calibration import to_tensor
from edgesr.quant.quantize import quantize
from edgesr.quant.recipe import RECIPES
from edgesr.quant.selection import BEST_DB, Selection
from edgesr.quantized import QuantizedGraph

Images = tuple[np.ndarray, ...]
FAST = RECIPES[0]


@pytest.fixture
def graph(build: Any) -> Graph:
    """Two convolutions whose output leaves the image's range at both ends."""
    made: Graph = build.graph(build.conv("a", "input", 3, 6), build.conv("out", "a", 6, 3))
    made.parameters()["out", "bias"].fill_(0.5)
    return made


@pytest.fixture
def network(graph: Graph, photographs: Images) -> QuantizedGraph:
    return quantize(graph, photographs, FAST).network


def test_the_score_is_the_mean_psnr_over_the_images(graph: Graph, network: QuantizedGraph, photographs: Images) -> None:
    images = (photographs[0], photographs[1][:20], photographs[2][:, :11])
    expected = []
    for image in images:
        with torch.no_grad():
            error = network.execute(to_tensor(image)).clamp(0, 1) - graph.execute(to_tensor(image)).clamp(0, 1)
        expected.append(-10 * np.log10(error.square().mean().item()))
    assert max(expected) - min(expected) > 0.1, "images must differ, or the mean of the errors would do as well"
    assert Selection(graph, images).score_db(network) == pytest.approx(np.mean(expected), abs=1e-3)


def test_what_is_clipped_away_does_not_count(graph: Graph, network: QuantizedGraph, photographs: Images) -> None:
    """The float output beyond the image's range cannot be met, and nobody sees it."""
    x = to_tensor(photographs[0])
    assert graph.execute(x).min() < -0.1, "the clip must matter, or this test proves nothing"
    assert Selection(graph, photographs[:1]).score_db(network) > 35


def test_coarser_steps_score_less(
    graph: Graph, network: QuantizedGraph, photographs: Images, with_range: Callable[..., QuantizedGraph]
) -> None:
    selection = Selection(graph, photographs[:3])
    assert selection.score_db(with_range(network, {"a"}, 4.0)) < selection.score_db(network) - 6


def test_an_image_met_exactly_does_not_decide_alone(
    build: Any, photographs: Images, with_range: Callable[..., QuantizedGraph]
) -> None:
    """Black in, black out: no error at all is worth no more than what nobody could see."""
    graph = build.graph(build.conv("a", "input", 3, 6, bias=False), build.conv("out", "a", 6, 3, bias=False))
    network = quantize(graph, photographs, replace(FAST, bias_correction=False, gptq=False)).network
    black = np.zeros((16, 16, 3), np.uint8)
    assert Selection(graph, [black]).score_db(network) == BEST_DB
    plain, both = (Selection(graph, images).score_db(network) for images in (photographs[:1], [photographs[0], black]))
    assert both == pytest.approx((plain + BEST_DB) / 2, abs=1e-4)


def test_a_network_of_no_numbers_scores_less_than_any(
    graph: Graph, network: QuantizedGraph, photographs: Images
) -> None:
    weights = dict(network.weights)
    weights["out"] = replace(weights["out"], scales=weights["out"].scales * float("nan"))
    assert Selection(graph, photographs[:2]).score_db(replace(network, weights=weights)) == -float("inf")


def test_progress_is_told_image_by_image(graph: Graph, network: QuantizedGraph, photographs: Images) -> None:
    reported: list[tuple[str, int, int]] = []
    Selection(graph, photographs[:3]).score_db(network, lambda *args: reported.append(args))
    assert reported == [("comparing quantizations", done, 3) for done in range(4)]
