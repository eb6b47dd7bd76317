from dataclasses import replace
from pathlib import Path

import pytest
import torch

from edgesr.architecture import Architecture
from edgesr.errors import TrainingError
from edgesr.model.registry import ARCHITECTURES
from edgesr.model.training.config import NoiseConfig, TeacherConfig, TrainingConfig
from edgesr.model.training.network import load_teacher, plan_network


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda a: a.name)
@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_every_architecture_is_built_at_its_scales(
    two_stages: TrainingConfig, architecture: Architecture, scale: int
) -> None:
    stage = replace(two_stages.stages[0], crop=16)
    noise = NoiseConfig() if scale == 1 else None
    config = replace(two_stages, architecture=architecture.name, scale=scale, stages=(stage,), network={}, noise=noise)
    if architecture.defaults["scale"] == 1 and scale > 1:
        with pytest.raises(TrainingError, match=f"lite_denoise has no scale {scale}: its weights would be read as"):
            plan_network(config)
        return
    module = plan_network(config).build(seed=0)
    with torch.no_grad():
        assert module(torch.rand(1, 3, 16, 16)).shape == (1, 3, 16 * scale, 16 * scale)


def test_weights_depend_on_the_seed_alone(two_stages: TrainingConfig) -> None:
    plan = plan_network(two_stages)
    first, again, other = (torch.cat([p.flatten() for p in plan.build(s).parameters()]) for s in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"architecture": "spanv3"}, "none is called 'spanv3'; did you mean 'spanv2'"),
        ({"network": {"widht": 3}}, "spanv2 has no 'widht'; it has channels, blocks, in_channels"),
        ({"network": {"scale": 3}}, "spanv2 has no 'scale'"),
        ({"network": {"blocks": 1}}, "spanv2 cannot be built"),
        ({"network": {"in_channels": 1}}, "trained on as RGB: 3"),
        ({"architecture": "lite_denoise", "scale": 1, "noise": NoiseConfig(), "network": {}}, "multiples of 16"),
    ],
)
def test_networks_that_there_are_not_are_refused(
    two_stages: TrainingConfig, change: dict[str, object], words: str
) -> None:
    with pytest.raises(TrainingError, match=words):
        plan_network(replace(two_stages, **change))  # type: ignore[arg-type]  # a test names real fields


def test_a_teacher_of_another_scale_is_refused(two_stages: TrainingConfig, small_checkpoint: Path) -> None:
    teacher = TeacherConfig(small_checkpoint)
    assert load_teacher(teacher, two_stages).scale == 2
    with pytest.raises(TrainingError, match="is x2, the run x4; give one of that scale"):
        load_teacher(teacher, replace(two_stages, scale=4))
