"""The reach of networks beside what gradients in float64 see: which input pixels an output pixel depends on."""

import copy
import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgesr.architecture import SRModel
from edgesr.export.capture import capture
from edgesr.export.folds.host_shuffle import ending_before_shuffle
from edgesr.export.pipeline import NATIVE_FOLDS, run_folds
from edgesr.graph import Graph
from edgesr.model.registry import ARCHITECTURES
from edgesr.ops import Conv2d, MaxPool, Op, Relu, TensorSpec, Unary
from edgesr.padding import padded_size
from edgesr.runtime.receptive_field import COLUMNS, ROWS, NoReach, Reach, find_reach, input_run

SMALL = {
    "spanv2": {"channels": 4, "blocks": 2, "scale": 2, "in_channels": 3},
    "span": {"channels": 6, "blocks": 2, "scale": 2, "in_channels": 3},
    "pkdsr": {"channels": 6, "blocks": 3, "tail": 5, "scale": 3, "in_channels": 1},
    "pds": {"channels": 4, "blocks": 2, "tail": 7, "scale": 2, "in_channels": 4},
    "disp": {"channels": 6, "blocks": 2, "extra": 1, "scale": 3, "in_channels": 1},
    "dscf": {"channels": 5, "blocks": 3, "scale": 2, "in_channels": 3},
    "errn2": {"channels": 5, "blocks": 2, "scale": 2, "in_channels": 1},
    "rfdn_span": {"channels": 6, "blocks": 2, "distilled": 3, "scale": 2, "in_channels": 3},
    "lite_denoise": {"width": 2, "scale": 1, "in_channels": 1},
}
RANDOM_SEEDS = range(24)
IMAGES = 4
SLACK = 8
"""Pixels beyond the reach in which a test would see more than it."""

Run = tuple[int, int]


def positive(module: nn.Module) -> nn.Module:
    """A copy in float64 whose weights are positive, so that nothing cancels and no ReLU is off."""
    generator = torch.Generator().manual_seed(0)
    copied = copy.deepcopy(module).double().requires_grad_(False)
    for key, weight in copied.named_parameters():
        size = 4 if weight.ndim == 1 else weight[0].numel()
        nn.init.uniform_(weight, 0.2 / size, 1.2 / size, generator=generator)
        weight.mul_(0.1 if key.startswith("out_conv") else 1)  # away from the clip at 1
    return copied


def image_for(graph: Graph, reach: Reach, seed: int = 0) -> Tensor:
    """Noise (1, C, H, W) so large that the pixels in its middle reach no border, by `SLACK` to spare."""
    longest = max(reach.above, reach.below, reach.left, reach.right)
    size = padded_size((2 * (longest + SLACK) + graph.size_multiple,) * 2, graph.size_multiple)
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(1, graph.input.channels, *size, generator=generator, dtype=torch.float64) / 2 + 0.1


class Seen:
    """What the pixels of one output depend on: the input rows and columns whose gradient is not exactly zero."""

    def __init__(self, evaluate: Callable[[Tensor], Tensor], image: Tensor) -> None:
        self.x = image.clone().requires_grad_()
        self.y = evaluate(self.x)

    def runs(self, position: tuple[int, int]) -> tuple[Run, Run]:
        pixel = self.y[0, :, position[0], position[1]]
        weights = torch.linspace(0.6, 1.4, pixel.numel(), dtype=torch.float64)
        (gradient,) = torch.autograd.grad((pixel * weights).sum(), self.x, retain_graph=True)
        touched = gradient[0].abs().sum(0) > 0
        rows, columns = (torch.nonzero(touched.any(1 - axis)).flatten().tolist() for axis in (ROWS, COLUMNS))
        return (rows[0], rows[-1]), (columns[0], columns[-1])


def seen_reach(graph: Graph, evaluate: Callable[[Tensor], Tensor], reach: Reach, images: int = 1) -> Reach:
    """The reach by gradients, over all phases; several images where a pool shows one of its pixels at a time."""
    multiple, scale = graph.size_multiple, int(graph.scale)
    outputs = [Seen(evaluate, image_for(graph, reach, seed)) for seed in range(images)]
    middle = [side // 2 // multiple * multiple * scale for side in outputs[0].x.shape[2:]]
    found = [[0, 0, 0, 0]]
    for phase in range(multiple * scale):
        at = (middle[0] + phase, middle[1] + phase)
        runs = [output.runs(at) for output in outputs]
        sides = []
        for axis in (ROWS, COLUMNS):
            first, last = min(r[axis][0] for r in runs), max(r[axis][1] for r in runs)
            assert (first, last) == input_run(graph, axis, at[axis]), f"phase {phase}, axis {axis}"
            sides += [at[axis] // scale - first, last - at[axis] // scale]
        found.append(sides)
    return Reach(*np.max(found, axis=0).tolist())


def reach_of(graph: Graph) -> Reach:
    reach = find_reach(graph)
    assert isinstance(reach, Reach), reach
    return reach


@pytest.mark.parametrize("which", ["small", "denoiser"])
def test_the_reach_of_a_captured_graph_is_what_gradients_of_the_module_see(
    request: pytest.FixtureRequest, which: str
) -> None:
    """Of the PyTorch module itself, so that neither capture nor a fold may lose or add a pixel."""
    network = request.getfixturevalue(which)
    reach = reach_of(network.graph)
    assert seen_reach(network.graph, positive(network.model.module), reach) == reach
    assert reach_of(network.quantized.graph) == reach


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_the_reach_of_every_family_is_what_gradients_of_the_module_see(name: str) -> None:
    """Before and after folding."""
    (architecture,) = [a for a in ARCHITECTURES if a.name == name]
    module, config = architecture.build(SMALL[name]).eval().requires_grad_(False), SMALL[name]
    model = SRModel(name, name, module, config, config["scale"], "test", "", size_multiple=architecture.size_multiple)
    graph = capture(model, model.in_channels)
    reach = reach_of(graph)
    assert seen_reach(graph, positive(module), reach) == reach
    assert reach_of(run_folds(graph, NATIVE_FOLDS)[0]) == reach


def test_every_registered_family_is_here() -> None:
    assert {a.name for a in ARCHITECTURES} == set(SMALL)


@pytest.mark.parametrize("seed", RANDOM_SEEDS)
def test_random_graphs_reach_as_far_as_gradients_see(random_graph: Callable[[int], Graph], seed: int) -> None:
    graph = random_graph(seed)
    reach = reach_of(graph)
    pools = any(isinstance(op, MaxPool) for op in graph)
    assert seen_reach(graph, graph.execute, reach, IMAGES if pools else 1) == reach


def test_random_graphs_have_what_makes_reaches_hard(random_graph: Callable[[int], Graph]) -> None:
    graphs = [random_graph(seed) for seed in RANDOM_SEEDS]
    assert {1, 2, 3, 4, 6} <= {graph.size_multiple for graph in graphs}
    assert {1, 2} <= {graph.scale for graph in graphs}
    reaches = [reach_of(graph) for graph in graphs]
    assert sum(len({r.above, r.below, r.left, r.right}) > 1 for r in reaches) > len(graphs) / 2, "lopsided"


@pytest.mark.parametrize("pixel", [(20, 20), (21, 22), (0, 39)], ids=str)
def test_a_changed_pixel_changes_what_reaches_it_and_nothing_else(small: Any, pixel: tuple[int, int]) -> None:
    """The other way round, by hand: one input pixel of SPANV2 is changed, at a border too."""
    module, reach = positive(small.model.module), reach_of(small.graph)
    image = torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    changed = image.clone()
    changed[:, :, pixel[0], pixel[1]] += 10
    with torch.no_grad():
        differs = (module(image) != module(changed))[0].any(0)
    for axis, side in enumerate(pixel):
        before, behind = reach.along(axis)
        lines = torch.nonzero(differs.any(1 - axis)).flatten().tolist()
        assert lines[0] == 2 * max(0, side - behind)
        assert lines[-1] == 2 * min(39, side + before) + 1


def test_the_reach_of_spanv2_by_hand(small: Any) -> None:
    """Three 3x3 convolutions in each of its two blocks, one after another, and the depthwise one of the head."""
    assert find_reach(small.graph) == Reach(7, 7, 7, 7)


def test_the_shuffle_on_the_host_changes_no_reach(small: Any) -> None:
    assert find_reach(ending_before_shuffle(small.graph)) == find_reach(small.graph)


def test_every_operator_of_the_vocabulary_reads_what_gradients_see(operator_case: Any) -> None:
    """Each on its own; those whose output is of another size than a whole number of times the image's are refused."""
    graph, images = operator_case.graph, [operator_case.image((12, 12)) / 50 + offset for offset in (0.2, 0.3)]
    outputs = [Seen(graph.execute, image) for image in images]
    fits = outputs[0].y.shape[2:] == (12 * graph.scale, 12 * graph.scale)
    reach = find_reach(graph)
    if isinstance(reach, NoReach):
        shrunk = graph.scale.denominator != 1
        assert not fits or shrunk
        assert ("its output has 1/2 of the image's size" if shrunk else "is not 1 times as much") in reach.why
    else:
        assert fits
    position = int(6 * graph.scale)
    runs = [output.runs((position, position)) for output in outputs]
    for axis in (ROWS, COLUMNS):
        first, last = min(r[axis][0] for r in runs), max(r[axis][1] for r in runs)
        wanted = input_run(graph, axis, position)
        assert (first, last) == wanted or (operator_case.name == "max-pool" and wanted[0] <= first <= last <= wanted[1])


def test_a_general_file_has_no_reach() -> None:
    reach = find_reach(None)
    assert isinstance(reach, NoReach) and "general route" in reach.why


class Everywhere(Unary):
    """The mean over all positions, subtracted: an operator of no finite reach."""

    def evaluate(self, *inputs: Tensor) -> Tensor:
        return inputs[0] - inputs[0].mean((2, 3), keepdim=True)

    def reads(self, axis: int, first: int, last: int) -> None:
        return None


class Silent(Op):
    """An operator that does not say what it reads."""

    def infer(self, *inputs: TensorSpec) -> TensorSpec:
        return TensorSpec(self.name, inputs[0].channels, inputs[0].scale)

    def evaluate(self, *inputs: Tensor) -> Tensor:
        return inputs[0]


@pytest.mark.parametrize("kind", [Everywhere, Silent])
def test_an_operator_that_reads_every_position_is_refused_by_name(kind: type[Op]) -> None:
    graph = Graph("g", TensorSpec("x", 3), (Relu(name="r", inputs=("x",)), kind(name="y", inputs=("r",))), "y")
    reach = find_reach(graph)
    assert isinstance(reach, NoReach) and reach.why == f"{kind.__name__} 'y' depends on every position of the image"


def test_an_unpadded_convolution_whose_rim_is_given_back_has_a_reach() -> None:
    weight = torch.ones(3, 3, 3, 3, dtype=torch.float64)
    first = Conv2d(name="m", inputs=("x",), weight=weight)
    graph = Graph("g", TensorSpec("x", 3), (first, Conv2d(name="y", inputs=("m",), weight=weight, padding=(2, 2))), "y")
    assert find_reach(graph) == Reach(2, 2, 2, 2)
    refused = find_reach(Graph("g", TensorSpec("x", 3), (dataclasses.replace(first, name="y"),), "y"))
    assert isinstance(refused, NoReach) and "it makes 1x1 of 3x3" in refused.why
