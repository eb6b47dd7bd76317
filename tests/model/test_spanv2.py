import os
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from edgesr.errors import CheckpointError
from edgesr.model.checkpoint import load_state_dict
from edgesr.model.spanv2 import ARCHITECTURE, SPANV2, build, deduce

OFFICIAL = Path(os.environ.get("EDGESR_SHARED", Path(__file__).parents[3] / "shared")) / "checkpoints"
RELEASED_KEYS = (
    {f"block_{k}.c{i}.conv.weight" for k in range(1, 6) for i in (1, 2, 3)}
    | {f"block_{k}.guidance_map_conv.{kind}" for k in range(2, 6) for kind in ("weight", "bias")}
    | {"conv_near.weight", "depthwise_conv.weight", "pointwise_conv.weight"}
)
RELEASED_CONFIG = {"channels": 32, "blocks": 5, "scale": 4, "in_channels": 3}
CONFIGS = [
    RELEASED_CONFIG,
    {"channels": 8, "blocks": 2, "scale": 2, "in_channels": 3},
    {"channels": 5, "blocks": 3, "scale": 3, "in_channels": 1},
    {"channels": 4, "blocks": 11, "scale": 1, "in_channels": 4},
]


def random_state(config: dict[str, int], seed: int = 0) -> dict[str, Tensor]:
    """Weights far from the initialisation, so that no branch is trivial."""
    generator = torch.Generator().manual_seed(seed)
    return {
        key: 0.2 * torch.randn(value.shape, generator=generator, dtype=torch.float64)
        for key, value in build(config).state_dict().items()
    }


def spanv2_by_the_equations(x: Tensor, w: dict[str, Tensor], blocks: int, scale: int) -> Tensor:
    """The network as FACTS.md writes it, without a module and without PixelShuffle."""

    def conv3x3(y: Tensor, key: str, groups: int = 1) -> Tensor:
        return F.conv2d(y, w[key], padding=1, groups=groups)

    near = conv3x3(x, "conv_near.weight", groups=x.shape[1])
    y = x
    for i in (1, 2, 3):
        y = conv3x3(y, f"block_1.c{i}.conv.weight").clamp(min=0)
    for k in range(2, blocks + 1):
        f1 = conv3x3(y, f"block_{k}.c1.conv.weight").clamp(min=0)
        f2 = conv3x3(f1, f"block_{k}.c2.conv.weight").clamp(min=0)
        f3 = conv3x3(f2, f"block_{k}.c3.conv.weight")
        weight, bias = (w[f"block_{k}.guidance_map_conv.{kind}"] for kind in ("weight", "bias"))
        gate = torch.einsum("oi,nihw->nohw", weight[:, :, 0, 0], f3) + bias[:, None, None]
        y = (y + f3) * gate
    features = torch.cat([near, y], dim=1)
    mixed = conv3x3(features, "depthwise_conv.weight", groups=features.shape[1])
    head = torch.einsum("oi,nihw->nohw", w["pointwise_conv.weight"][:, :, 0, 0], mixed)
    n, _, height, width = head.shape
    cells = head.reshape(n, x.shape[1], scale, scale, height, width).permute(0, 1, 4, 2, 5, 3)
    return cells.reshape(n, x.shape[1], scale * height, scale * width)


def test_the_default_network_has_the_released_keys_and_size() -> None:
    module = SPANV2()
    assert set(module.state_dict()) == RELEASED_KEYS
    assert sum(p.numel() for p in module.parameters()) == 139_104


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("size", [(7, 5), (1, 1), (2, 9)])
def test_output_equals_the_equations(config: dict[str, int], size: tuple[int, int]) -> None:
    state = random_state(config)
    module = build(config).double()
    module.load_state_dict(state)
    x = torch.rand(2, config["in_channels"], *size, dtype=torch.float64)
    with torch.no_grad():
        output, expected = module(x), spanv2_by_the_equations(x, state, config["blocks"], config["scale"])
    assert output.shape == (2, config["in_channels"], config["scale"] * size[0], config["scale"] * size[1])
    # float64 rounding over about 20 layers; a wrong channel order or a missing ReLU differs by whole units
    assert (output - expected).abs().max() <= 1e-12 * expected.abs().max()


def test_the_official_checkpoint_loads_and_upscales() -> None:
    path = OFFICIAL / "spanv2_x4_official.pth"
    if not path.is_file():
        pytest.skip(f"{path} is missing; set EDGESR_SHARED to the folder that holds checkpoints/")
    state = load_state_dict(path)
    assert deduce(state) == RELEASED_CONFIG
    module = build(RELEASED_CONFIG)
    module.load_state_dict(state)
    grey = torch.full((1, 3, 16, 16), 0.5)
    with torch.no_grad():
        output = module(grey)
    # a flat picture stays flat, away from the zero padding at the border
    assert (output[..., 28:36, 28:36] - 0.5).abs().max() < 0.02


def test_an_untrained_network_is_near_nearest_neighbour() -> None:
    torch.manual_seed(0)
    x = torch.rand(1, 3, 9, 6)
    with torch.no_grad():
        output = SPANV2()(x)
    assert (output - F.interpolate(x, scale_factor=4.0, mode="nearest")).abs().mean() < 0.02


def test_forward_leaves_its_input_alone() -> None:
    x = torch.rand(1, 3, 6, 6)
    before = x.clone()
    with torch.no_grad():
        SPANV2()(x)
    assert torch.equal(x, before)


@pytest.mark.parametrize("field", ["channels", "blocks", "scale", "in_channels"])
def test_impossible_hyperparameters_are_refused(field: str) -> None:
    with pytest.raises(ValueError, match=f"{field}=0"):
        build(RELEASED_CONFIG | {field: 0})


@pytest.mark.parametrize("config", CONFIGS)
def test_deduce_reads_the_config_from_shapes(config: dict[str, int]) -> None:
    assert deduce(random_state(config)) == config


def test_signature_keys_are_keys_of_the_network() -> None:
    assert set(ARCHITECTURE.signature_keys) <= RELEASED_KEYS


@pytest.mark.parametrize("key", sorted(RELEASED_KEYS - {"block_5.guidance_map_conv.bias"}))
def test_deduce_names_one_missing_key_and_no_other(key: str) -> None:
    state = random_state(RELEASED_CONFIG)
    del state[key]
    with pytest.raises(CheckpointError) as caught:
        deduce(state)
    assert f"keys 1 missing ({key});" in str(caught.value)


@pytest.mark.parametrize("key", sorted(RELEASED_KEYS))
@pytest.mark.parametrize("axis", [0, 1])
def test_deduce_names_one_misshapen_key_and_no_other(key: str, axis: int) -> None:
    state = random_state(RELEASED_CONFIG)
    axis = min(axis, state[key].ndim - 1)
    state[key] = torch.cat([state[key]] * 2, dim=axis)
    if key == "block_1.c1.conv.weight" and axis == 1:
        state[key] = state[key][:, :5]
    with pytest.raises(CheckpointError) as caught:
        deduce(state)
    message = str(caught.value)
    assert f"keys 1 misshapen ({key} {tuple(state[key].shape)} instead of (" in message
    assert "missing" not in message and "unexpected" not in message


def test_deduce_shortens_long_lists_and_reports_all_kinds() -> None:
    state = random_state(RELEASED_CONFIG)
    for key in [key for key in state if key.startswith("block_3")]:
        del state[key]
    state["extra.weight"] = torch.zeros(2)
    state["conv_near.weight"] = torch.zeros(48, 1, 5, 5, dtype=torch.float64)
    with pytest.raises(CheckpointError) as caught:
        deduce(state)
    message = str(caught.value)
    assert "5 missing (block_3.c1.conv.weight" in message and "and 1 more)" in message
    assert "1 unexpected (extra.weight)" in message
    assert "1 misshapen (conv_near.weight (48, 1, 5, 5) instead of (48, 1, 3, 3))" in message
    assert "\n" not in message


@pytest.mark.parametrize("shape", [(), (0,), (0, 0, 0, 0), (48,), (2, 3)])
@pytest.mark.parametrize("key", ["block_1.c1.conv.weight", "conv_near.weight", "block_2.guidance_map_conv.bias"])
def test_deduce_survives_degenerate_shapes(key: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(CheckpointError, match="misshapen"):
        deduce(random_state(RELEASED_CONFIG) | {key: torch.zeros(shape)})


@pytest.mark.parametrize("key", sorted(RELEASED_KEYS))
def test_deduce_of_one_key_names_what_is_missing(key: str) -> None:
    with pytest.raises(CheckpointError, match="missing"):
        deduce({key: torch.zeros(1, 1, 1, 1)})


def test_deduce_of_nothing_names_what_is_missing() -> None:
    with pytest.raises(CheckpointError, match=r"26 missing \(.* and 22 more\)"):
        deduce({})
