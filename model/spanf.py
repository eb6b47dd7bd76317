"""SPANF: SPAN without a first convolution, with SPANV2's near-pixel branch and a narrow tail (PDS, PKDSR).

    near = conv_near(x)                          3x3, groups = in_channels, C -> C*s*s, no bias
    b_1  = c3 silu(c2 silu(c1 x))                C -> channels, neither residual nor attention
    b_k  = SPAB_k(b_{k-1})                       (`spab`)
    y    = PixelShuffle_s(conv_2(conv_cat(concat[near, b_K, b_1])))      1x1 to `tail` channels, then 3x3

Input (N, C, H, W) and output (N, C, s*H, s*W), both in [0, 1] with no mean subtraction; any H and W. Two teams of the
NTIRE 2026 Efficient Super-Resolution challenge released it with other names for the same tail: PDS (20 tail channels;
`conv_cat_1`, `conv_2_1`; 141,748 parameters) and PKDSR (24; `conv_cat`, `conv_2`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgesr.architecture import Architecture
from edgesr.model.deduction import channels_of, highest_index, require_network, scale_of
from edgesr.model.spab import SPAB, EvalConv

BLOCK_KEY = re.compile(r"block_(\d{1,3})\.c\d_r\.eval_conv\.weight")
FIRST_KEY = "block_1.c1_r.eval_conv.weight"


@dataclass(frozen=True)
class TailNames:
    """What a release calls the two convolutions of the tail."""

    mix: str
    last: str


PKDSR_NAMES = TailNames("conv_cat", "conv_2")
PDS_NAMES = TailNames("conv_cat_1", "conv_2_1")


class SPANF(nn.Module):
    """The whole network; see the module's docstring for its equations."""

    def __init__(
        self, names: TailNames, channels: int = 32, blocks: int = 5, tail: int = 24, scale: int = 4,
        in_channels: int = 3,
    ) -> None:  # fmt: skip
        super().__init__()
        shuffled = in_channels * scale * scale
        self.scale = scale
        self.names = names
        self.conv_near = nn.Conv2d(in_channels, shuffled, 3, padding=1, groups=in_channels, bias=False)
        self.block_names = [f"block_{index}" for index in range(1, blocks + 1)]
        self.add_module(self.block_names[0], SPAB(in_channels, channels, attention=False))
        for name in self.block_names[1:]:
            self.add_module(name, SPAB(channels, channels))
        self.add_module(names.mix, nn.Conv2d(shuffled + 2 * channels, tail, 1))
        self.add_module(names.last, EvalConv(tail, shuffled))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, in_channels, scale*H, scale*W)."""
        first = y = self.get_submodule(self.block_names[0])(x)
        for name in self.block_names[1:]:
            y = self.get_submodule(name)(y)
        mixed = self.get_submodule(self.names.mix)(torch.cat([self.conv_near(x), y, first], dim=1))
        return F.pixel_shuffle(self.get_submodule(self.names.last)(mixed), self.scale)


def _architecture(name: str, summary: str, names: TailNames, tail: int) -> Architecture:
    """The family with one release's names."""

    def deduce(state: Mapping[str, Tensor]) -> dict[str, int]:
        in_channels = channels_of(state, FIRST_KEY, 3, axis=1)
        config = {
            "channels": channels_of(state, FIRST_KEY, 32),
            "blocks": max(2, highest_index(state, BLOCK_KEY, 5)),
            "tail": channels_of(state, f"{names.mix}.weight", 24),
            "scale": scale_of(channels_of(state, "conv_near.weight", 48), in_channels),
            "in_channels": in_channels,
        }
        require_network(name, state, lambda: build(config))
        return config

    def build(config: Mapping[str, int]) -> SPANF:
        return SPANF(names, **config)

    keys = ("conv_near.weight", FIRST_KEY, f"{names.mix}.weight", f"{names.last}.eval_conv.weight")
    defaults = {"channels": 32, "blocks": 5, "tail": tail, "scale": 4, "in_channels": 3}
    return Architecture(name=name, summary=summary, signature_keys=keys, deduce=deduce, build=build, defaults=defaults)


PKDSR = _architecture(
    "pkdsr", "PKDSR and SPANF: SPAN with a near-pixel branch; NTIRE 2026, team 16", PKDSR_NAMES, tail=24
)
PDS = _architecture("pds", "PDS: SPANF with a tail of 20 channels; NTIRE 2026, team 1", PDS_NAMES, tail=20)
