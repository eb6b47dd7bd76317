"""A student starts as the quantized network, and what it learned is put into graph and ranges for good."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from edgesr.graph import Graph
from edgesr.ops import Activation, Convolution, Sigmoid
from edgesr.quant.calibration import calibrate
from edgesr.quant.equalization import equalize
from edgesr.quant.learning.plan import Kind
from edgesr.quant.learning.student import Parameters, Student
from edgesr.quant.ranges import RangeRule, choose_ranges
from edgesr.quant.weights import quantize_weights
from edgesr.quantized import QuantParams

Images = tuple[np.ndarray, ...]
Moved = Callable[[Student], Parameters]
Execute = Callable[..., Tensor]
SAME = 1e-5
"""Float32 through a dozen layers, on outputs in 0..1; the smallest step of the network is larger by far."""


@pytest.fixture
def x(photographs: Images) -> Tensor:
    return torch.from_numpy(np.stack(photographs[:2])).permute(0, 3, 1, 2).float() / 255


def differing(a: Tensor, b: Tensor) -> float:
    """The share of values that differ by more than float32 does."""
    return ((a - b).abs() > SAME).float().mean().item()


RARE = 0.02
"""Values that lie within float32's rounding of the middle between two steps may fall on either side, and each of them
reaches 25 outputs; a wrong step or zero point changes most of all values."""


def test_at_the_start_it_is_the_rounded_network(
    student: Student, net: Graph, ranges: dict[str, QuantParams], x: Tensor, rounded_execution: Execute
) -> None:
    expected = rounded_execution(net, ranges, x)
    assert differing(student.execute(x, student.start), expected) < RARE
    assert differing(net.execute(x).clamp(0, 1), expected) > 0.9, "rounding must matter, or this test proves nothing"
    for name in ("x", "f", "m", "h"):
        other = ranges | {name: replace(ranges[name], scale=ranges[name].scale * 1.01)}
        assert differing(student.execute(x, student.start), rounded_execution(net, other, x)) > 0.5


def test_at_the_start_spanv2_is_the_rounded_network(
    small_spanv2: Graph, photographs: Images, x: Tensor, rounded_execution: Execute
) -> None:
    graph, calibration = equalize(small_spanv2, calibrate(small_spanv2, photographs))
    ranges = choose_ranges(graph, calibration, RangeRule())
    student = Student(graph, ranges)
    assert differing(student.execute(x, student.start), rounded_execution(graph, ranges, x)) < RARE
    unchanged, activations = student.learned(student.start)
    for key, value in graph.parameters().items():
        assert torch.allclose(unchanged.parameters()[key], value, rtol=1e-6, atol=1e-7)
    for name, params in ranges.items():
        assert activations[name].zero_point == params.zero_point
        assert activations[name].scale == pytest.approx(params.scale, rel=1e-6)


def test_the_output_is_clipped_to_the_image(student: Student, x: Tensor) -> None:
    tail = torch.linspace(-300, 300, 12)  # steps of 1/255
    biases = [*student.start[Kind.BIASES][:-1], tail]
    output = student.execute(x, student.start | {Kind.BIASES: biases})
    assert (output.min().item(), output.max().item()) == (0, 1)


def test_what_was_learned_is_put_in_for_good(
    student: Student, x: Tensor, moved: Moved, rounded_execution: Execute
) -> None:
    parameters = moved(student)
    graph, activations = student.learned(parameters)
    expected = student.execute(x, parameters)
    assert differing(rounded_execution(graph, activations, x), expected) < RARE
    assert differing(student.execute(x, student.start), expected) > 0.9
    assert all(value.dtype == torch.float64 for value in graph.parameters().values())


@pytest.mark.parametrize("kind", Kind)
def test_each_kind_alone_changes_the_network_and_is_put_in(
    kind: Kind, student: Student, x: Tensor, moved: Moved, rounded_execution: Execute
) -> None:
    parameters = student.start | {kind: moved(student)[kind]}
    expected = student.execute(x, parameters)
    assert differing(student.execute(x, student.start), expected) > 0.1
    assert differing(rounded_execution(*student.learned(parameters), x), expected) < RARE


def test_zero_points_beyond_the_integers_are_the_last_integer(
    student: Student, x: Tensor, rounded_execution: Execute
) -> None:
    """In execution as in what comes of it: an optimizer may step over the end."""
    two_sided = [i for i, one in enumerate(student.one_sided) if not one]
    zeros = [z.clone() for z in student.start[Kind.ZEROS]]
    zeros[two_sided[0]], zeros[two_sided[1]] = torch.tensor(-30.0), torch.tensor(290.0)
    parameters = student.start | {Kind.ZEROS: zeros}
    graph, activations = student.learned(parameters)
    assert {activations[student.groups[i][0]].zero_point for i in two_sided[:2]} == {-128, 127}
    assert differing(rounded_execution(graph, activations, x), student.execute(x, parameters)) < RARE


def test_scales_alone_leave_the_function_as_it_is(student: Student, net: Graph, moved: Moved) -> None:
    graph, _ = student.learned(student.start | {Kind.SCALES: moved(student)[Kind.SCALES]})
    image = torch.rand(2, 3, 9, 7, dtype=torch.float64)
    expected, found = net.execute(image), graph.execute(image)
    assert (found - expected).abs().max() <= SAME
    assert not torch.allclose(graph.parameters()["f", "weight"], net.parameters()["f", "weight"], rtol=0.01)


def test_biases_are_in_steps_of_their_output(student: Student) -> None:
    for i, op in enumerate(student.convolutions):
        biases = [torch.zeros_like(p) for p in student.start[Kind.BIASES]]
        biases[i][0] = 3.0
        graph, activations = student.learned(student.start | {Kind.BIASES: biases})
        added = graph.parameters()[op.name, "bias"] - (0 if op.bias is None else op.bias)
        assert added[0].item() == pytest.approx(3 * activations[op.name].scale, rel=1e-4, abs=1e-6)
        assert added[1:].abs().max() < 1e-6


def test_weights_are_in_steps_of_their_own_grids(student: Student, net: Graph) -> None:
    ones = [torch.ones_like(p) for p in student.start[Kind.WEIGHTS]]
    graph, _ = student.learned(student.start | {Kind.WEIGHTS: ones})
    for op in student.convolutions:
        step = op.weight.abs().amax((1, 2, 3)) / 127
        added = graph.parameters()[op.name, "weight"] - net.parameters()[op.name, "weight"]
        assert torch.allclose(added, step[:, None, None, None].expand_as(added), rtol=1e-4, atol=1e-6)


def test_tied_tensors_learn_together_and_prescribed_ones_not(student: Student, moved: Moved) -> None:
    assert sorted(map(sorted, student.groups)) == [["c", "m", "x"], ["f"], ["g"], ["h"], ["s"]]
    _, activations = student.learned(moved(student))
    assert activations["c"] == activations["m"] == activations["x"]
    for name in ("input", "tail", "out"):
        assert activations[name] == student.activations[name]


def test_a_function_s_grid_is_not_learned(build: Any, photographs: Images) -> None:
    graph = build.graph(build.conv("a", "input", 3, 4), Sigmoid(name="y", inputs=("a",)), build.conv("out", "y", 4, 3))
    student = Student(graph, choose_ranges(graph, calibrate(graph, photographs), RangeRule()))
    assert student.groups == [["a"]]


def test_ranges_on_one_side_of_zero_keep_their_zero_point(build: Any, photographs: Images) -> None:
    graph = build.graph(
        build.conv("a", "input", 3, 4, activation=Activation.RELU), build.conv("b", "a", 4, 4),
        build.conv("out", "b", 4, 3),
    )  # fmt: skip
    student = Student(graph, choose_ranges(graph, calibrate(graph, photographs), RangeRule()))
    zeros = [z.clone().requires_grad_() for z in student.start[Kind.ZEROS]]
    image = torch.rand(2, 3, 16, 16)
    loss = student.execute(image, student.start | {Kind.ZEROS: zeros}).square().sum()
    slopes = dict(zip((g[0] for g in student.groups), torch.autograd.grad(loss, zeros, allow_unused=True), strict=True))
    assert slopes["a"] is None
    assert slopes["b"] is not None and slopes["b"] != 0


def test_every_kind_has_gradients_and_nothing_is_changed(student: Student, net: Graph, x: Tensor) -> None:
    before = {key: value.clone() for key, value in net.parameters().items()}
    leaves = {kind: [p.clone().requires_grad_() for p in values] for kind, values in student.start.items()}
    loss = (student.execute(x, leaves) - 0.3).square().mean()
    flat = [(kind, i) for kind, values in leaves.items() for i in range(len(values))]
    grads = torch.autograd.grad(loss, [leaves[kind][i] for kind, i in flat], materialize_grads=True)
    idle = {(kind, i) for (kind, i), grad in zip(flat, grads, strict=True) if not grad.any()}
    assert idle <= {(Kind.ZEROS, i) for i in range(len(student.groups))}
    assert all(torch.equal(value, net.parameters()[key]) for key, value in before.items())


def test_rounded_convolutions_keep_their_integers(
    net: Graph, ranges: dict[str, QuantParams], moved: Moved, x: Tensor
) -> None:
    weights = quantize_weights(net, ranges)
    kept = {name: weights[name] for name in ("x", "g")}
    student = Student(net, ranges, kept)
    parameters = student.start | {kind: moved(student)[kind] for kind in (Kind.WEIGHTS, Kind.BIASES, Kind.STEPS)}
    graph, _ = student.learned(parameters)
    for name, op in {op.name: op for op in graph if isinstance(op, Convolution)}.items():
        integers = op.weight / weights[name].scales[:, None, None, None]
        whole = (integers - weights[name].values).abs().max() < 1e-3
        assert bool(whole) == (name in kept)
    assert not torch.allclose(graph.parameters()["x", "bias"], net.parameters()["x", "bias"])
    leaves = [p.clone().requires_grad_() for p in student.start[Kind.WEIGHTS]]
    output = student.execute(x, student.start | {Kind.WEIGHTS: leaves})
    for op, slope in zip(student.convolutions, torch.autograd.grad(output.square().sum(), leaves), strict=True):
        assert bool(slope.any()) == (op.name not in kept)
