"""A PyTorch network whose SPANV2 gates run as `edgesr::span_attn`, for training and eager inference on a GPU.

A gated block is recognised by its parts, `c1`, `c2`, `c3` and `guidance_map_conv`, which SPANV2's released code and the
module here share. Its arithmetic stays: f = c3 relu(c2 relu(c1 y)), then the gate of y and f.
"""

from __future__ import annotations

import copy

from torch import Tensor, nn
from torch.nn import functional as F

from edgesr.errors import EdgeSRError
from edgesr.runtime.cuda.span_attn import span_attn_operator

PARTS = ("c1", "c2", "c3", "guidance_map_conv")


class FusedGateBlock(nn.Module):
    """A gated block around the parts of another one, under the same names, so that state dicts fit both."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        for part in PARTS:
            self.add_module(part, block.get_submodule(part))
        self._gate = span_attn_operator()

    def forward(self, y: Tensor) -> Tensor:
        """Map (N, C, H, W) to itself."""
        c1, c2, c3, gate = (self.get_submodule(part) for part in PARTS)
        f = c3(F.relu(c2(F.relu(c1(y)))))
        out: Tensor = self._gate(y, f, gate.weight, gate.bias)
        return out


def with_span_attn(module: nn.Module) -> nn.Module:
    """A copy of `module` with every gated block's gate fused; raises `EdgeSRError` where it has none."""
    changed = copy.deepcopy(module)
    names = [name for name, part in changed.named_modules() if _is_gated(part)]
    if not names:
        raise EdgeSRError(f"{type(module).__name__} has no block of {', '.join(PARTS)}: no gate of SPANV2 to fuse")
    for name in names:
        changed.set_submodule(name, FusedGateBlock(changed.get_submodule(name)))
    return changed


def _is_gated(module: nn.Module) -> bool:
    return {name for name, _ in module.named_children()} == set(PARTS)
