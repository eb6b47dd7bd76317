"""The precisions of the fused network: how tensors are stored, and what a product's factors are rounded to.

All sums are float32. FP16 stores halves, whose products are exact in float32. TF32 stores float32 and rounds factors to
11 significant bits inside the tensor cores. FP32 multiplies float32 as it is, without tensor cores.
"""

from __future__ import annotations

import enum

import torch


class FusedPrecision(enum.Enum):
    """A precision by its name on the command line."""

    FP16 = "fp16"
    TF32 = "tf32"
    FP32 = "fp32"

    @property
    def stored(self) -> torch.dtype:
        """What tensors between kernels hold."""
        return torch.float16 if self is FusedPrecision.FP16 else torch.float32

    @property
    def products(self) -> str:
        """Triton's name for what happens to float32 factors; halves are multiplied as they are."""
        return "tf32" if self is FusedPrecision.TF32 else "ieee"

    @property
    def uses_tensor_cores(self) -> bool:
        """Whether products must run there."""
        return self is not FusedPrecision.FP32
