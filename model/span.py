"""SPAN: the swift parameter-free attention network, baseline of the NTIRE 2025 and 2026 challenges.

    x0   = 255 (x - mean),   mean = (0.4488, 0.4371, 0.4040)
    f    = conv_1 x0
    b_k  = SPAB_k(b_{k-1}),  b_0 = f                                                   (`spab`)
    t    = conv_cat(concat[f, conv_2 b_K, b_1, silu(c1 b_{K-1})])                      1x1; c1 is block K's first
    y    = PixelShuffle_s(upsampler t)                                                 3x3

Input (N, 3, H, W) and output (N, 3, s*H, s*W), both in [0, 1]; any H and W. Wan et al. 2024, arXiv 2311.12770. The
released x4 baseline has 28 channels and 6 blocks: 150,688 parameters. Checkpoints with training branches load too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgesr.architecture import Architecture
from edgesr.model.deduction import channels_of, highest_index, require_network, scale_of
from edgesr.model.spab import SPAB, EvalConv, run_blocks

MEAN = (0.4488, 0.4371, 0.4040)
"""Of the RGB images of DIV2K, on [0, 1]."""
RANGE = 255.0
IN_CHANNELS = len(MEAN)
BLOCK_KEY = re.compile(r"block_(\d{1,3})\.c\d_r\.eval_conv\.weight")
FIRST_KEY = "conv_1.eval_conv.weight"


class Centred(nn.Module):
    """255 (x - mean), channel by channel; the mean is float32 as in the released code, and no key of a checkpoint."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN).view(1, -1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, 3, H, W) in [0, 1] to itself."""
        return (x - self.mean) * RANGE


class SPAN(nn.Module):
    """The whole network; see the module's docstring for its equations."""

    def __init__(self, channels: int = 28, blocks: int = 6, scale: int = 4) -> None:
        super().__init__()
        self.scale = scale
        self.centred = Centred()
        self.conv_1 = EvalConv(IN_CHANNELS, channels)
        self.block_names = [f"block_{index}" for index in range(1, blocks + 1)]
        for name in self.block_names:
            self.add_module(name, SPAB(channels, channels))
        self.conv_cat = nn.Conv2d(4 * channels, channels, 1)
        self.conv_2 = EvalConv(channels, channels)
        self.upsampler = nn.Sequential(nn.Conv2d(channels, IN_CHANNELS * scale * scale, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, 3, H, W) to (N, 3, scale*H, scale*W)."""
        features = self.conv_1(self.centred(x))
        outputs, first = run_blocks(map(self.get_submodule, self.block_names), features)
        joined = torch.cat([features, self.conv_2(outputs[-1]), outputs[0], F.silu(first)], dim=1)
        return F.pixel_shuffle(self.upsampler(self.conv_cat(joined)), self.scale)


def deduce(state: Mapping[str, Tensor]) -> dict[str, int]:
    """Read the hyperparameters from `state`'s shapes; raise CheckpointError where they do not fit."""
    config = {
        "channels": channels_of(state, FIRST_KEY, 28),
        "blocks": max(2, highest_index(state, BLOCK_KEY, 6)),
        "scale": scale_of(channels_of(state, "upsampler.0.weight", 48), IN_CHANNELS),
        "in_channels": IN_CHANNELS,
    }
    require_network("span", state, lambda: build(config))
    return config


def build(config: Mapping[str, int]) -> SPAN:
    """Make the untrained network for a config that `deduce` returned."""
    return SPAN(config["channels"], config["blocks"], config["scale"])


ARCHITECTURE = Architecture(
    name="span",
    summary="SPAN: attention without parameters; baseline of the NTIRE 2025 and 2026 challenges",
    signature_keys=(FIRST_KEY, "block_1.c1_r.eval_conv.weight", "conv_cat.weight", "conv_2.eval_conv.weight"),
    deduce=deduce,
    build=build,
    defaults={"channels": 28, "blocks": 6, "scale": 4, "in_channels": IN_CHANNELS},
)
