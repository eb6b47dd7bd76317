"""LiteDenoiseNet: a U-Net for denoising made of what NPUs run natively.

Arxiv 2605.03680. With w = 16, the widths of the levels are w, 2w, 4w, 8w and 16w:

    block   : y = relu(conv2 relu(conv1 x) + x)           3x3, c -> c/2 -> c
    encoder : e_0 = eb0(in_conv x),   e_k = eb_k(relu(down_{k-1} e_{k-1})),   k = 1..3        down: 3x3, stride 2
    bottom  : d_4 = bottleneck(relu(down3 e_3))
    decoder : d_k = db_k(up_k concat[nearest_2(d_{k+1}), e_k]),   k = 3..0                    up: 3x3
    y       = clip(x + out_conv d_0, 0, 1)

Input and output (N, C, H, W) in [0, 1]; H and W are multiples of 16. All convolutions have a bias. w = 16 and C = 3 are
1,963,411 parameters.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgesr.architecture import Architecture
from edgesr.model.deduction import channels_of, require_network

LEVELS = 4
SIZE_MULTIPLE = 2**LEVELS
FIRST_KEY = "in_conv.weight"


class DenoisingBlock(nn.Module):
    """Two 3x3 convolutions through half the channels, and the residual."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels // 2, 3, padding=1)
        self.conv2 = nn.Conv2d(channels // 2, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, channels, H, W) to itself."""
        return F.relu(self.conv2(F.relu(self.conv1(x))) + x)


class LiteDenoiseNet(nn.Module):
    """The whole network; see the module's docstring for its equations."""

    def __init__(self, width: int = 16, in_channels: int = 3) -> None:
        super().__init__()
        if width < 2 or width % 2 or in_channels < 1:
            raise ValueError(f"LiteDenoiseNet: {width=}, {in_channels=}: need an even width, at least one channel")
        widths = [width << level for level in range(LEVELS + 1)]
        self.in_conv = nn.Conv2d(in_channels, width, 3, padding=1)
        for level in range(LEVELS):
            narrow, wide = widths[level], widths[level + 1]
            self.add_module(f"eb{level}", DenoisingBlock(narrow))
            self.add_module(f"down{level}", nn.Sequential(nn.Conv2d(narrow, wide, 3, stride=2, padding=1), nn.ReLU()))
        self.bottleneck = DenoisingBlock(widths[-1])
        for level in reversed(range(LEVELS)):
            narrow, wide = widths[level], widths[level + 1]
            self.add_module(f"up{level}", nn.Conv2d(wide + narrow, narrow, 3, padding=1))
            self.add_module(f"db{level}", DenoisingBlock(narrow))
        self.out_conv = nn.Conv2d(width, in_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to itself, for H and W multiples of 16."""
        y = self.in_conv(x)
        skips = []
        for level in range(LEVELS):
            skips.append(self.get_submodule(f"eb{level}")(y))
            y = self.get_submodule(f"down{level}")(skips[-1])
        y = self.bottleneck(y)
        for level in reversed(range(LEVELS)):
            wide = F.interpolate(y, scale_factor=2.0, mode="nearest")
            y = self.get_submodule(f"up{level}")(torch.cat([wide, skips[level]], dim=1))
            y = self.get_submodule(f"db{level}")(y)
        restored: Tensor = x + self.out_conv(y)
        return restored.clamp(0, 1)


def deduce(state: Mapping[str, Tensor]) -> dict[str, int]:
    """Read the hyperparameters from `state`'s shapes; raise CheckpointError where they do not fit."""
    width = channels_of(state, FIRST_KEY, 16)
    config = {
        "width": width + width % 2,
        "scale": 1,
        "in_channels": channels_of(state, FIRST_KEY, 3, axis=1),
    }
    require_network("lite_denoise", state, lambda: build(config))
    return config


def build(config: Mapping[str, int]) -> LiteDenoiseNet:
    """Make the untrained network for a config that `deduce` returned."""
    return LiteDenoiseNet(config["width"], config["in_channels"])


ARCHITECTURE = Architecture(
    name="lite_denoise",
    summary="LiteDenoiseNet: a U-Net of NPU-native operators for denoising, x1; sizes are multiples of 16",
    signature_keys=(FIRST_KEY, "eb0.conv1.weight", "down3.0.weight", "bottleneck.conv1.weight", "out_conv.weight"),
    deduce=deduce,
    build=build,
    defaults={"width": 16, "scale": 1, "in_channels": 3},
    size_multiple=SIZE_MULTIPLE,
)
