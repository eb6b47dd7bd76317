"""One stage after the other: rounded weights stay rounded, and every stage ends in integers."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edgesr.graph import Graph
from edgesr.ops import Convolution
from edgesr.progress import silent
from edgesr.quant.learning import stages as stages_module
from edgesr.quant.learning.fit import DivergedError, fit
from edgesr.quant.learning.material import Material, gather
from edgesr.quant.learning.patches import Mixture
from edgesr.quant.learning.plan import FitPlan, Kind
from edgesr.quant.learning.stages import Stages, first_weights
from edgesr.quant.learning.student import Parameters, Student
from edgesr.quant.weights import WEIGHT_LIMIT
from edgesr.quantized import QuantizedGraph, QuantParams

Images = tuple[np.ndarray, ...]
MOVING = {Kind.STEPS: 2e-2, Kind.ZEROS: 1.0, Kind.BIASES: 0.1, Kind.WEIGHTS: 0.1}
FIRST = FitPlan("first", 4, {Kind.SCALES: 1e-2, **MOVING}, mean_decay=0.5)
HALF = FitPlan("half", 4, MOVING, mean_decay=0.5, rounded_share=0.5)
ALL = FitPlan("all", 4, MOVING, mean_decay=0.5, rounded_share=1.0)
CONVOLUTIONS = ["x", "f", "g", "h", "tail"]


@pytest.fixture
def material(net: Graph, photographs: Images) -> Material:
    return gather(net, photographs, Mixture(16), 0)


@pytest.fixture
def stages(student: Student, material: Material) -> Stages:
    return Stages(student, material, silent, None)


def kept(before: QuantizedGraph, after: QuantizedGraph) -> list[str]:
    """The convolutions whose integers and scales are the same."""
    return [
        name for name, weight in before.weights.items()
        if torch.equal(weight.values, after.weights[name].values)
        and torch.equal(weight.scales, after.weights[name].scales)
    ]  # fmt: skip


def test_a_stage_gives_the_integers_of_what_was_learned(stages: Stages, net: Graph) -> None:
    network = stages.run(FIRST)
    assert stages.network is network
    graph, activations = stages.student.learned(stages.parameters)
    assert network.activations == activations
    for op in graph:
        if isinstance(op, Convolution):
            weight = network.weights[op.name]
            integers = op.weight / weight.scales[:, None, None, None]
            # GPTQ rounds up or down and makes up for it in the columns after: not far from the nearest
            assert (integers - weight.values).abs().mean() < 1
            assert weight.values.abs().max() <= WEIGHT_LIMIT
    assert network.execute(torch.rand(1, 3, 9, 7)).shape == (1, 3, 18, 14)


def test_what_a_stage_learned_the_next_starts_from(stages: Stages, monkeypatch: pytest.MonkeyPatch) -> None:
    starts: list[Parameters] = []

    def listening(student: Student, start: Parameters, *rest: object) -> Parameters:
        starts.append(start)
        return fit(student, start, *rest)  # type: ignore[arg-type]  # what follows is passed on as it came

    monkeypatch.setattr(stages_module, "fit", listening)
    stages.run(FIRST)
    learned = stages.parameters
    stages.run(replace(FIRST, name="second"))
    assert starts[1] is learned
    stages.run(HALF)
    assert starts[2] is not learned and not any(p.any() for p in starts[2][Kind.WEIGHTS])


@pytest.mark.parametrize(("plan", "names"), [(HALF, CONVOLUTIONS[:2]), (ALL, CONVOLUTIONS)])
def test_rounded_weights_keep_their_integers(plan: FitPlan, names: list[str], stages: Stages) -> None:
    before = stages.run(FIRST)
    after = stages.run(plan)
    assert kept(before, after) == names
    for name in CONVOLUTIONS:
        assert before.activations[name] != after.activations[name] or name == "tail", "ranges go on moving"


def test_half_and_then_all(stages: Stages) -> None:
    first, half, whole = (stages.run(plan) for plan in (FIRST, HALF, ALL))
    assert kept(first, half) == CONVOLUTIONS[:2] and kept(half, whole) == CONVOLUTIONS


@pytest.mark.parametrize("plan", [HALF, ALL])
def test_biases_of_kept_weights_are_in_steps_of_their_inputs_as_they_are_now(plan: FitPlan, stages: Stages) -> None:
    before = stages.run(FIRST)
    after = stages.run(plan)
    for name in first_weights(before, plan.rounded_share):
        op = after.graph.producer(name)
        assert isinstance(op, Convolution) and op.bias is not None
        weight, scale = after.weights[name], after.activations[op.inputs[0]].scale
        assert weight.bias.dtype == torch.int32
        assert (weight.bias * weight.scales * scale - op.bias).abs().max() <= (weight.scales * scale).max() / 2 + 1e-12
        if name != "x":  # the image's own step does not move
            assert scale != before.activations[op.inputs[0]].scale
            assert not torch.equal(weight.bias, before.weights[name].bias)


def test_a_kept_network_is_what_its_student_executes(
    stages: Stages, photographs: Images, rounded_execution: Callable[..., torch.Tensor]
) -> None:
    """Integers, scales and biases in the wrong unit would each show."""
    stages.run(FIRST)
    network = stages.run(ALL)
    x = torch.from_numpy(np.stack(photographs[:2])).permute(0, 3, 1, 2).float() / 255
    student = stages.student.execute(x, stages.parameters)
    assert (student - network.execute(x)).abs().mean() < 1 / 255
    # the output's own rounding, a quarter of a step on average, and biases rounded to int32
    assert (rounded_execution(network.dequantized, network.activations, x) - student).abs().mean() < 0.05 / 255


def test_rounded_weights_need_a_stage_before(stages: Stages) -> None:
    with pytest.raises(ValueError, match="plan 'half' goes on from rounded weights, and no stage came before it"):
        stages.run(HALF)


@pytest.mark.parametrize(("share", "count"), [(0.0, 0), (0.1, 0), (0.2, 1), (0.5, 2), (0.9, 4), (1.0, 5)])
def test_the_first_weights_are_those_nearest_to_the_image(share: float, count: int, stages: Stages) -> None:
    assert list(first_weights(stages.run(FIRST), share)) == CONVOLUTIONS[:count]


def test_a_stage_that_diverges_leaves_what_was_before(stages: Stages) -> None:
    before = stages.run(FIRST)
    parameters = stages.parameters
    with pytest.raises(DivergedError, match="wild diverged at step"):
        stages.run(FitPlan("wild", 4, {Kind.STEPS: 1e30}))
    assert stages.network is before and stages.parameters is parameters


def test_interrupted_stages_go_on(
    student: Student, material: Material, tmp_path: Path, net: Graph, ranges: dict[str, QuantParams]
) -> None:
    """The second of two is interrupted; the same call finds both where they were."""
    plans = (FIRST, HALF)

    def interrupting(stage: str, done: int, total: int) -> None:
        if (stage, done) == ("half", 2):
            raise KeyboardInterrupt

    broken = Stages(student, material, interrupting, tmp_path)
    broken.run(FIRST)
    with pytest.raises(KeyboardInterrupt, match="goes on from step 2 of 4"):
        broken.run(HALF)
    steps: list[tuple[str, int]] = []
    again = Stages(Student(net, ranges), material, lambda stage, done, total: steps.append((stage, done)), tmp_path)
    found = [again.run(plan) for plan in plans]
    assert [step for step in steps if step[0] in ("first", "half")] == [
        ("first", 4), ("half", 2), ("half", 3), ("half", 4)
    ]  # fmt: skip
    through = Stages(Student(net, ranges), material, silent, None)
    expected = [through.run(plan) for plan in plans]
    for a, b in zip(found, expected, strict=True):
        assert a.activations == b.activations and kept(a, b) == CONVOLUTIONS
        assert all(torch.equal(a.weights[name].bias, b.weights[name].bias) for name in CONVOLUTIONS)
