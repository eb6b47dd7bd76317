"""The architectures beside SPANV2, on seeded random weights, against their equations written out without a module."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from edgesr.architecture import Architecture
from edgesr.errors import CheckpointError
from edgesr.images import load_rgb, pair_folders
from edgesr.model.registry import ARCHITECTURES, find_architecture, load_model, recognise
from edgesr.runtime.metrics import psnr_db, psnr_y_db

State = dict[str, Tensor]
MEAN = torch.tensor([0.4488, 0.4371, 0.4040]).double().view(1, 3, 1, 1)  # float32, as released


def conv(w: State, key: str, x: Tensor, padding: int = 1, stride: int = 1, groups: int = 1) -> Tensor:
    return F.conv2d(x, w[f"{key}.weight"], w.get(f"{key}.bias"), stride, padding, 1, groups)


def silu(x: Tensor) -> Tensor:
    return x / (1 + (-x).exp())


def leaky(x: Tensor, slope: float) -> Tensor:
    return torch.where(x > 0, x, slope * x)


def attention(x: Tensor, o: Tensor) -> Tensor:
    return (o + x) * (1 / (1 + (-o).exp()) - 0.5)


def shuffled(x: Tensor, scale: int) -> Tensor:
    n, c, h, w = x.shape
    cells = x.reshape(n, c // scale**2, scale, scale, h, w).permute(0, 1, 4, 2, 5, 3)
    return cells.reshape(n, c // scale**2, scale * h, scale * w)


def spab(w: State, name: str, x: Tensor) -> tuple[Tensor, Tensor]:
    c1 = conv(w, f"{name}.c1_r.eval_conv", x)
    o = conv(w, f"{name}.c3_r.eval_conv", silu(conv(w, f"{name}.c2_r.eval_conv", silu(c1))))
    return attention(x, o), c1


def span(w: State, x: Tensor, blocks: int, scale: int) -> Tensor:
    f = y = conv(w, "conv_1.eval_conv", 255 * (x - MEAN))
    outputs = []
    for k in range(1, blocks + 1):
        y, c1 = spab(w, f"block_{k}", y)
        outputs.append(y)
    parts = [f, conv(w, "conv_2.eval_conv", y), outputs[0], silu(c1)]
    return shuffled(conv(w, "upsampler.0", conv(w, "conv_cat", torch.cat(parts, 1), 0)), scale)


def spanf(w: State, x: Tensor, blocks: int, scale: int, mix: str, last: str) -> Tensor:
    near = conv(w, "conv_near", x, groups=x.shape[1])
    c = partial(conv, w)
    first = y = c("block_1.c3_r.eval_conv", silu(c("block_1.c2_r.eval_conv", silu(c("block_1.c1_r.eval_conv", x)))))
    for k in range(2, blocks + 1):
        y, _ = spab(w, f"block_{k}", y)
    return shuffled(conv(w, f"{last}.eval_conv", conv(w, mix, torch.cat([near, y, first], 1), 0)), scale)


def disp(w: State, x: Tensor, blocks: int, scale: int) -> Tensor:
    f = y = conv(w, "conv_1.eval_conv", x)
    for k in range(blocks):
        o = y
        for name in ("c1_r", "c2_r", "_extern_conv_block.0", "c3_r"):
            o = silu(conv(w, f"blocks.{k}.{name}.eval_conv", o))
        y = y + o
    return shuffled(conv(w, "upsampler.0", conv(w, "conv_2", y, 0) + f), scale)


def dscf(w: State, x: Tensor, blocks: int, scale: int) -> Tensor:
    x = 255 * (x - MEAN)
    f, g = conv(w, "conv_1.eval_conv", x), conv(w, "conv_fused", x, 2)
    first = y = attention(f, conv(w, "block_1.c3_r.eval_conv", silu(conv(w, "block_1.c2_r.eval_conv", silu(g)))))
    for k in range(2, blocks + 1):
        y, c1 = spab(w, f"block_{k}", y)
    mixed = conv(w, "conv_cat_other", torch.cat([f, first, silu(c1)], 1), 0) + conv(w, "conv2_fused", y)
    return shuffled(conv(w, "upsampler.0", mixed), scale)


def errn2(w: State, x: Tensor, blocks: int, scale: int) -> Tensor:
    f = y = conv(w, "conv_1", x)
    for k in range(1, blocks + 1):
        o = y
        for i in (1, 2, 3):
            o = leaky(conv(w, f"block_{k}.rep{i}.rep_conv", o), 0.1)
        y = attention(y, conv(w, f"block_{k}.rep4.rep_conv", o))
    return shuffled(conv(w, "upsampler.0", conv(w, "conv_2", y) + f), scale)


def rfdn_span(w: State, x: Tensor, blocks: int, scale: int) -> Tensor:
    f = y = conv(w, "fea_conv", x)
    outputs = []
    for k in range(1, blocks + 1):
        rest, aside = y, []
        for i in (1, 2, 3):
            aside.append(leaky(conv(w, f"B{k}.c{i}_d", rest, 0), 0.05))
            rest = leaky(conv(w, f"B{k}.c{i}_r", rest) + rest, 0.05)
        aside.append(leaky(conv(w, f"B{k}.c4", rest), 0.05))
        y = attention(y, conv(w, f"B{k}.c5", torch.cat(aside, 1), 0))
        outputs.append(y)
    joined = leaky(conv(w, "c.0", torch.cat(outputs, 1), 0), 0.05)
    return shuffled(conv(w, "upsampler.0", conv(w, "LR_conv", joined) + f), scale)


def lite_denoise(w: State, x: Tensor, blocks: int, scale: int) -> Tensor:
    def block(name: str, y: Tensor) -> Tensor:
        return (conv(w, f"{name}.conv2", conv(w, f"{name}.conv1", y).clamp(min=0)) + y).clamp(min=0)

    y, skips = conv(w, "in_conv", x), []
    for k in range(blocks):
        skips.append(block(f"eb{k}", y))
        y = conv(w, f"down{k}.0", skips[-1], stride=2).clamp(min=0)
    y = block("bottleneck", y)
    for k in reversed(range(blocks)):
        wide = y.repeat_interleave(2, 2).repeat_interleave(2, 3)
        y = block(f"db{k}", conv(w, f"up{k}", torch.cat([wide, skips[k]], 1)))
    return (x + conv(w, "out_conv", y)).clamp(0, 1)


@dataclass(frozen=True)
class Case:
    """An architecture with the released config, a small other one, and its equations."""

    name: str
    equations: Callable[..., Tensor]
    released: dict[str, int]
    other: dict[str, int]
    parameters: int
    blocks: int | None = None

    @property
    def architecture(self) -> Architecture:
        return find_architecture(self.name)


CASES = [
    Case("span", span, {"channels": 28, "blocks": 6, "scale": 4, "in_channels": 3},
         {"channels": 6, "blocks": 2, "scale": 2, "in_channels": 3}, 150_688),
    Case("pkdsr", partial(spanf, mix="conv_cat", last="conv_2"),
         {"channels": 32, "blocks": 5, "tail": 24, "scale": 4, "in_channels": 3},
         {"channels": 6, "blocks": 3, "tail": 5, "scale": 3, "in_channels": 1}, 143_928),
    Case("pds", partial(spanf, mix="conv_cat_1", last="conv_2_1"),
         {"channels": 32, "blocks": 5, "tail": 20, "scale": 4, "in_channels": 3},
         {"channels": 4, "blocks": 2, "tail": 7, "scale": 2, "in_channels": 4}, 141_748),
    Case("disp", disp, {"channels": 32, "blocks": 4, "extra": 1, "scale": 4, "in_channels": 3},
         {"channels": 6, "blocks": 2, "extra": 1, "scale": 3, "in_channels": 1}, 163_792),
    Case("dscf", dscf, {"channels": 26, "blocks": 6, "scale": 4, "in_channels": 3},
         {"channels": 5, "blocks": 3, "scale": 2, "in_channels": 3}, 125_992),
    Case("errn2", errn2, {"channels": 32, "blocks": 6, "scale": 4, "in_channels": 3},
         {"channels": 5, "blocks": 2, "scale": 2, "in_channels": 1}, 245_968),
    Case("rfdn_span", rfdn_span,
         {"channels": 46, "blocks": 4, "distilled": 23, "scale": 4, "in_channels": 3},
         {"channels": 6, "blocks": 2, "distilled": 3, "scale": 2, "in_channels": 3}, 346_152),
    Case("lite_denoise", lite_denoise, {"width": 16, "scale": 1, "in_channels": 3},
         {"width": 4, "scale": 1, "in_channels": 1}, 1_963_411, blocks=4),
]  # fmt: skip
cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def random_state(case: Case, config: dict[str, int], seed: int = 0) -> State:
    """Weights far from the initialisation that keep the size of what they read."""
    generator = torch.Generator().manual_seed(seed)
    return {
        key: torch.randn(value.shape, generator=generator, dtype=torch.float64)
        / (2 if value.ndim == 1 else value[0].numel()) ** (1 if value.ndim == 1 else 0.5)
        for key, value in case.architecture.build(config).state_dict().items()
    }


@cases
def test_the_released_network_has_its_size(case: Case) -> None:
    module = case.architecture.build(case.released)
    assert sum(p.numel() for p in module.parameters()) == case.parameters


@cases
@pytest.mark.parametrize("which", ["released", "other"])
@pytest.mark.parametrize("size", [(7, 5), (1, 1), (2, 9)])
def test_output_equals_the_equations(case: Case, which: str, size: tuple[int, int]) -> None:
    config = getattr(case, which)
    state = random_state(case, config)
    module = case.architecture.build(config).double()
    module.load_state_dict(state)
    size = (size[0] * case.architecture.size_multiple, size[1] * case.architecture.size_multiple)
    x = torch.rand(2, config["in_channels"], *size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    before = x.clone()
    with torch.no_grad():
        output = module(x)
        expected = case.equations(state, x, case.blocks or config["blocks"], config["scale"])
    assert output.shape == (2, config["in_channels"], config["scale"] * size[0], config["scale"] * size[1])
    assert (output - expected).abs().max() <= 1e-11 * expected.abs().max()
    assert torch.equal(x, before)


@cases
@pytest.mark.parametrize("which", ["released", "other"])
def test_weights_are_recognised_and_their_config_read(case: Case, which: str, tmp_path: Path) -> None:
    config = getattr(case, which)
    state = {key: value.float() for key, value in random_state(case, config).items()}
    assert recognise(state) is case.architecture
    assert case.architecture.deduce(state) == config
    path = tmp_path / "weights.safetensors"
    save_file(state, path)
    model = load_model(weights=path)
    assert (model.name, model.architecture) == (f"{case.name}_x{config['scale']}", case.name)
    assert model.size_multiple == case.architecture.size_multiple and model.config == config


@cases
def test_damaged_weights_are_refused_by_name(case: Case) -> None:
    state = random_state(case, case.released)
    for key in list(state):
        doubled = state | {key: torch.cat([state[key]] * 2)}
        with pytest.raises(CheckpointError, match=rf"not a {case.name} checkpoint.*misshapen") as caught:
            case.architecture.deduce(doubled)
        assert "\n" not in str(caught.value)
        without = {k: v for k, v in state.items() if k != key}
        with pytest.raises(CheckpointError, match=f"not a {case.name} checkpoint"):
            case.architecture.deduce(without)
    with pytest.raises(CheckpointError, match=r"1 unexpected \(head.weight\)"):
        case.architecture.deduce(state | {"head.weight": torch.ones(1)})
    with pytest.raises(CheckpointError, match="missing"):
        case.architecture.deduce({})


@cases
@pytest.mark.parametrize("shape", [(), (0,), (0, 0, 0, 0), (48,), (2, 3)])
def test_degenerate_shapes_are_refused(case: Case, shape: tuple[int, ...]) -> None:
    state = random_state(case, case.other)
    for key in case.architecture.signature_keys:
        with pytest.raises(CheckpointError, match="misshapen"):
            case.architecture.deduce(state | {key: torch.zeros(shape)})


def test_every_architecture_but_spanv2_is_here() -> None:
    assert {case.name for case in CASES} | {"spanv2"} == {architecture.name for architecture in ARCHITECTURES}


@cases
def test_weights_are_of_one_architecture_alone(case: Case) -> None:
    state = random_state(case, case.other)
    assert [a.name for a in ARCHITECTURES if a.recognises(state)] == [case.name]


RELEASED = {
    "span_x4_ntire2026_baseline.pth": ("span_x4", (29.855, 31.746), (26.596, 28.405)),
    "pds_x4.pth": ("pds_x4", (29.823, 31.760), (26.538, 28.366)),
    "disp_x4.pth": ("disp_x4", (30.039, 31.941), (26.653, 28.469)),
}
"""RGB and Y PSNR on Set5 and Set14 that the released code gives."""


@pytest.mark.parametrize("file", RELEASED)
def test_released_weights_reach_what_their_own_code_reaches(file: str, shared: Path) -> None:
    name, *expected = RELEASED[file]
    model = load_model(weights=shared / "checkpoints" / file)
    assert model.name == name
    for folder, (rgb, luma) in zip(("set5", "set14"), expected, strict=True):
        found = []
        for low, high in pair_folders(shared / "images" / folder / "LR", shared / "images" / folder / "HR"):
            x = torch.from_numpy(load_rgb(low)).permute(2, 0, 1)[None].float() / 255
            picture = (model.module(x)[0].permute(1, 2, 0).clamp(0, 1) * 255).round().numpy().astype(np.uint8)
            truth = load_rgb(high)
            found.append((psnr_db(picture, truth, 4), psnr_y_db(picture, truth, 4)))
        mean = np.mean(found, axis=0)
        assert mean == pytest.approx((rgb, luma), abs=1e-3), (folder, mean)


def test_near_misses_name_the_closest_architecture_first() -> None:
    state = dict.fromkeys(("conv_1.eval_conv.weight", "conv_fused.weight", "conv_cat_other.weight"), torch.ones(1))
    with pytest.raises(CheckpointError) as caught:
        recognise(state)
    first = re.search(r"\); (\w+) matches", str(caught.value))
    assert first is not None and first[1] == "dscf", str(caught.value)
