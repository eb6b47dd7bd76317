"""Quantizing with learning: the best of all stages is kept, whatever the images and the network are."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgesr.errors import CalibrationError
from edgesr.graph import Graph
from edgesr.graph_file import serialize_graph
from edgesr.ops import Activation, Add, Concat, Convolution, DepthToSpace, Mul
from edgesr.progress import silent
from edgesr.quant.learning.material import gather
from edgesr.quant.learning.patches import Mixture
from edgesr.quant.learning.plan import DISTILLATION, RANGES, ROUNDING, FitPlan, Kind
from edgesr.quant.learning.student import Student
from edgesr.quant.quantize import Quantization, quantize
from edgesr.quant.recipe import RECIPES, Recipe
from edgesr.quantized import QuantParams
from edgesr.threads import torch_threads

Images = tuple[np.ndarray, ...]


def few(plan: FitPlan, steps: int = 3) -> FitPlan:
    return replace(plan, steps=steps, mean_decay=0.5)


PLANS = tuple(few(plan) for plan in (RANGES, DISTILLATION, *ROUNDING))
NAMES = [plan.name for plan in PLANS]
LEARNING = Recipe("learning", sign_split=True, learning=PLANS, mixture=Mixture(24))
RANGES_ONLY = replace(LEARNING, learning=PLANS[:1])
WORSE = FitPlan("made worse", 2, {Kind.BIASES: 1e5}, mean_decay=0.0)
DIVERGING = FitPlan("wild", 4, {Kind.STEPS: 1e30})


@pytest.fixture
def net(build: Any) -> Graph:
    """A gated block, a concat and a x2 tail: everything that a recipe treats specially, and quick."""
    b = build
    graph: Graph = b.graph(
        b.conv("x", "input", 3, 6, activation=Activation.RELU),
        b.conv("f", "x", 6, 6),
        Add(name="s", inputs=("x", "f")),
        b.conv("g", "f", 6, 6, kernel=1),
        Mul(name="m", inputs=("s", "g")),
        Concat(name="c", inputs=("x", "m")),
        b.conv("tail", "c", 12, 12),
        DepthToSpace(name="out", inputs=("tail",), block=2),
    )
    graph.parameters()["tail", "weight"].mul_(0.05)
    graph.parameters()["tail", "bias"].fill_(0.5)
    return graph


def scores(made: Quantization) -> dict[str, float]:
    return {candidate.stage: candidate.score_db for candidate in made.candidates}


def finite(made: Quantization) -> bool:
    x = torch.rand(2, 3, 12, 8, generator=torch.Generator().manual_seed(0))
    return bool(torch.isfinite(made.network.execute(x)).all())


def selected_db(graph: Graph, made: Quantization, images: Images, recipe: Recipe) -> float:
    """The score that the result has on the images kept for choosing."""
    return gather(graph, images, recipe.mixture, recipe.seed).judge.score_db(made.network)


def test_every_stage_is_a_candidate_and_the_best_is_kept(net: Graph, photographs: Images) -> None:
    made = quantize(net, photographs, LEARNING)
    found = scores(made)
    assert list(found) == ["not learned", *NAMES]
    assert selected_db(net, made, photographs, LEARNING) == pytest.approx(max(found.values()), abs=1e-6)
    without = [note.split(" brought no gain")[0] for note in made.notes]
    best = -float("inf")
    for stage, score in found.items():
        assert (stage in without) == (score <= best)
        best = max(best, score)
    assert (made.recipe, made.calibration_images) == (LEARNING, len(photographs))


def test_learning_pays_where_the_first_ranges_are_bad(net: Graph, photographs: Images) -> None:
    """Ranges that cut a tenth off at each end, and time to learn better ones."""
    cut = replace(RECIPES[0].ranges, tail=0.1)
    recipe = replace(RANGES_ONLY, ranges=cut, learning=(FitPlan("ranges", 40, {Kind.STEPS: 5e-2}, mean_decay=0.8),))
    made = quantize(net, photographs, recipe)
    found = scores(made)
    assert found["ranges"] > found["not learned"] + 1 and made.notes == ()
    assert selected_db(net, made, photographs, recipe) == pytest.approx(found["ranges"], abs=1e-6)


def test_a_recipe_without_learning_compares_nothing(net: Graph, photographs: Images) -> None:
    made = quantize(net, photographs, replace(LEARNING, learning=()))
    assert (made.candidates, made.notes) == ((), ())


@pytest.mark.parametrize("make", ["net", "small_spanv2"])
def test_never_worse_than_without_learning_on_the_images_kept_for_choosing(
    make: str, photographs: Images, request: pytest.FixtureRequest
) -> None:
    graph: Graph = request.getfixturevalue(make)
    plain = quantize(graph, photographs, replace(LEARNING, sign_split=False, learning=()))
    made = quantize(graph, photographs, RANGES_ONLY)
    before, after = (selected_db(graph, result, photographs, LEARNING) for result in (plain, made))
    assert after >= before == scores(made)["not learned"]


def test_a_stage_that_makes_it_worse_is_not_kept(net: Graph, photographs: Images) -> None:
    made = quantize(net, photographs, replace(LEARNING, learning=(WORSE,)))
    found = scores(made)
    assert found["made worse"] < found["not learned"] - 10, "it must be worse, or this test proves nothing"
    was = f"{found['made worse']:.3f} dB after {found['not learned']:.3f}, PSNR to the float network"
    assert made.notes == (f"made worse brought no gain ({was}); kept what was before",)
    plain = quantize(net, photographs, replace(LEARNING, sign_split=False, learning=()))
    assert serialize_graph(made.network) == serialize_graph(plain.network)
    assert made.folds == plain.folds


def test_a_stage_that_diverges_ends_learning_with_a_note(net: Graph, photographs: Images) -> None:
    made = quantize(net, photographs, replace(LEARNING, learning=(PLANS[0], DIVERGING, PLANS[1])))
    assert list(scores(made)) == ["not learned", NAMES[0]]
    assert made.notes[-1].startswith("wild diverged at step ")
    assert made.notes[-1].endswith("kept the best result before it") and "\n" not in made.notes[-1]
    before = quantize(net, photographs, RANGES_ONLY)
    assert serialize_graph(made.network) == serialize_graph(before.network)


def test_a_float_network_of_no_numbers_is_refused_in_one_line(net: Graph, photographs: Images) -> None:
    weight = net.parameters()["f", "weight"].clone()
    weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(CalibrationError, match=r"\A[^\n]+\Z"):
        quantize(net.with_parameters({("f", "weight"): weight}), photographs, LEARNING)


def test_the_same_images_give_the_same_bytes_on_any_number_of_threads(net: Graph, photographs: Images) -> None:
    found = []
    for threads in (1, 2):
        with torch_threads(threads):
            found.append(quantize(net, photographs, LEARNING))
    assert serialize_graph(found[0].network) == serialize_graph(found[1].network)
    assert found[0].candidates == found[1].candidates
    other = quantize(net, photographs, replace(LEARNING, seed=1))
    assert other.candidates != found[0].candidates, "another seed must show, or this test proves nothing"


def test_what_is_learned_on_may_be_other_images(net: Graph, photographs: Images) -> None:
    own, others = (quantize(net, photographs[:6], RANGES_ONLY, silent, images) for images in (None, photographs[6:]))
    assert own.calibration_images == others.calibration_images == 6
    assert own.candidates != others.candidates


def test_an_interrupted_call_goes_on(net: Graph, photographs: Images, tmp_path: Path) -> None:
    def interrupting(stage: str, done: int, total: int) -> None:
        if (stage, done) == (NAMES[1], 2):
            raise KeyboardInterrupt

    recipe = replace(LEARNING, learning=PLANS[:2])
    with pytest.raises(KeyboardInterrupt, match="the same command goes on from step 2 of 3"):
        quantize(net, photographs, recipe, interrupting, saved=tmp_path)
    steps: list[tuple[str, int]] = []
    made = quantize(net, photographs, recipe, lambda stage, done, total: steps.append((stage, done)), saved=tmp_path)
    assert [step for step in steps if step[0] in NAMES] == [(NAMES[0], 3), (NAMES[1], 2), (NAMES[1], 3)]
    through = quantize(net, photographs, recipe)
    assert serialize_graph(made.network) == serialize_graph(through.network)
    assert made.candidates == through.candidates


def test_products_are_split_for_learning_alone(
    net: Graph, photographs: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network that was not learned is what the recipe without learning gives."""
    students: list[list[str]] = []

    def listening(graph: Graph, activations: Mapping[str, QuantParams]) -> Student:
        students.append([op.name for op in graph])
        return Student(graph, activations)

    monkeypatch.setattr("edgesr.quant.quantize.Student", listening)
    recipe = replace(LEARNING, sensitive_below_db=1e3, max_mac_growth=10.0, learning=(WORSE,))
    made = quantize(net, photographs, recipe)
    assert "m.negative" in students[0]
    assert made.network.graph.producer("m.negative") is None
    plain = quantize(net, photographs, replace(recipe, sign_split=False, learning=()))
    assert (made.folds, made.forms) == (plain.folds, plain.forms)


def flat(level: int, shape: tuple[int, int] = (64, 64)) -> Images:
    return (np.full((*shape, 3), level, np.uint8),)


def noise_images(*shapes: tuple[int, int]) -> Images:
    return tuple(np.random.default_rng(i).integers(0, 256, (*s, 3), dtype=np.uint8) for i, s in enumerate(shapes))


BAD_IMAGES: dict[str, Images] = {
    "black": 3 * flat(0),
    "grey": 3 * flat(128),
    "white": 3 * flat(255),
    "black and one white": (*flat(0), *flat(0), *flat(255)),
    "one": noise_images((64, 64)),
    "noise": noise_images((40, 40), (31, 57), (64, 64)),
    "one row": noise_images((1, 4096)),
    "one pixel": noise_images((1, 1)),
    "tiny and many": noise_images(*[(3, 5)] * 20),
    "wide": noise_images((16, 300), (300, 16)),
}


@pytest.mark.parametrize("case", BAD_IMAGES)
def test_any_images_give_a_network_of_numbers_or_one_line(case: str, net: Graph) -> None:
    made = quantize(net, BAD_IMAGES[case], RANGES_ONLY)
    assert finite(made) and all(np.isfinite(candidate.score_db) for candidate in made.candidates)


@pytest.mark.parametrize("case", [case for case in BAD_IMAGES if "black" not in case])
def test_so_they_do_without_biases(case: str, silent_net: Graph) -> None:
    assert finite(quantize(silent_net, BAD_IMAGES[case], RANGES_ONLY))


def test_black_says_nothing_about_a_network_without_biases(silent_net: Graph) -> None:
    with pytest.raises(CalibrationError, match=r"\A'a' is zero on every calibration image; [^\n]+\Z"):
        quantize(silent_net, BAD_IMAGES["black"], RANGES_ONLY)


@pytest.fixture
def silent_net(build: Any) -> Graph:
    """A network that answers black with black."""
    graph: Graph = build.graph(
        build.conv("a", "input", 3, 6, bias=False), build.conv("b", "a", 6, 12, bias=False),
        DepthToSpace(name="out", inputs=("b",), block=2),
    )  # fmt: skip
    return graph


def dead_channel(weight: torch.Tensor, bias: torch.Tensor) -> None:
    weight[1], bias[1] = 0, 0


def channel_of_bias_alone(weight: torch.Tensor, bias: torch.Tensor) -> None:
    weight[1], bias[1] = 0, 3


def outlier(weight: torch.Tensor, bias: torch.Tensor) -> None:
    weight[0, 0, 0, 0] = 1e4


def bias_alone(weight: torch.Tensor, bias: torch.Tensor) -> None:
    weight.zero_()


def all_zero(weight: torch.Tensor, bias: torch.Tensor) -> None:
    weight.zero_()
    bias.zero_()


DAMAGES = [dead_channel, channel_of_bias_alone, outlier, bias_alone, all_zero]


@pytest.mark.parametrize("name", ["x", "f", "g", "tail"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_weights_give_a_network_of_numbers_or_one_line(
    name: str, damage: Callable[[torch.Tensor, torch.Tensor], None], net: Graph, photographs: Images
) -> None:
    op = net.producer(name)
    assert isinstance(op, Convolution) and op.bias is not None
    damage(op.weight, op.bias)
    recipe = replace(LEARNING, learning=(PLANS[0], PLANS[2]))
    if damage is all_zero and name in ("f", "g"):  # `x` shares its range with what it is joined with
        with pytest.raises(CalibrationError, match=rf"\A'{name}' is zero on every calibration image; [^\n]+\Z"):
            quantize(net, photographs, recipe)
    else:
        assert finite(quantize(net, photographs[:4], recipe))
