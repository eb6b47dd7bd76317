"""What a quantized graph costs an NPU for each input pixel, in multiply-accumulates on 8-bit activations.

    cost = sum over operators of  MACs * (wide_mac in 16 bits, else 1) + byte * bytes read and written

with bytes of activations alone: weights are the same in any assignment. Constants cost nothing; see `npu_profile` for
what the numbers are worth.
"""

from __future__ import annotations

from fractions import Fraction

from edgesr.npu_profile import NpuProfile
from edgesr.ops import Constant
from edgesr.quantized import WIDE_BITS, QuantizedGraph


def cost_per_pixel(network: QuantizedGraph, npu: NpuProfile) -> float:
    """The cost of one input pixel."""
    graph, total = network.graph, 0.0
    for op in graph:
        if isinstance(op, Constant):
            continue
        factor = npu.wide_mac if network.bits(op.name) == WIDE_BITS else 1.0
        scale = graph.specs[op.name].scale or Fraction(0)
        total += factor * float(op.macs_per_position() * scale**2)
        total += npu.byte * float(sum(_bytes(network, name) for name in (*op.inputs, op.name)))
    return total


def _bytes(network: QuantizedGraph, name: str) -> Fraction:
    """Of one tensor for one input pixel; constants have none."""
    spec = network.graph.specs[name]
    return Fraction(0) if spec.scale is None else spec.channels * spec.scale**2 * network.bits(name) / 8
