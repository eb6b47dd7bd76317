"""The peers by name: one literal table."""

from __future__ import annotations

import difflib

from edgesr.export.peers.aimet import Aimet
from edgesr.export.peers.litert_torch import LiteRTTorch
from edgesr.export.peers.onnxruntime import OnnxRuntime
from edgesr.export.peers.peer import Peer

PEERS: tuple[Peer, ...] = (LiteRTTorch(), OnnxRuntime(), Aimet())


def find_peer(name: str) -> Peer | None:
    """The peer of that name."""
    return next((peer for peer in PEERS if peer.name == name), None)


def near_peers(name: str) -> list[str]:
    """The names most like one that no peer has."""
    return difflib.get_close_matches(name, [peer.name for peer in PEERS], n=2, cutoff=0.4)
