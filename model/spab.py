"""The block of the SPAN family: three 3x3 convolutions, SiLU between, and an attention without parameters.

    f3 = c3 silu(c2 silu(c1 x)),        y = (f3 + x) * (sigmoid(f3) - 1/2)

Wan et al., Swift Parameter-free Attention Network for Efficient Super-Resolution (2024), section 3. Padding is 1; each
convolution has a bias. Released keys say `c1_r.eval_conv`: the convolution that training branches were merged into
(`reparameterization`).
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn
from torch.nn import functional as F


class EvalConv(nn.Module):
    """A 3x3 convolution with bias under the released key names `eval_conv.weight` and `eval_conv.bias`."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.eval_conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H, W)."""
        out: Tensor = self.eval_conv(x)
        return out


class SPAB(nn.Module):
    """The block; `attention` off leaves f3 as it is, as the first block of SPANF does."""

    def __init__(self, in_channels: int, channels: int, attention: bool = True) -> None:
        super().__init__()
        self.c1_r = EvalConv(in_channels, channels)
        self.c2_r = EvalConv(channels, channels)
        self.c3_r = EvalConv(channels, channels)
        self.attention = attention

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, channels, H, W)."""
        return self.from_first(x, self.first(x))

    def first(self, x: Tensor) -> Tensor:
        """c1 x before its activation, which SPAN's tail reads too."""
        out: Tensor = self.c1_r(x)
        return out

    def from_first(self, x: Tensor, first: Tensor) -> Tensor:
        """The block's output, given c1 x."""
        features: Tensor = self.c3_r(F.silu(self.c2_r(F.silu(first))))
        return attended(x, features) if self.attention else features


def run_blocks(blocks: Iterable[nn.Module], x: Tensor) -> tuple[list[Tensor], Tensor]:
    """Every block's output in order, and what the last block's first convolution makes, before its activation."""
    outputs, first = [], x
    for block in blocks:
        assert isinstance(block, SPAB)
        first = block.first(x)
        x = block.from_first(x, first)
        outputs.append(x)
    return outputs, first


def attended(x: Tensor, features: Tensor) -> Tensor:
    """(f3 + x) * (sigmoid(f3) - 1/2)."""
    return (features + x) * (features.sigmoid() - 0.5)
