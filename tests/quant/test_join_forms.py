"""Joins go apart where their common grid does harm, and only there; the figures decide."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from edgesr.graph import Graph
from edgesr.ops import Activation, Concat, Mul, Relu, Sigmoid
from edgesr.quant.calibration import TensorStatistics, calibrate
from edgesr.quant.join_forms import split_joins
from edgesr.quant.quality_folds import FormRule, choose_forms
from edgesr.quant.ranges import RangeRule

Images = tuple[np.ndarray, ...]
Assert = Callable[[Graph, Graph], None]


def joined(build: Any, spread: float) -> Graph:
    """Two activated tensors of ranges 1 : spread, which a 1x1 convolution weighs alike."""
    b = build
    graph: Graph = b.graph(
        b.conv("a", "input", 3, 4, activation=Activation.RELU), b.conv("f", "input", 3, 4, activation=Activation.RELU),
        Concat(name="cat", inputs=("a", "f")), b.conv("mix", "cat", 8, 4, kernel=1), b.conv("out", "mix", 4, 3),
    )  # fmt: skip
    parameters = graph.parameters()
    for field in ("weight", "bias"):
        parameters["f", field].mul_(spread)
    parameters["mix", "weight"][:, 4:] /= spread
    return graph


@pytest.mark.parametrize(("spread", "taken"), [(1.0, False), (6.0, False), (30.0, True)])
def test_a_join_goes_apart_where_one_part_drowns(
    spread: float, taken: bool, build: Any, noise: Images, assert_same: Assert
) -> None:
    graph = joined(build, spread)
    splits = split_joins(graph, noise, calibrate(graph, noise), RangeRule())
    (choice,) = splits.choices
    assert (choice.tensor, choice.taken, choice.added_macs_per_input_pixel) == ("cat", taken, 0)
    assert ("mix.of.a" in splits.graph.specs) == taken
    assert [record.fold for record in splits.folds] == ["split-concat"] * taken
    assert_same(graph, splits.graph)


def test_without_a_join_nothing_is_measured(build: Any, noise: Images) -> None:
    graph = build.graph(build.conv("a", "input", 3, 4), Relu(name="r", inputs=("a",)), build.conv("out", "r", 4, 3))
    splits = split_joins(graph, noise, {}, RangeRule())
    assert (splits.graph, splits.folds, splits.choices) == (graph, (), ())


def silu(build: Any) -> Graph:
    b = build
    graph: Graph = b.graph(
        b.conv("x", "input", 3, 4), Sigmoid(name="s", inputs=("x",)), Mul(name="p", inputs=("x", "s")),
        b.conv("out", "p", 4, 3),
    )  # fmt: skip
    return graph


def test_a_sensitive_silu_gets_an_argument_of_its_own(build: Any, noise: Images, assert_same: Assert) -> None:
    graph = silu(build)
    calibration = calibrate(graph, noise)
    never, always = (choose_forms(graph, noise, calibration, FormRule(RangeRule(), db)) for db in (0.0, 200.0))
    assert never.graph is graph
    assert [choice.tensor for choice in always.choices] == ["x"]
    assert always.graph.producer("s.argument") is not None
    assert_same(graph, always.graph)


def test_what_a_silu_frees_counts_with_it(build: Any, noise: Images) -> None:
    graph = silu(build)
    calibration = calibrate(graph, noise)
    (choice,) = choose_forms(graph, noise, calibration, FormRule(RangeRule(), 0.0)).choices
    product = calibration["p"]
    worse = calibration | {"p": product.scaled(product.highest * 0 + 100)}
    (harmed,) = choose_forms(graph, noise, worse, FormRule(RangeRule(), 0.0)).choices
    assert harmed.alone_db < choice.alone_db - 10


@pytest.mark.parametrize(("low", "high", "split"), [(-1, 1, True), (-1, 2.9, True), (-1, 3.1, False), (-9, 0, False)])
def test_a_product_is_split_where_both_signs_take_their_share(
    low: float, high: float, split: bool, build: Any, noise: Images
) -> None:
    b = build
    product = Mul(name="p", inputs=("a", "g"))
    graph: Graph = b.graph(b.conv("a", "input", 3, 4), b.conv("g", "input", 3, 4), product, b.conv("out", "p", 4, 3))
    samples = torch.linspace(low, high, 4000).reshape(4, 1000)
    calibration = {**calibrate(graph, noise), "p": TensorStatistics(samples, samples.amin(1), samples.amax(1))}
    chosen = choose_forms(graph, noise, calibration, FormRule(RangeRule(), 200.0, split=True))
    assert ("p.negative" in chosen.graph.specs) == split
