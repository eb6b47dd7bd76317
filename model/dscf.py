"""DSCF as its team fused it: SPAN with what is linear composed, so that fewer convolutions are left.

    x0 = 255 (x - mean)                                                                   (`span`)
    f  = conv_1 x0,    g = conv_fused x0                      g: block 1's c1 after conv_1, as one 5x5
    b_1 = (o + f) * (sigmoid(o) - 1/2),  o = c3 silu(c2 silu g);   b_k = SPAB_k(b_{k-1}), k = 2..K
    t  = conv_cat_other(concat[f, b_1, silu(c1 b_{K-1})]) + conv2_fused b_K               1x1, and 3x3 without bias
    y  = PixelShuffle_s(upsampler t)                                                      3x3

Input (N, 3, H, W) and output (N, 3, s*H, s*W), both in [0, 1]; any H and W. NTIRE 2026, team 15: x4, 26 channels, 6
blocks. The 5x5 differs from the two 3x3 on the outermost pixel; it was released and scored, so it is the network.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgesr.architecture import Architecture
from edgesr.model.deduction import channels_of, highest_index, require_network, scale_of
from edgesr.model.spab import SPAB, EvalConv, attended, run_blocks
from edgesr.model.span import IN_CHANNELS, Centred

BLOCK_KEY = re.compile(r"block_(\d{1,3})\.c\d_r\.eval_conv\.weight")
FIRST_KEY = "conv_1.eval_conv.weight"


class FirstBlock(nn.Module):
    """A SPAB whose first convolution was composed into the one before."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.c2_r = EvalConv(channels, channels)
        self.c3_r = EvalConv(channels, channels)

    def forward(self, x: Tensor, first: Tensor) -> Tensor:
        """The block's output (N, channels, H, W), given its input and c1 of it."""
        return attended(x, self.c3_r(F.silu(self.c2_r(F.silu(first)))))


class DSCF(nn.Module):
    """The whole network; see the module's docstring for its equations."""

    def __init__(self, channels: int = 26, blocks: int = 6, scale: int = 4) -> None:
        super().__init__()
        self.scale = scale
        self.centred = Centred()
        self.conv_1 = EvalConv(IN_CHANNELS, channels)
        self.conv_fused = nn.Conv2d(IN_CHANNELS, channels, 5, padding=2)
        self.block_1 = FirstBlock(channels)
        self.block_names = [f"block_{index}" for index in range(2, blocks + 1)]
        for name in self.block_names:
            self.add_module(name, SPAB(channels, channels))
        self.conv_cat_other = nn.Conv2d(3 * channels, channels, 1)
        self.conv2_fused = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.upsampler = nn.Sequential(nn.Conv2d(channels, IN_CHANNELS * scale * scale, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, 3, H, W) to (N, 3, scale*H, scale*W)."""
        x = self.centred(x)
        features = self.conv_1(x)
        start = self.block_1(features, self.conv_fused(x))
        outputs, first = run_blocks(map(self.get_submodule, self.block_names), start)
        mixed = self.conv_cat_other(torch.cat([features, start, F.silu(first)], dim=1)) + self.conv2_fused(outputs[-1])
        return F.pixel_shuffle(self.upsampler(mixed), self.scale)


def deduce(state: Mapping[str, Tensor]) -> dict[str, int]:
    """Read the hyperparameters from `state`'s shapes; raise CheckpointError where they do not fit."""
    config = {
        "channels": channels_of(state, FIRST_KEY, 26),
        "blocks": max(2, highest_index(state, BLOCK_KEY, 6)),
        "scale": scale_of(channels_of(state, "upsampler.0.weight", 48), IN_CHANNELS),
        "in_channels": IN_CHANNELS,
    }
    require_network("dscf", state, lambda: build(config))
    return config


def build(config: Mapping[str, int]) -> DSCF:
    """Make the untrained network for a config that `deduce` returned."""
    return DSCF(config["channels"], config["blocks"], config["scale"])


ARCHITECTURE = Architecture(
    name="dscf",
    summary="DSCF (fused): SPAN with its linear parts composed; NTIRE 2026, team 15",
    signature_keys=(FIRST_KEY, "conv_fused.weight", "conv_cat_other.weight", "conv2_fused.weight"),
    deduce=deduce,
    build=build,
    defaults={"channels": 26, "blocks": 6, "scale": 4, "in_channels": IN_CHANNELS},
)
