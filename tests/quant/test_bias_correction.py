"""Bias correction restores channel means, and only biases change."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgesr.graph import Graph
from edgesr.ops import Activation, Conv2d, TensorSpec
from edgesr.quant.bias_correction import correct_bias
from edgesr.quant.calibration import calibrate, to_tensor
from edgesr.quant.ranges import RangeRule, choose_ranges
from edgesr.quant.sequential import refine
from edgesr.quant.weights import quantize_weights
from edgesr.quantized import QuantizedGraph, QuantizedWeight


def two_convs(seed: int = 0) -> Graph:
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(8, 3, 3, 3, generator=generator, dtype=torch.float64)
    second = torch.randn(3, 8, 3, 3, generator=generator, dtype=torch.float64) / 80
    return Graph(
        "two",
        TensorSpec("input", 3),
        (
            Conv2d(name="a", inputs=("input",), weight=first, padding=(1, 1), activation=Activation.RELU),
            Conv2d(name="b", inputs=("a",), weight=second, bias=torch.full((3,), 0.5).double(), padding=(1, 1)),
        ),
        "b",
    )


def coarse(network: QuantizedGraph, levels: int) -> QuantizedGraph:
    """The same network with weights rounded to few levels, so that means really shift."""
    weights = {}
    for name, w in network.weights.items():
        step = 127 // levels
        values = (w.values.double() / step).round() * step
        weights[name] = QuantizedWeight(values.to(torch.int8), w.scales, w.bias)
    return QuantizedGraph(network.graph, network.activations, weights)


@pytest.fixture
def images() -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    smooth = generator.integers(40, 200, (4, 6, 8, 3))
    return [image.repeat(4, 0).repeat(4, 1).astype(np.uint8) for image in smooth]


@pytest.fixture
def network(images: list[np.ndarray]) -> QuantizedGraph:
    graph = two_convs()
    activations = choose_ranges(graph, calibrate(graph, images), RangeRule())
    return coarse(QuantizedGraph(graph, activations, quantize_weights(graph, activations)), 6)


def mean_error(network: QuantizedGraph, images: list[np.ndarray]) -> float:
    """Largest channel mean of the output's error over all images."""
    errors = [network.execute(to_tensor(x).double()) - network.graph.execute(to_tensor(x).double()) for x in images]
    return torch.stack([error.mean((0, 2, 3)) for error in errors]).mean(0).abs().max().item()


def test_channel_means_come_back(network: QuantizedGraph, images: list[np.ndarray]) -> None:
    before, after = mean_error(network, images), mean_error(refine(network, images, [correct_bias]), images)
    assert before > 5e-3, "the coarse weights must shift means, or this test proves nothing"
    assert after < before / 5


def test_only_biases_change(network: QuantizedGraph, images: list[np.ndarray]) -> None:
    corrected = refine(network, images, [correct_bias])
    assert corrected.activations == network.activations
    for name, weight in corrected.weights.items():
        assert torch.equal(weight.values, network.weights[name].values)
        assert torch.equal(weight.scales, network.weights[name].scales)
        assert weight.bias.dtype == torch.int32
    assert any(not torch.equal(w.bias, network.weights[n].bias) for n, w in corrected.weights.items())


def test_an_exact_network_is_left_nearly_alone(images: list[np.ndarray]) -> None:
    graph = two_convs(1)
    activations = choose_ranges(graph, calibrate(graph, images), RangeRule())
    network = QuantizedGraph(graph, activations, quantize_weights(graph, activations))
    before, after = mean_error(network, images), mean_error(refine(network, images, [correct_bias]), images)
    assert after <= before + 1e-4


def test_the_same_images_give_the_same_biases(network: QuantizedGraph, images: list[np.ndarray]) -> None:
    first, second = refine(network, images, [correct_bias]), refine(network, images, [correct_bias])
    assert all(torch.equal(first.weights[n].bias, second.weights[n].bias) for n in first.weights)
