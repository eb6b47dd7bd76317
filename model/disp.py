"""DISP (released as TSSR): plain residual blocks of four convolutions with SiLU.

    f     = conv_1 x
    block : y = x + silu(c3 silu(e silu(c2 silu(c1 x))))       3x3; e is `_extern_conv_block.0`
    y     = PixelShuffle_s(upsampler(conv_2 b_K + f))          conv_2 is 1x1, the upsampler 3x3

Input (N, C, H, W) and output (N, C, s*H, s*W), both in [0, 1] with no mean subtraction; any H and W. NTIRE
2026, team 18: x4, 32 channels, 4 blocks, 163,792 parameters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional as F

from edgesr.architecture import Architecture
from edgesr.model.deduction import channels_of, highest_index, require_network, scale_of
from edgesr.model.spab import EvalConv

BLOCK_KEY = re.compile(r"blocks\.(\d{1,3})\..+")
EXTERN_KEY = re.compile(r"blocks\.\d{1,3}\._extern_conv_block\.(\d{1,3})\..+")
FIRST_KEY = "conv_1.eval_conv.weight"


class ResidualBlock(nn.Module):
    """`extra` convolutions between the second and the last, each followed by SiLU; then the residual."""

    def __init__(self, channels: int, extra: int) -> None:
        super().__init__()
        self._extern_conv_block = nn.ModuleList(EvalConv(channels, channels) for _ in range(extra))
        self.c1_r = EvalConv(channels, channels)
        self.c2_r = EvalConv(channels, channels)
        self.c3_r = EvalConv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, H, W) to itself."""
        y = x
        for convolution in (self.c1_r, self.c2_r, *self._extern_conv_block, self.c3_r):
            y = F.silu(convolution(y))
        return y + x


class DISP(nn.Module):
    """The whole network; see the module's docstring for its equations."""

    def __init__(
        self, channels: int = 32, blocks: int = 4, extra: int = 1, scale: int = 4, in_channels: int = 3
    ) -> None:
        super().__init__()
        self.scale = scale
        self.conv_1 = EvalConv(in_channels, channels)
        self.blocks = nn.Sequential(*(ResidualBlock(channels, extra) for _ in range(blocks)))
        self.conv_2 = nn.Conv2d(channels, channels, 1)
        self.upsampler = nn.Sequential(nn.Conv2d(channels, in_channels * scale * scale, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, in_channels, scale*H, scale*W)."""
        features = self.conv_1(x)
        return F.pixel_shuffle(self.upsampler(self.conv_2(self.blocks(features)) + features), self.scale)


def deduce(state: Mapping[str, Tensor]) -> dict[str, int]:
    """Read the hyperparameters from `state`'s shapes; raise CheckpointError where they do not fit."""
    in_channels = channels_of(state, FIRST_KEY, 3, axis=1)
    config = {
        "channels": channels_of(state, FIRST_KEY, 32),
        "blocks": highest_index(state, BLOCK_KEY, 3) + 1,
        "extra": highest_index(state, EXTERN_KEY, -1) + 1,
        "scale": scale_of(channels_of(state, "upsampler.0.weight", 48), in_channels),
        "in_channels": in_channels,
    }
    require_network("disp", state, lambda: build(config))
    return config


def build(config: Mapping[str, int]) -> DISP:
    """Make the untrained network for a config that `deduce` returned."""
    return DISP(**config)


ARCHITECTURE = Architecture(
    name="disp",
    summary="DISP (TSSR): residual blocks of four convolutions with SiLU; NTIRE 2026, team 18",
    signature_keys=(FIRST_KEY, "blocks.0.c1_r.eval_conv.weight", "conv_2.weight", "upsampler.0.weight"),
    deduce=deduce,
    build=build,
    defaults={"channels": 32, "blocks": 4, "extra": 1, "scale": 4, "in_channels": 3},
)
