"""The cost of one quantized tensor, against the same measured by numpy and against what rounding is known to cost."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from edgesr.graph import Graph
from edgesr.ops import Relu
from edgesr.quant.calibration import calibrate, to_tensor
from edgesr.quant.ranges import RangeMethod, RangeRule
from edgesr.quant.sensitivity import sensitivities_db
from edgesr.quantized import QuantParams

Images = tuple[np.ndarray, ...]


def ranges(graph: Graph, images: Images, bits: int = 8, wider: float = 1.0) -> dict[str, QuantParams]:
    rule, calibration = RangeRule(RangeMethod.MIN_MAX), calibrate(graph, images)
    bounds = {name: rule.bounds(calibration[name]) for name in graph.specs}
    return {name: QuantParams.from_range(low * wider, high * wider, bits) for name, (low, high) in bounds.items()}


@pytest.fixture
def identity(build: Any) -> Graph:
    """Tensor `a` is the image times 0.73, and the output is `a`."""
    graph: Graph = build.graph(
        build.conv("a", "input", 3, 3, kernel=1, bias=False),
        Relu(name="r", inputs=("a",)),
        build.conv("out", "r", 3, 3, kernel=1, bias=False),
    )
    eye = torch.eye(3, dtype=torch.float64)[:, :, None, None]
    return graph.with_parameters({("a", "weight"): 0.73 * eye, ("out", "weight"): eye})


def test_uniform_rounding_costs_a_twelfth_of_a_squared_step(identity: Graph, noise: Images) -> None:
    step = 0.0191
    found = sensitivities_db(identity, noise, {"a": QuantParams(step, -128)})["a"]
    # 3 x 1504 values: their mean square is known to 1.3 percent, 0.06 dB
    assert found == pytest.approx(-10 * math.log10(step**2 / 12), abs=0.25)


def test_the_score_is_psnr_over_all_images(identity: Graph, noise: Images) -> None:
    step = 0.0191
    errors = [np.rint(image * 0.73 / 255 / step) * step - image * 0.73 / 255 for image in noise]
    expected = -10 * np.log10(np.mean([np.mean(error**2) for error in errors]))
    found = sensitivities_db(identity, noise, {"a": QuantParams(step, -128)})["a"]
    assert found == pytest.approx(float(expected), abs=0.01)  # a value on a half may round either way in float32


@pytest.mark.parametrize("coarser", [{"bits": 6}, {"bits": 4}, {"wider": 4.0}])
def test_coarser_quantization_scores_lower(small_spanv2: Graph, photographs: Images, coarser: dict[str, Any]) -> None:
    images = photographs[:2]
    fine = sensitivities_db(small_spanv2, images, ranges(small_spanv2, images))
    coarse = sensitivities_db(small_spanv2, images, ranges(small_spanv2, images, **coarser))
    assert set(fine) == set(small_spanv2.specs)
    assert all(coarse[name] < fine[name] - 5 for name in fine)


def test_clipping_scores_lower(small_spanv2: Graph, photographs: Images) -> None:
    images = photographs[:2]
    whole = sensitivities_db(small_spanv2, images, ranges(small_spanv2, images))
    half = sensitivities_db(small_spanv2, images, ranges(small_spanv2, images, wider=0.5))
    assert half["block_1.c1.conv"] < whole["block_1.c1.conv"]


def test_each_tensor_is_measured_alone(small_spanv2: Graph, photographs: Images) -> None:
    images = photographs[:2]
    candidates = ranges(small_spanv2, images, bits=5)
    together = sensitivities_db(small_spanv2, images, candidates)
    for name in ("block_1.c2.conv", "block_2.mul"):
        assert sensitivities_db(small_spanv2, images, {name: candidates[name]}) == {name: together[name]}
    assert len({round(score, 6) for score in together.values()}) > len(together) / 2


def test_rounding_that_changes_nothing_has_the_ceiling(identity: Graph) -> None:
    images = [np.zeros((4, 4, 3), np.uint8)]
    assert sensitivities_db(identity, images, {"a": QuantParams(0.5, 0)}) == {"a": pytest.approx(200.0)}


def test_nothing_is_measured_for_no_tensor(identity: Graph, noise: Images) -> None:
    assert sensitivities_db(identity, noise, {}) == {}


def test_the_graph_is_not_changed(small_spanv2: Graph, photographs: Images) -> None:
    x = to_tensor(photographs[0])
    before = small_spanv2.execute(x)
    sensitivities_db(small_spanv2, photographs[:1], ranges(small_spanv2, photographs[:1], bits=3))
    assert torch.equal(small_spanv2.execute(x), before)
