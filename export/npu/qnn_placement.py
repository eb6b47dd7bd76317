"""A `Placement` from ONNX Runtime's account of which provider got which node, and from QNN's log.

The account names the nodes as they are when the providers are asked: some of the file's are gone by then (constants
folded, a convolution joined with its activation, transposes that cancel), and some are new. A node that is gone goes
where those go that read what it made, or, behind the last of them, those that made what it read. A new node on the CPU
is listed behind the file's own: a file is not whole on the NPU for having lost sight of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from edgesr.export.npu.onnx_nodes import NamedNode
from edgesr.export.npu.placement import Evidence, OperatorPlacement, Place, Placement
from edgesr.qnn_log import NO_REASON, Refusal, cure_of, own_name, refused
from edgesr.qnn_session import PROVIDER, Subgraph
from edgesr.qualcomm import Soc

_DUPLICATE = "/duplicated"
"""How ONNX Runtime marks copies of a DequantizeLinear that several operators read."""


def placement_of(
    nodes: Sequence[NamedNode], pieces: Sequence[Subgraph], soc: Soc, source: str, log_text: str, log: Path | None
) -> Placement:
    """Where each of the file's nodes runs, with QNN's reason for those on the CPU."""
    places = _assigned(pieces)
    reasons = refused(log_text)
    merged = _merged(nodes, places)
    operators = [_operator(node, places, merged, reasons) for node in nodes]
    own = {node.name for node in nodes}
    for name, kind in [node for piece in pieces if piece.provider != PROVIDER for node in piece.nodes]:
        if own_name(name).split(_DUPLICATE)[0] not in own:
            reason = f"ONNX Runtime added it; {_reason(own_name(name), reasons)}"
            operators.append(OperatorPlacement(name, kind, Place.CPU, reason, cure_of(reason)))
    partitions = sum(piece.provider == PROVIDER for piece in pieces)
    return Placement(soc.name, Evidence.COMPILED, source, tuple(operators), partitions, log)


def _assigned(pieces: Sequence[Subgraph]) -> dict[str, Place]:
    """The place of each node that was assigned, by its own name; a node split over both runs on the CPU too."""
    places: dict[str, Place] = {}
    for piece in pieces:
        for name, _ in piece.nodes:
            own = own_name(name)
            for known in dict.fromkeys((own, own.split(_DUPLICATE)[0])):
                on_npu = piece.provider == PROVIDER and places.get(known) is not Place.CPU
                places[known] = Place.NPU if on_npu else Place.CPU
    return places


def _merged(nodes: Sequence[NamedNode], places: Mapping[str, Place]) -> dict[str, NamedNode]:
    """For each node that is gone, by name, the node whose place it shares."""
    readers: dict[str, list[NamedNode]] = {}
    for node in nodes:
        for value in node.inputs:
            readers.setdefault(value, []).append(node)
    makers = {value: node for node in nodes for value in node.outputs}
    into: dict[str, NamedNode] = {}

    def settle(node: NamedNode, neighbours: Sequence[NamedNode]) -> None:
        found = [into.get(n.name, n) for n in neighbours if n.name in places or n.name in into]
        if found:  # one reader on the CPU keeps the value there
            into[node.name] = next((n for n in found if places[n.name] is Place.CPU), found[0])

    gone = [node for node in nodes if node.name not in places]
    for node in reversed(gone):
        settle(node, [reader for value in node.outputs for reader in readers.get(value, [])])
    for node in gone:
        if node.name not in into:
            settle(node, [makers[value] for value in node.inputs if value in makers])
    return into


def _operator(
    node: NamedNode, places: Mapping[str, Place], merged: Mapping[str, NamedNode], reasons: Mapping[str, Refusal]
) -> OperatorPlacement:
    name, kind = node.first_output, node.kind
    if node.name in places:
        place, reason = places[node.name], _reason(node.name, reasons)
    elif node.name in merged:
        into = merged[node.name]
        place = places[into.name]
        reason = f"joined with {into.kind} '{into.first_output}': {_reason(into.name, reasons)}"
    else:
        return OperatorPlacement(name, kind, Place.UNKNOWN, "ONNX Runtime removed it before QNN was asked")
    if place is Place.NPU:
        return OperatorPlacement(name, kind, place)
    return OperatorPlacement(name, kind, place, reason, cure_of(reason))


def _reason(name: str, reasons: Mapping[str, Refusal]) -> str:
    return reasons[name].reason if name in reasons else NO_REASON
