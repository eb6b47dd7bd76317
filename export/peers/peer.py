"""What a peer is: another public converter and quantizer, and the files that it made of a network.

A peer is given what its users give it: the network's PyTorch module as it is, in float32, and calibration images as
floats in [0, value_range]. Its files take and give floats; images are rounded to bytes outside, as for every network.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgesr.architecture import SRModel
from edgesr.artifact import IMAGE_LEVELS, IOContract
from edgesr.errors import MissingBackendError
from edgesr.progress import Progress
from edgesr.target import IODtype, Layout


@dataclass(frozen=True)
class PeerFile:
    """A file that a peer wrote, and the images that it takes: `edgesr.runtime` runs it as it runs our own."""

    path: Path
    contract: IOContract


class Peer(Protocol):
    """One converter with the fairest setting known for it.

    `distributions` are the packages that do the work, the first one what it is known by; `extra` is the extra of edgesr
    that installs them, None where edgesr itself needs them. `runner` names the runtime of its files, `settings` says in
    one line how it quantizes.
    """

    name: str
    distributions: tuple[str, ...]
    extra: str | None
    runner: str
    settings: str

    def quantize(
        self,
        model: SRModel,
        images: Sequence[NDArray[np.uint8]],
        sizes: Sequence[tuple[int, int]],
        folder: Path,
        progress: Progress,
    ) -> tuple[PeerFile, ...]:
        """Write files into `folder` that together run every input size (H, W) of `sizes`.

        `images` are the calibration pieces, uint8 (H, W, 3), of sizes of their own. Raises whatever the peer raises.
        """


def install_line(peer: Peer) -> str:
    """The command that installs a peer."""
    return f'pip install "edgesr[{peer.extra}]"' if peer.extra else "pip install edgesr"


def tool_of(peer: Peer) -> str:
    """The peer's packages with their versions; raises `MissingBackendError` where one is not installed."""
    found = []
    for name in peer.distributions:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            raise MissingBackendError(f"{name} is not installed; run {install_line(peer)}") from None
    return " + ".join(found)


def float_batch(image: NDArray[np.uint8], model: SRModel, layout: Layout) -> NDArray[np.float32]:
    """An image (H, W, 3) as the network's input: a batch of one in [0, value_range]."""
    batch = image[None].astype(np.float32) * np.float32(model.value_range / IMAGE_LEVELS)
    return np.ascontiguousarray(batch.transpose(0, 3, 1, 2)) if layout is Layout.NCHW else batch


def float_contract(model: SRModel, layout: Layout, size: tuple[int, int] | None) -> IOContract:
    """What a peer's file takes: RGB floats of one size, or of any where `size` is None."""
    return IOContract(
        dtype=IODtype.FLOAT32,
        layout=layout,
        channels=3,
        upscale=model.scale,
        value_range=model.value_range,
        sizes=() if size is None else (size,),
        any_size=size is None,
        size_multiple=model.size_multiple,
    )
