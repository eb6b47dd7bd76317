"""SPANV2: the swift parameter-free attention network that won the NTIRE 2026 Efficient Super-Resolution challenge.

Written from its equations; W, b are 1x1 weights and bias, c1..c3 are 3x3 convolutions without bias, padding is 1:

    near    = conv_near(x)                                       3x3, groups = in_channels, C -> C*s*s, no bias
    block 1 : y = relu(c3 relu(c2 relu(c1 x)))                   C -> channels
    block k : f3 = c3 relu(c2 relu(c1 y)),  y = (y + f3) * (W f3 + b)
    head    : PixelShuffle_s(pointwise(depthwise(concat[near, y])))

Input (N, C, H, W) and output (N, C, s*H, s*W), both in [0, 1] with no mean subtraction; any H and W.
The released x4 network has C = 3, 32 channels and 5 blocks: 139,104 parameters, 138,976 multiply-adds per input pixel.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isqrt

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgesr.architecture import Architecture
from edgesr.model.deduction import most_common, require_network

SIGNATURE_KEYS = (
    "block_1.c1.conv.weight",
    "block_2.guidance_map_conv.weight",
    "conv_near.weight",
    "depthwise_conv.weight",
    "pointwise_conv.weight",
)
BLOCK_KEY = re.compile(r"block_(\d{1,3})\.(c[123]\.conv\.weight|guidance_map_conv\.(?:weight|bias))")


class Conv3x3(nn.Module):
    """A 3x3 convolution without bias; the extra level gives the released key names `c1.conv.weight`."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H, W)."""
        out: Tensor = self.conv(x)
        return out


class PlainBlock(nn.Module):
    """Block 1: three convolutions, each followed by a ReLU, with neither residual nor gate."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.c1 = Conv3x3(in_channels, channels)
        self.c2 = Conv3x3(channels, channels)
        self.c3 = Conv3x3(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, channels, H, W)."""
        return F.relu(self.c3(F.relu(self.c2(F.relu(self.c1(x))))))


class GatedBlock(nn.Module):
    """Blocks 2..N: a residual multiplied by a gate that one 1x1 convolution reads from the block's features."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.c1 = Conv3x3(channels, channels)
        self.c2 = Conv3x3(channels, channels)
        self.c3 = Conv3x3(channels, channels)
        self.guidance_map_conv = nn.Conv2d(channels, channels, 1)
        # A gate of about one lets an untrained block pass its input through, so depth costs nothing at the start.
        nn.init.ones_(self.guidance_map_conv.bias)  # type: ignore[arg-type]  # bias is a Parameter: bias=True above

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, H, W) to itself."""
        features = self.c3(F.relu(self.c2(F.relu(self.c1(x)))))
        out: Tensor = (x + features) * self.guidance_map_conv(features)
        return out


class SPANV2(nn.Module):
    """The whole network; see the module's docstring for its equations."""

    def __init__(self, channels: int = 32, blocks: int = 5, scale: int = 4, in_channels: int = 3) -> None:
        super().__init__()
        if channels < 1 or blocks < 2 or scale < 1 or in_channels < 1:
            raise ValueError(
                f"SPANV2: {channels=}, {blocks=}, {scale=}, {in_channels=}: need 2 blocks, 1 of the others"
            )
        self.scale = scale
        shuffled = in_channels * scale * scale
        self.conv_near = nn.Conv2d(in_channels, shuffled, 3, padding=1, groups=in_channels, bias=False)
        self.block_names = [f"block_{index}" for index in range(1, blocks + 1)]
        self.add_module(self.block_names[0], PlainBlock(in_channels, channels))
        for name in self.block_names[1:]:
            self.add_module(name, GatedBlock(channels))
        self.depthwise_conv = nn.Conv2d(
            shuffled + channels, shuffled + channels, 3, padding=1, groups=shuffled + channels, bias=False
        )
        self.pointwise_conv = nn.Conv2d(shuffled + channels, shuffled, 1, bias=False)
        self._start_at_nearest()

    def _start_at_nearest(self) -> None:
        """Make the near branch repeat pixels through the head, and the deep branch a small correction.

        PixelShuffle puts channel c*s*s + i*s + j at (i, j) of the s x s cell, so every output channel of
        `conv_near` starts as the input channel of its group.
        """
        with torch.no_grad():
            for conv in (self.conv_near, self.depthwise_conv):
                conv.weight.zero_()
                conv.weight[:, :, 1, 1] = 1.0
            shuffled = self.pointwise_conv.out_channels
            self.pointwise_conv.weight[:, :shuffled, 0, 0] = torch.eye(shuffled)
            self.pointwise_conv.weight[:, shuffled:] *= 0.1

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, in_channels, scale*H, scale*W)."""
        near = self.conv_near(x)
        y = x
        for name in self.block_names:
            y = self.get_submodule(name)(y)
        head = self.pointwise_conv(self.depthwise_conv(torch.cat([near, y], dim=1)))
        return F.pixel_shuffle(head, self.scale)


def deduce(state: Mapping[str, Tensor]) -> dict[str, int]:
    """Read channels, blocks, scale and in_channels from `state`'s shapes; raise CheckpointError where they do not fit.

    Every number is the one that most keys agree on, so that one damaged tensor is reported as such, not all others.
    """
    config = _vote(state)
    require_network("spanv2", state, lambda: SPANV2(**config))
    return config


def _vote(state: Mapping[str, Tensor]) -> dict[str, int]:
    """Take the most common reading of each hyperparameter; the released network's where no key tells."""
    rows = {key: value.shape[0] for key, value in state.items() if value.ndim in (1, 4)}
    names = [match.groups() for match in map(BLOCK_KEY.fullmatch, rows) if match]
    channels = most_common([rows[f"block_{index}.{rest}"] for index, rest in names], default=32)
    blocks = max((int(index) for index, _ in names), default=5)
    in_channels, scale = _vote_on_head(state, rows, channels)
    return {"channels": max(1, channels), "blocks": max(2, blocks), "scale": scale, "in_channels": in_channels}


def _vote_on_head(state: Mapping[str, Tensor], rows: Mapping[str, int], channels: int) -> tuple[int, int]:
    """Split the head's in_channels * scale * scale rows into (in_channels, scale), by block 1's input where it fits."""
    beside = {"conv_near.weight": 0, "depthwise_conv.weight": channels, "pointwise_conv.weight": 0}
    shuffled = max(1, most_common([rows[key] - extra for key, extra in beside.items() if key in rows], default=48))
    first = state.get(SIGNATURE_KEYS[0])
    inputs = [first.shape[1]] if first is not None and first.ndim == 4 else []
    in_channels = next((c for c in (*inputs, 3, 1) if c > 0 and _is_square_multiple(shuffled, c)), 3)
    return in_channels, max(1, isqrt(shuffled // in_channels))


def _is_square_multiple(shuffled: int, in_channels: int) -> bool:
    """Whether `shuffled` is in_channels * scale * scale for a whole scale."""
    return in_channels * isqrt(shuffled // in_channels) ** 2 == shuffled


def build(config: Mapping[str, int]) -> SPANV2:
    """Make the untrained network for a config that `deduce` returned."""
    return SPANV2(config["channels"], config["blocks"], config["scale"], config["in_channels"])


ARCHITECTURE = Architecture(
    name="spanv2",
    summary="SPANV2, winner of the NTIRE 2026 Efficient Super-Resolution challenge: multiplicative gates, no attention",
    signature_keys=SIGNATURE_KEYS,
    deduce=deduce,
    build=build,
    defaults={"channels": 32, "blocks": 5, "scale": 4, "in_channels": 3},
)
