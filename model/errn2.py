"""ERRN2: residual blocks of four convolutions with LeakyReLU and SPAN's attention without parameters.

    f     = conv_1 x
    block : o = rep4 leaky(rep3 leaky(rep2 leaky(rep1 x))),   y = (o + x) * (sigmoid(o) - 1/2)        slope 0.1
    y     = PixelShuffle_s(upsampler(conv_2 b_K + f))                                                 all 3x3

Input (N, C, H, W) and output (N, C, s*H, s*W), both in [0, 1] with no mean subtraction; any H and W. NTIRE
2026, team 20: x4, 32 channels, 6 blocks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional as F

from edgesr.architecture import Architecture
from edgesr.model.deduction import channels_of, highest_index, require_network, scale_of
from edgesr.model.spab import attended

SLOPE = 0.1
BLOCK_KEY = re.compile(r"block_(\d{1,3})\.rep\d\.rep_conv\.weight")


class MergedConv(nn.Module):
    """A 3x3 convolution with bias under the released key names `rep_conv.weight` and `rep_conv.bias`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.rep_conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, H, W) to itself."""
        out: Tensor = self.rep_conv(x)
        return out


class AttendedBlock(nn.Module):
    """Four convolutions and the attention of the last."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.rep1 = MergedConv(channels)
        self.rep2 = MergedConv(channels)
        self.rep3 = MergedConv(channels)
        self.rep4 = MergedConv(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, H, W) to itself."""
        y = x
        for convolution in (self.rep1, self.rep2, self.rep3):
            y = F.leaky_relu(convolution(y), SLOPE)
        return attended(x, self.rep4(y))


class ERRN2(nn.Module):
    """The whole network; see the module's docstring for its equations."""

    def __init__(self, channels: int = 32, blocks: int = 6, scale: int = 4, in_channels: int = 3) -> None:
        super().__init__()
        self.scale = scale
        self.conv_1 = nn.Conv2d(in_channels, channels, 3, padding=1)
        self.block_names = [f"block_{index}" for index in range(1, blocks + 1)]
        for name in self.block_names:
            self.add_module(name, AttendedBlock(channels))
        self.conv_2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.upsampler = nn.Sequential(nn.Conv2d(channels, in_channels * scale * scale, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, in_channels, scale*H, scale*W)."""
        features = y = self.conv_1(x)
        for name in self.block_names:
            y = self.get_submodule(name)(y)
        return F.pixel_shuffle(self.upsampler(self.conv_2(y) + features), self.scale)


def deduce(state: Mapping[str, Tensor]) -> dict[str, int]:
    """Read the hyperparameters from `state`'s shapes; raise CheckpointError where they do not fit."""
    in_channels = channels_of(state, "conv_1.weight", 3, axis=1)
    config = {
        "channels": channels_of(state, "conv_1.weight", 32),
        "blocks": max(1, highest_index(state, BLOCK_KEY, 6)),
        "scale": scale_of(channels_of(state, "upsampler.0.weight", 48), in_channels),
        "in_channels": in_channels,
    }
    require_network("errn2", state, lambda: build(config))
    return config


def build(config: Mapping[str, int]) -> ERRN2:
    """Make the untrained network for a config that `deduce` returned."""
    return ERRN2(**config)


ARCHITECTURE = Architecture(
    name="errn2",
    summary="ERRN2: blocks of four convolutions with LeakyReLU and SPAN's attention; NTIRE 2026, team 20",
    signature_keys=("conv_1.weight", "block_1.rep1.rep_conv.weight", "conv_2.weight", "upsampler.0.weight"),
    deduce=deduce,
    build=build,
    defaults={"channels": 32, "blocks": 6, "scale": 4, "in_channels": 3},
)
