"""A recipe as a whole: repeatable, better than none, and each stage where it says."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgesr.errors import CalibrationError, ExportError
from edgesr.export.folds.fold import Exactness
from edgesr.graph import Graph
from edgesr.graph_file import serialize_graph
from edgesr.images import list_images, load_rgb
from edgesr.ops import Activation, Clip, Concat, Sigmoid
from edgesr.quant.calibration import calibrate
from edgesr.quant.equalization import equalize
from edgesr.quant.images import centre
from edgesr.quant.quantize import quantize
from edgesr.quant.ranges import RangeMethod, RangeRule, choose_ranges
from edgesr.quant.recipe import IMAGE_ROUNDING_DB, RECIPES, Recipe
from edgesr.quant.weights import quantize_weights
from edgesr.quantized import IMAGE_GRID, QuantizedGraph
from edgesr.threads import torch_threads

Images = tuple[np.ndarray, ...]
MIN_MAX = RangeRule(RangeMethod.MIN_MAX)
PLAIN = Recipe("plain", MIN_MAX, equalization=0, sensitive_below_db=0, gptq=False, bias_correction=False)


def batch(images: Images) -> torch.Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).double() / 255


def psnr_db(network: QuantizedGraph, graph: Graph, images: Images) -> float:
    """PSNR of the output image to that of the float graph."""
    x = batch(images)
    with torch.no_grad():
        found, expected = network.execute(x), graph.execute(x).clamp(0, 1)
    return -10 * torch.log10((found - expected).square().mean()).item()


def test_the_same_images_give_the_same_bytes(small_spanv2: Graph, photographs: Images) -> None:
    first, second = (serialize_graph(quantize(small_spanv2, photographs, RECIPES[0]).network) for _ in range(2))
    assert first == second
    other = serialize_graph(quantize(small_spanv2, photographs[:8], RECIPES[0]).network)
    assert other != first, "other images must show, or this test proves nothing"


def test_the_number_of_threads_changes_no_byte(small_spanv2: Graph, photographs: Images) -> None:
    found = []
    for threads in (1, 3):
        with torch_threads(threads):
            found.append(serialize_graph(quantize(small_spanv2, photographs, RECIPES[0]).network))
    assert found[0] == found[1]


def test_quantizing_changes_neither_graph_nor_images(small_spanv2: Graph, photographs: Images) -> None:
    graph, images = serialize_graph(small_spanv2), [image.copy() for image in photographs]
    quantize(small_spanv2, photographs, RECIPES[0])
    assert serialize_graph(small_spanv2) == graph
    assert all(np.array_equal(a, b) for a, b in zip(images, photographs, strict=True))


def test_the_default_beats_min_max_alone(small_spanv2: Graph, photographs: Images) -> None:
    calibrating, held_out = photographs[:8], photographs[8:]
    plain = psnr_db(quantize(small_spanv2, calibrating, PLAIN).network, small_spanv2, held_out)
    default = psnr_db(quantize(small_spanv2, calibrating, RECIPES[0]).network, small_spanv2, held_out)
    print(f"small SPANV2, held-out photographs: min-max {plain:.2f} dB, default {default:.2f} dB")
    assert default > plain + 1


def test_on_the_official_network_the_default_beats_min_max_alone(
    official_spanv2: Graph, photographs: Images, shared: Path
) -> None:
    held_out = tuple(centre(load_rgb(path), 1, 48) for path in list_images(shared / "images" / "set5" / "LR"))
    plain, default = (
        psnr_db(quantize(official_spanv2, photographs, recipe).network, official_spanv2, held_out)
        for recipe in (PLAIN, RECIPES[0])
    )
    print(f"official SPANV2, crops of Set5: min-max {plain:.2f} dB, default {default:.2f} dB")
    assert default > plain + 1


def test_stages_are_what_the_recipe_says(small_spanv2: Graph, photographs: Images) -> None:
    recipe = replace(PLAIN, name="by hand", ranges=RangeRule(tail=1e-3), equalization=0.7)
    made = quantize(small_spanv2, photographs, recipe)
    graph, calibration = equalize(small_spanv2, calibrate(small_spanv2, photographs), 0.7)
    activations = choose_ranges(graph, calibration, RangeRule(tail=1e-3))
    by_hand = QuantizedGraph(graph, activations, quantize_weights(graph, activations))
    assert serialize_graph(made.network) == serialize_graph(by_hand)
    assert (made.recipe, made.folds, made.calibration_images) == (recipe, (), len(photographs))


def test_sensitive_tensors_are_folded_away_and_recorded(small_spanv2: Graph, photographs: Images) -> None:
    made = quantize(small_spanv2, photographs, replace(PLAIN, sensitive_below_db=1e9, max_mac_growth=9))
    assert [(record.fold, record.changed) for record in made.folds] == [
        ("compose-convs", ("pointwise_conv",)), ("gate-form", ("block_2.guidance_map_conv",))
    ]  # fmt: skip
    assert made.network.graph.producer("depthwise_conv") is None
    assert set(made.network.activations) == set(made.network.graph.specs)


def test_by_default_a_tensor_is_sensitive_when_it_costs_more_than_the_rounding_of_the_image() -> None:
    generator = np.random.default_rng(0)
    image = generator.random(1_000_000)
    rounding = np.rint(image * 255) / 255 - image
    assert pytest.approx(-10 * np.log10(np.mean(rounding**2)), abs=0.02) == IMAGE_ROUNDING_DB
    assert RECIPES[0].sensitive_below_db == IMAGE_ROUNDING_DB


def test_refinement_sees_some_of_the_images_cut_to_their_middle(
    small_spanv2: Graph, photographs: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[list[tuple[int, ...]], int]] = []

    def listening(network: QuantizedGraph, images: Images, stages: list[object], progress: object) -> QuantizedGraph:
        seen.append(([image.shape for image in images], len(stages)))
        return network

    monkeypatch.setattr("edgesr.quant.quantize.refine", listening)
    large = [np.repeat(np.repeat(image, 3, 0), 3, 1) for image in photographs]
    for count in (1, 5, 12, 100):
        quantize(small_spanv2, large, replace(PLAIN, gptq=True, refining_images=count))
    shapes = [(80, 80, 3)]
    # as many as asked for, and no more than there are
    assert seen == [(shapes * count, 1) for count in (1, 5, 12, 12)]


def faint(build: Any, spread: list[float]) -> Graph:
    """Features of the given relative ranges that all matter alike, and an output well within the image's grid."""
    count = len(spread)
    features = build.conv("a", "input", 3, count, kernel=1, activation=Activation.RELU)
    out = build.conv("out", "a", count, 3, kernel=1)
    out.bias[:] = 0.5
    for row, factor in enumerate(spread):
        features.weight[row] = features.weight[row].abs() * factor
        features.bias[row] = 0
        out.weight[:, row] *= 0.1 / factor
    return build.graph(features, out)


def scores(graph: Graph, images: Images, *recipes: Recipe) -> list[float]:
    output = graph.execute(batch(images))
    assert output.min() > 0 and output.max() < 1, "the clip of the output must not hide anything"
    return [psnr_db(quantize(graph, images, recipe).network, graph, images) for recipe in recipes]


def test_percentiles_pay_where_one_value_is_far_out(build: Any, photographs: Images) -> None:
    """One pixel in a thousand is answered with a value far beyond all others, which need the steps more."""
    graph = faint(build, [1.0] * 6)
    weight, bias = graph.parameters()["a", "weight"], graph.parameters()["a", "bias"]
    weight[0] = 1000.0
    bright = batch(photographs).sum(1).flatten()
    bias[0] = -1000 * bright.quantile(0.999)
    graph.parameters()["out", "weight"][:, 0] = 1e-6
    reach = graph.trace(batch(photographs))["a"].amax((0, 2, 3))
    assert reach[0] > 20 * reach[1:].max(), "the outlier must be far out, or this test proves nothing"
    min_max, percentile = scores(graph, photographs, PLAIN, replace(PLAIN, ranges=RangeRule(tail=2e-4)))
    assert percentile > min_max + 6


def test_equalization_pays_where_channels_differ(build: Any, photographs: Images) -> None:
    graph = faint(build, [2.0**row for row in range(8)])
    none, half, whole = scores(graph, photographs, *(replace(PLAIN, equalization=alpha) for alpha in (0.0, 0.5, 1.0)))
    assert whole > half + 3 and half > none + 3


def test_the_clip_of_the_output_is_left_to_saturation(build: Any, photographs: Images) -> None:
    """A Clip has no INT8 form; on the grid of the image it is the saturation of the integers."""
    graph = build.graph(build.conv("a", "input", 3, 3), Clip(name="out", inputs=("a",), low=0, high=1))
    graph.parameters()["a", "weight"].mul_(3)
    made = quantize(graph, photographs, RECIPES[0])
    assert [type(op).__name__ for op in made.network.graph] == ["Conv2d"]
    assert made.network.output is IMAGE_GRID
    record = made.folds[0]
    assert (record.fold, record.exactness) == ("elide-output-clip", Exactness.ON_IMAGE_GRID.value)
    unclipped = graph.without("out").execute(batch(photographs))
    assert unclipped.min() < -0.1 and unclipped.max() > 1.1, "the clip must matter, or this test proves nothing"
    assert psnr_db(made.network, graph, photographs) > 35


def test_input_and_output_are_images(small_spanv2: Graph, photographs: Images) -> None:
    network = quantize(small_spanv2, photographs, RECIPES[0]).network
    assert network.input is IMAGE_GRID and network.output is IMAGE_GRID


def test_the_recipe_must_make_sense() -> None:
    for alpha in (1.5, -0.1, float("nan")):
        with pytest.raises(ValueError, match=rf"recipe 'wild': equalization {alpha} lies outside 0\.\.1"):
            Recipe("wild", equalization=alpha)
    with pytest.raises(ValueError, match="refining_images 0 is not positive"):
        Recipe("wild", refining_images=0)
    assert len({recipe.name for recipe in RECIPES}) == len(RECIPES)


def test_what_cannot_be_quantized_is_refused_in_one_line(build: Any, photographs: Images) -> None:
    black = (np.zeros((64, 64, 3), np.uint8),)
    silent = build.graph(build.conv("a", "input", 3, 4, bias=False), build.conv("out", "a", 4, 3))
    clipped = build.graph(
        build.conv("f", "input", 3, 4), Concat(name="j", inputs=("f", "input")), build.conv("out", "j", 7, 3)
    )
    end = build.graph(build.conv("a", "input", 3, 3), Sigmoid(name="out", inputs=("a",)))
    with pytest.raises(CalibrationError, match=r"\A[^\n]+\Z"):
        quantize(silent, black, RECIPES[0])
    for graph in (clipped, end):
        with pytest.raises(ExportError, match=r"\A[^\n]+\Z"):
            quantize(graph, photographs, RECIPES[0])


def test_progress_names_every_stage(small_spanv2: Graph, photographs: Images) -> None:
    stages: dict[str, list[tuple[int, int]]] = {}
    quantize(
        small_spanv2, photographs[:3], RECIPES[0],
        lambda stage, done, total: stages.setdefault(stage, []).append((done, total)),
    )  # fmt: skip
    assert list(stages) == ["calibrating", "measuring sensitivity", "refining weights"]
    for steps in stages.values():
        assert steps == [(done, steps[-1][1]) for done in range(len(steps))] and steps[-1][0] == steps[-1][1]
