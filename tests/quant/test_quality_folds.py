"""Sensitive tensors are composed away, all of them and no other, and the function stays."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from edgesr.export.folds.compose_convs import ComposeConvs
from edgesr.export.folds.gate_form import GateForm
from edgesr.graph import Graph
from edgesr.ops import Activation, Add, Conv2d, DepthToSpace, Mul
from edgesr.quant import quality_folds
from edgesr.quant.calibration import calibrate
from edgesr.quant.quality_folds import FormChoice, FormRule, choose_forms
from edgesr.quant.ranges import RangeRule

Images = tuple[np.ndarray, ...]
Assert = Callable[[Graph, Graph], None]


def composed(graph: Graph, images: Images, threshold_db: float) -> tuple[Graph, dict[str, tuple[str, ...]]]:
    """The graph and, by fold, what it rewrote."""
    forms = choose_forms(graph, images, calibrate(graph, images), FormRule(RangeRule(), threshold_db))
    return forms.graph, {record.fold: record.changed for record in forms.folds}


def scored(monkeypatch: pytest.MonkeyPatch, scores: dict[str, float]) -> list[set[str]]:
    """Make sensitivities up; returns a list that collects which tensors were asked about."""
    asked: list[set[str]] = []

    def made_up(graph: Graph, images: object, candidates: dict[str, object], progress: object) -> dict[str, float]:
        asked.append(set(candidates))
        return {name: scores[name] for name in candidates}

    monkeypatch.setattr(quality_folds, "sensitivities_db", made_up)
    return asked


@pytest.fixture
def chain(build: Any) -> Graph:
    """Four convolutions in a row: 3x3, 1x1, 1x1, 3x3; no bias meets the padding of the last."""
    return build.graph(
        build.conv("a", "input", 3, 6),
        build.conv("b", "a", 6, 8, kernel=1, bias=False),
        build.conv("c", "b", 8, 5, kernel=1, bias=False),
        build.conv("out", "c", 5, 3),
    )


CHAINS: dict[str, tuple[set[str], list[str]]] = {
    "none": (set(), ["a", "b", "c", "out"]),
    "first": ({"a"}, ["b", "c", "out"]),
    "middle": ({"b"}, ["a", "c", "out"]),
    "last": ({"c"}, ["a", "b", "out"]),
    "first two": ({"a", "b"}, ["c", "out"]),
    "ends": ({"a", "c"}, ["b", "out"]),
    "last two": ({"b", "c"}, ["a", "out"]),
}


@pytest.mark.parametrize("case", CHAINS)
def test_exactly_the_sensitive_tensors_go(
    case: str, chain: Graph, noise: Images, monkeypatch: pytest.MonkeyPatch, assert_same: Assert
) -> None:
    sensitive, left = CHAINS[case]
    asked = scored(monkeypatch, {name: 20.0 if name in sensitive else 60.0 for name in "abc"})
    result, _ = composed(chain, noise, 40.0)
    assert asked == [{"a", "b", "c"}]
    assert [op.name for op in result] == left
    assert_same(chain, result)


def test_where_two_exclude_each_other_the_first_goes(
    chain: Graph, noise: Images, monkeypatch: pytest.MonkeyPatch, assert_same: Assert
) -> None:
    """Composed with `a`, `b` and then `c` are 3x3, and two 3x3 convolutions are not composed."""
    scored(monkeypatch, dict.fromkeys("abc", 0.0))
    result, changed = composed(chain, noise, 40.0)
    assert [op.name for op in result] == ["c", "out"]
    assert changed == {"compose-convs": ("b", "c")}
    assert_same(chain, result)


@pytest.fixture
def gates(build: Any) -> Graph:
    """Two gated blocks whose gates could read past `f` and `h`, the first one's producer pointwise itself."""
    return build.graph(
        build.conv("e", "input", 3, 4),
        build.conv("f", "e", 4, 4, kernel=1),
        Add(name="s", inputs=("e", "f")),
        build.conv("g", "f", 4, 4, kernel=1),
        Mul(name="m", inputs=("s", "g")),
        build.conv("h", "m", 4, 4),
        Add(name="t", inputs=("m", "h")),
        build.conv("k", "h", 4, 4, kernel=1),
        Mul(name="n", inputs=("t", "k")),
        build.conv("out", "n", 4, 3),
    )


@pytest.mark.parametrize(
    ("sensitive", "sources"),
    [
        (set(), {"f": "e", "g": "f", "k": "h"}),
        ({"f"}, {"f": "e", "g": "e", "k": "h"}),  # and not "input": `e` is not sensitive, though `g` could read past it
        ({"h"}, {"f": "e", "g": "f", "k": "m"}),
        ({"f", "h"}, {"f": "e", "g": "e", "k": "m"}),
        ({"e"}, {"f": "e", "g": "f", "k": "h"}),  # read by a convolution that is no gate, and by a sum
    ],
)  # fmt: skip
def test_exactly_the_gates_behind_sensitive_tensors_read_past_them(
    sensitive: set[str],
    sources: dict[str, str],
    gates: Graph,
    noise: Images,
    monkeypatch: pytest.MonkeyPatch,
    assert_same: Assert,
) -> None:
    asked = scored(monkeypatch, {name: 20.0 if name in sensitive else 60.0 for name in gates.specs})
    result, changed = composed(gates, noise, 40.0)
    assert asked == [{"f", "h"}]
    assert {op.name: op.inputs[0] for op in result if op.name in sources} == sources
    expected = tuple(name for name, tensor in (("g", "f"), ("k", "h")) if tensor in sensitive)
    assert changed == ({"gate-form": expected} if expected else {})
    assert_same(gates, result)


def test_the_threshold_is_compared_with_what_quantizing_the_tensor_costs(
    small_spanv2: Graph, photographs: Images, assert_same: Assert
) -> None:
    images, rule = photographs[:3], RangeRule()
    calibration = calibrate(small_spanv2, images)
    asked: dict[str, float] = {}
    original = quality_folds.sensitivities_db

    def listening(*args: Any) -> dict[str, float]:
        asked.update(original(*args))
        return asked

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quality_folds, "sensitivities_db", listening)
        choose_forms(small_spanv2, images, calibration, FormRule(rule, 0.0))
    assert set(asked) == {"depthwise_conv", "block_2.c3.conv"}
    low, high = sorted(asked.values())
    assert high - low > 0.5, "the two tensors must differ, or this test proves nothing"
    (lower,) = (name for name, score in asked.items() if score == low)
    only_lower, _ = composed(small_spanv2, images, (low + high) / 2)
    everything, changed = composed(small_spanv2, images, math.inf)
    gone = [name for name in asked if only_lower.producer(name) is None]
    gate_reads = {op.name: op.inputs[0] for op in only_lower if op.name == "block_2.guidance_map_conv"}
    assert (gone == ["depthwise_conv"]) == (lower == "depthwise_conv")
    assert (gate_reads["block_2.guidance_map_conv"] != "block_2.c3.conv") == (lower == "block_2.c3.conv")
    assert changed == {"compose-convs": ("pointwise_conv",), "gate-form": ("block_2.guidance_map_conv",)}
    for result in (only_lower, everything):
        assert_same(small_spanv2, result)


def test_nothing_is_sensitive_below_no_threshold(small_spanv2: Graph, photographs: Images) -> None:
    result, changed = composed(small_spanv2, photographs[:2], 0.0)
    assert result is small_spanv2 and changed == {}


def test_composing_a_sensitive_tensor_helps(build: Any, noise: Images) -> None:
    """A tensor of few used steps, here by two outlier channels that cancel, is what this is for."""
    graph = build.graph(build.conv("a", "input", 3, 4), build.conv("out", "a", 4, 3, kernel=1, bias=False))
    first, second = graph.parameters()["a", "weight"], graph.parameters()["out", "weight"]
    first[1] = first[0] = 100 * first[0]
    second[:, 1] = -second[:, 0]
    calibration, rule = calibrate(graph, noise), RangeRule()
    forms = choose_forms(graph, noise, calibration, FormRule(rule, 58.9))
    assert [op.name for op in forms.graph] == ["out"] and forms.folds[0].exactness == ComposeConvs().exactness.value


def test_the_folds_keep_their_names_and_exactness(gates: Graph, chain: Graph, noise: Images) -> None:
    for graph, fold in ((gates, GateForm()), (chain, ComposeConvs())):
        records = choose_forms(graph, noise, calibrate(graph, noise), FormRule(RangeRule(), math.inf)).folds
        assert {(record.fold, record.exactness) for record in records} == {(fold.name, fold.exactness.value)}


def test_images_are_cut_to_what_the_network_takes(build: Any) -> None:
    """Down by 6 and up again: pieces of 64 pixels would not come out as they went in."""
    graph = build.graph(
        build.conv("down", "input", 3, 9, kernel=1, stride=(3, 3)),
        build.conv("half", "down", 9, 36, kernel=1, stride=(2, 2)),
        build.conv("wide", "half", 36, 36, kernel=1),
        DepthToSpace(name="d", inputs=("wide",), block=6),
        build.conv("skip", "input", 3, 1),
        Add(name="s", inputs=("d", "skip")),
        build.conv("out", "s", 1, 3),
    )
    images = (np.random.default_rng(0).integers(0, 256, (72, 90, 3), dtype=np.uint8),)
    result, _ = composed(graph, images, math.inf)
    x = torch.rand(1, 3, 12, 18, dtype=torch.float64)
    assert torch.allclose(result.execute(x), graph.execute(x), rtol=0, atol=1e-12)
    assert len(result.ops) < len(graph.ops)


def test_eight_images_from_first_to_last_are_measured(chain: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[tuple[int, ...]]] = []

    def listening(graph: Graph, images: list[np.ndarray], *rest: object) -> dict[str, float]:
        seen.append([(int(image.max()), *image.shape) for image in images])
        return dict.fromkeys("abc", 99.0)

    monkeypatch.setattr(quality_folds, "sensitivities_db", listening)
    images = tuple(np.full((100, 30, 3), index, np.uint8) for index in range(15))
    composed(chain, images, 40.0)
    assert seen == [[(index, 64, 30, 3) for index in (0, 1, 3, 5, 7, 9, 11, 13)]]
    composed(chain, images[:3], 40.0)
    assert [piece[0] for piece in seen[1]] == [0, 1, 2]


def test_the_quantization_that_is_tried_is_the_rule_s(
    chain: Graph, noise: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    calibration, rule = calibrate(chain, noise), RangeRule(tail=0.1)
    tried: dict[str, Any] = {}

    def listening(graph: Graph, images: object, candidates: dict[str, Any], progress: object) -> dict[str, float]:
        tried.update(candidates)
        return dict.fromkeys(candidates, 99.0)

    monkeypatch.setattr(quality_folds, "sensitivities_db", listening)
    choose_forms(chain, noise, calibration, FormRule(rule, 40.0))
    low, high = rule.bounds(calibration["b"])
    assert tried["b"].scale == pytest.approx((max(high, 0) - min(low, 0)) / 255, rel=1e-6)


def test_a_strided_pair_is_composed_too(build: Any, noise: Images, assert_same: Assert) -> None:
    graph = build.graph(build.conv("a", "input", 3, 5, stride=(2, 2)), build.conv("out", "a", 5, 3, kernel=1))
    result, _ = composed(graph, noise, math.inf)
    (op,) = result
    assert isinstance(op, Conv2d) and op.stride == (2, 2)
    assert_same(graph, result)


def test_the_most_error_for_each_multiplication_goes_first_within_the_budget(
    build: Any, noise: Images, monkeypatch: pytest.MonkeyPatch, assert_same: Assert
) -> None:
    """Of two tensors that cost the picture the same, the one that is cheaper to spare goes first."""
    graph = build.graph(
        build.conv("dear", "input", 3, 16),
        build.conv("x", "dear", 16, 2, activation=Activation.RELU),
        build.conv("narrow", "x", 2, 2),
        build.conv("wide", "narrow", 2, 30, kernel=1, activation=Activation.RELU),
        build.conv("narrower", "wide", 30, 2),
        build.conv("out", "narrower", 2, 3, kernel=1),
    )
    scored(monkeypatch, {"narrow": 30.0, "narrower": 30.0})
    calibration, before = calibrate(graph, noise), float(graph.macs_per_input_pixel())
    free = choose_forms(graph, noise, calibration, FormRule(RangeRule(), 40.0))
    cheap, dear = free.choices
    assert 0 < cheap.added_macs_per_input_pixel < dear.added_macs_per_input_pixel and cheap.taken and dear.taken
    budget = before + dear.added_macs_per_input_pixel
    tight = choose_forms(graph, noise, calibration, FormRule(RangeRule(), 40.0, max_macs=budget))
    assert [choice.taken for choice in tight.choices] == [True, False]
    assert "MACs per input pixel" in tight.choices[1].why
    assert float(tight.graph.macs_per_input_pixel()) == before + cheap.added_macs_per_input_pixel <= budget
    assert_same(graph, tight.graph)


def test_what_is_not_sensitive_is_listed_with_its_reason(
    chain: Graph, noise: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored(monkeypatch, {"a": 60.0, "b": 20.0, "c": 60.0})
    choices = choose_forms(chain, noise, calibrate(chain, noise), FormRule(RangeRule(), 40.0)).choices
    assert {choice.tensor for choice in choices} == {"a", "b", "c"}
    (taken,) = (choice for choice in choices if choice.taken)
    assert taken == FormChoice("b", 20.0, taken.added_macs_per_input_pixel, True, "alone it is below 40.0 dB")
    assert {choice.why for choice in choices if not choice.taken} == {"alone it is not below 40.0 dB"}


def test_sensitive_products_are_split(
    small_spanv2: Graph, photographs: Images, monkeypatch: pytest.MonkeyPatch, assert_same: Assert
) -> None:
    """The last product is read by the head alone, once the head is one convolution; the others by sums too."""
    monkeypatch.setattr(quality_folds, "MOST_OF_A_RANGE", 1.0)  # random weights make a product of one sign
    images = photographs[:2]
    calibration = calibrate(small_spanv2, images)
    split = choose_forms(small_spanv2, images, calibration, FormRule(RangeRule(), math.inf, split=True))
    assert [record.fold for record in split.folds] == ["compose-convs", "gate-form", "sign-split"]
    added = sum(choice.added_macs_per_input_pixel for choice in split.choices)
    assert split.graph.macs_per_input_pixel() == float(small_spanv2.macs_per_input_pixel()) + added
    assert_same(small_spanv2, split.graph)


def test_a_product_whose_reader_stays_in_groups_is_left_whole(
    small_spanv2: Graph, photographs: Images, monkeypatch: pytest.MonkeyPatch, assert_same: Assert
) -> None:
    monkeypatch.setattr(quality_folds, "MOST_OF_A_RANGE", 1.0)
    images = photographs[:2]
    scored(monkeypatch, {"depthwise_conv": 99.0, "block_2.c3.conv": 99.0, "block_2.mul": 20.0})
    forms = choose_forms(small_spanv2, images, calibrate(small_spanv2, images), FormRule(RangeRule(), 40.0, split=True))
    (product,) = (choice for choice in forms.choices if choice.tensor == "block_2.mul")
    assert not product.taken and "in groups" in product.why and forms.folds == ()
