"""The scores that results are chosen by: PSNR to the float output, or to the truth beside the float network's."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from edgesr.graph import Graph
from edgesr.quant.calibration import to_tensor
from edgesr.quant.photographs import LabelledImage
from edgesr.quant.quantize import quantize
from edgesr.quant.recipe import RECIPES
from edgesr.quant.selection import BEST_DB, HARD_WEIGHT, Closeness, Faithfulness
from edgesr.quantized import QuantizedGraph
from edgesr.runtime.metrics import psnr_db

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
    assert Closeness(graph, images).score_db(network) == pytest.approx(np.mean(expected), abs=1e-3)


def test_what_is_clipped_away_does_not_count(graph: Graph, network: QuantizedGraph, photographs: Images) -> None:
    """The float output beyond the image's range cannot be met, and nobody sees it."""
    x = to_tensor(photographs[0])
    assert graph.execute(x).min() < -0.1, "the clip must matter, or this test proves nothing"
    assert Closeness(graph, photographs[:1]).score_db(network) > 35


def test_coarser_steps_score_less(
    graph: Graph, network: QuantizedGraph, photographs: Images, with_range: Callable[..., QuantizedGraph]
) -> None:
    closeness = Closeness(graph, photographs[:3])
    assert closeness.score_db(with_range(network, {"a"}, 4.0)) < closeness.score_db(network) - 6


def test_an_image_met_exactly_does_not_decide_alone(
    build: Any, photographs: Images, with_range: Callable[..., QuantizedGraph]
) -> None:
    """Black in, black out: no error at all is worth no more than what nobody could see."""
    graph = build.graph(build.conv("a", "input", 3, 6, bias=False), build.conv("out", "a", 6, 3, bias=False))
    network = quantize(graph, photographs, replace(FAST, bias_correction=False, gptq=False)).network
    black = np.zeros((16, 16, 3), np.uint8)
    assert Closeness(graph, [black]).score_db(network) == BEST_DB
    plain, both = (Closeness(graph, images).score_db(network) for images in (photographs[:1], [photographs[0], black]))
    assert both == pytest.approx((plain + BEST_DB) / 2, abs=1e-4)


def test_a_network_of_no_numbers_scores_less_than_any(
    graph: Graph, network: QuantizedGraph, photographs: Images
) -> None:
    weights = dict(network.weights)
    weights["out"] = replace(weights["out"], scales=weights["out"].scales * float("nan"))
    assert Closeness(graph, photographs[:2]).score_db(replace(network, weights=weights)) == -float("inf")


def test_progress_is_told_image_by_image(graph: Graph, network: QuantizedGraph, photographs: Images) -> None:
    reported: list[tuple[str, int, int]] = []
    Closeness(graph, photographs[:3]).score_db(network, lambda *args: reported.append(args))
    assert reported == [("comparing quantizations", done, 3) for done in range(4)]


def pairs_of(graph: Graph, images: Images) -> list[LabelledImage]:
    """A truth that the float network comes near, and INT8 less near."""
    noise = np.random.default_rng(0)
    truths = [(to_image(graph.execute(to_tensor(x))) + noise.integers(-2, 3, x.shape)).clip(0, 255) for x in images]
    return [LabelledImage(x, truth.astype(np.uint8)) for x, truth in zip(images, truths, strict=True)]


def to_image(y: torch.Tensor) -> np.ndarray:
    return (y.detach()[0].clamp(0, 1) * 255).round().permute(1, 2, 0).numpy().astype(int)


def psnr(execute: Callable[[torch.Tensor], torch.Tensor], pairs: list[LabelledImage]) -> float:
    """All pairs as one picture, by the metrics that `verify quality` uses."""
    pictures = [np.hstack(x) for x in zip(*((to_image(execute(to_tensor(p.lr))), p.hr) for p in pairs), strict=True)]
    return psnr_db(pictures[0].astype(np.uint8)[1:-1], pictures[1][1:-1], 0)


def test_faithfulness_is_the_drop_with_its_sign_changed(
    graph: Graph, network: QuantizedGraph, photographs: Images
) -> None:
    pairs = pairs_of(graph, photographs[:5])
    score = Faithfulness(graph, pairs[:3], pairs[3:]).score_db(network)
    drops = [psnr(graph.execute, chosen) - psnr(network.execute, chosen) for chosen in ([p] for p in pairs[:3])]
    hard = psnr(graph.execute, pairs[3:]) - psnr(network.execute, pairs[3:])
    assert min(*drops, hard) > 0.01
    # the metrics leave out the sides too
    assert -score == pytest.approx((1 - HARD_WEIGHT) * np.mean(drops) + HARD_WEIGHT * hard, rel=0.15)


def test_faithfulness_prefers_what_is_nearer_to_the_truth_than_the_float_network(
    graph: Graph, network: QuantizedGraph, photographs: Images
) -> None:
    """A network that answers with the truth scores above nothing lost; closeness would prefer the float network."""
    answered = [LabelledImage(x, to_image(network.execute(to_tensor(x))).astype(np.uint8)) for x in photographs[:4]]
    assert Faithfulness(graph, answered[:2], answered[2:]).score_db(network) > 10


def test_faithfulness_of_no_numbers_is_less_than_any(
    graph: Graph, network: QuantizedGraph, photographs: Images
) -> None:
    weights = dict(network.weights)
    weights["out"] = replace(weights["out"], scales=weights["out"].scales * float("nan"))
    pairs = pairs_of(graph, photographs[:3])
    assert Faithfulness(graph, pairs[:2], pairs[2:]).score_db(replace(network, weights=weights)) == -float("inf")
