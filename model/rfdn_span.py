"""RFDN_SPAN: residual feature distillation with SPAN's attention in place of RFDN's.

    f       = fea_conv x
    block B : d1 = leaky(c1_d x),   r1 = leaky(c1_r x + x)
              d2 = leaky(c2_d r1),  r2 = leaky(c2_r r1 + r1)
              d3 = leaky(c3_d r2),  r3 = leaky(c3_r r2 + r2),   r4 = leaky(c4 r3)
              o  = c5 concat[d1, d2, d3, r4],   y = (o + x) * (sigmoid(o) - 1/2)
    y       = PixelShuffle_s(upsampler(LR_conv(leaky(c(concat[B1..BK]))) + f))

c1_d, c2_d, c3_d, c5 and c are 1x1, the others 3x3; the slope is 0.05; a distilled feature has half the channels. Input
(N, C, H, W) and output (N, C, s*H, s*W), both in [0, 1]; any H and W. Liu et al. 2020 (RFDN, arXiv 2009.11551); NTIRE
2026, team 9: x4, 46 channels, 4 blocks. The team's own code was not at hand: where its report is silent, this is RFDN.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgesr.architecture import Architecture
from edgesr.model.deduction import channels_of, highest_index, require_network, scale_of
from edgesr.model.spab import attended

SLOPE = 0.05
BLOCK_KEY = re.compile(r"B(\d{1,3})\.c\d_r\.weight")
FIRST_KEY = "fea_conv.weight"


def leaky(x: Tensor) -> Tensor:
    """LeakyReLU with the network's slope."""
    return F.leaky_relu(x, SLOPE)


class DistillationBlock(nn.Module):
    """Three steps that each put half of their channels aside, joined by a 1x1 convolution, then attention."""

    def __init__(self, channels: int, distilled: int) -> None:
        super().__init__()
        for step in (1, 2, 3):
            self.add_module(f"c{step}_d", nn.Conv2d(channels, distilled, 1))
            self.add_module(f"c{step}_r", nn.Conv2d(channels, channels, 3, padding=1))
        self.c4 = nn.Conv2d(channels, distilled, 3, padding=1)
        self.c5 = nn.Conv2d(4 * distilled, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, H, W) to itself."""
        rest, aside = x, []
        for step in (1, 2, 3):
            aside.append(leaky(self.get_submodule(f"c{step}_d")(rest)))
            rest = leaky(self.get_submodule(f"c{step}_r")(rest) + rest)
        aside.append(leaky(self.c4(rest)))
        return attended(x, self.c5(torch.cat(aside, dim=1)))


class RFDNSPAN(nn.Module):
    """The whole network; see the module's docstring for its equations."""

    def __init__(
        self, channels: int = 46, blocks: int = 4, distilled: int = 23, scale: int = 4, in_channels: int = 3
    ) -> None:
        super().__init__()
        self.scale = scale
        self.fea_conv = nn.Conv2d(in_channels, channels, 3, padding=1)
        self.block_names = [f"B{index}" for index in range(1, blocks + 1)]
        for name in self.block_names:
            self.add_module(name, DistillationBlock(channels, distilled))
        self.c = nn.Sequential(nn.Conv2d(channels * blocks, channels, 1))
        self.LR_conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.upsampler = nn.Sequential(nn.Conv2d(channels, in_channels * scale * scale, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, in_channels, scale*H, scale*W)."""
        features = y = self.fea_conv(x)
        outputs = []
        for name in self.block_names:
            y = self.get_submodule(name)(y)
            outputs.append(y)
        joined = leaky(self.c(torch.cat(outputs, dim=1)))
        return F.pixel_shuffle(self.upsampler(self.LR_conv(joined) + features), self.scale)


def deduce(state: Mapping[str, Tensor]) -> dict[str, int]:
    """Read the hyperparameters from `state`'s shapes; raise CheckpointError where they do not fit."""
    in_channels = channels_of(state, FIRST_KEY, 3, axis=1)
    channels = channels_of(state, FIRST_KEY, 46)
    config = {
        "channels": channels,
        "blocks": max(1, highest_index(state, BLOCK_KEY, 4)),
        "distilled": channels_of(state, "B1.c1_d.weight", max(1, channels // 2)),
        "scale": scale_of(channels_of(state, "upsampler.0.weight", 48), in_channels),
        "in_channels": in_channels,
    }
    require_network("rfdn_span", state, lambda: build(config))
    return config


def build(config: Mapping[str, int]) -> RFDNSPAN:
    """Make the untrained network for a config that `deduce` returned."""
    return RFDNSPAN(**config)


ARCHITECTURE = Architecture(
    name="rfdn_span",
    summary="RFDN_SPAN: residual feature distillation with SPAN's attention; NTIRE 2026, team 9",
    signature_keys=(FIRST_KEY, "B1.c1_d.weight", "B1.c5.weight", "LR_conv.weight", "upsampler.0.weight"),
    deduce=deduce,
    build=build,
    defaults={"channels": 46, "blocks": 4, "distilled": 23, "scale": 4, "in_channels": 3},
)
