"""A compiler's answer about a file's nodes, told by operators as the tables count them.

In QDQ files the compiler answers for QuantizeLinear, DequantizeLinear and a fused activation one by one, the tables for
the operator that they make up. An operator is on the CPU as soon as one of its nodes is, and on the NPU where the nodes
are of which anything is known. Nodes that are part of no operator matter only on the CPU, and are listed there, unless
they do nothing but convert for an operator that is there itself.
"""

from __future__ import annotations

from dataclasses import replace

from edgesr.export.npu.file_operator import FileOperator, OperatorList
from edgesr.export.npu.placement import OperatorPlacement, Place, Placement

MOST_TELLING = (Place.CPU, Place.NPU, Place.UNKNOWN)


def by_operator(placement: Placement, network: OperatorList) -> Placement:
    """The placement by the operators of a file; as it is where the file has no other nodes than operators."""
    if not any(op.nodes for op in network.operators):
        return placement
    found = {node.name: node for node in placement.operators}
    told = [_told(op, [found[name] for name in op.nodes if name in found]) for op in network.operators]
    taken = {name for op in network.operators for name in op.nodes}
    taken |= {x for op, at in zip(network.operators, told, strict=True) if at.place is Place.CPU for x in op.feeds}
    others = [node for node in placement.operators if node.place is Place.CPU and node.name not in taken]
    return replace(placement, operators=(*told, *others))


def _told(op: FileOperator, nodes: list[OperatorPlacement]) -> OperatorPlacement:
    for place in MOST_TELLING:
        for node in nodes:
            if node.place is place:
                return OperatorPlacement(op.name, op.kind, place, node.reason, node.remedy)
    return OperatorPlacement(op.name, op.kind, Place.UNKNOWN, "the compiler did not answer for it")
