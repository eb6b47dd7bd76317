"""What a module takes and makes, found by running it on small images: channels, scale, and what sizes must divide by.

A size counts as taken where the output is a whole number of times as high and as wide, by one factor for both axes. The
smallest of `SIZE_MULTIPLES` whose odd multiples are taken is the network's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgesr.errors import EdgeSRError, NetworkError, first_line
from edgesr.user_code import raised_at

SIZE_MULTIPLES = (1, 2, 4, 8, 16)
BLOCKS = (11, 13)
"""Height and width of the images, in multiples: odd, unequal, and enough for any kernel's padding."""
USUAL_CHANNELS = (3, 1, 4)


@dataclass(frozen=True)
class NetworkContract:
    """Images (N, channels, H, W) become (N, channels, scale*H, scale*W), for H and W multiples of `size_multiple`."""

    channels: int
    scale: int
    size_multiple: int


def find_contract(module: nn.Module, name: str) -> NetworkContract:
    """Run `module` on images of several channels and sizes; raises `NetworkError` where it makes no enlarged image."""
    first_conv = [part.in_channels for part in module.modules() if isinstance(part, nn.Conv2d)][:1]
    refused: list[EdgeSRError] = []
    for channels in dict.fromkeys((*USUAL_CHANNELS, *first_conv)):
        try:
            return _with_channels(module, name, channels)
        except NetworkError as error:
            refused.append(error)
    raise next((error for error in refused if "channel" not in str(error)), refused[0])


def _with_channels(module: nn.Module, name: str, channels: int) -> NetworkContract:
    """The contract for images of that many channels; raises `NetworkError`, of the first size, for none."""
    refused: list[NetworkError] = []
    for multiple in SIZE_MULTIPLES:
        height, width = (blocks * multiple for blocks in BLOCKS)
        try:
            scale = _scale(_run(module, name, torch.full((1, channels, height, width), 0.5)), name, channels, multiple)
        except NetworkError as error:
            refused.append(error)
        else:
            return NetworkContract(channels, scale, multiple)
    raise refused[-1] if "scale" in str(refused[-1]) else refused[0]


def _run(module: nn.Module, name: str, image: Tensor) -> object:
    try:
        with torch.no_grad():
            return module(image)
    except Exception as error:  # whatever the network's own code raises
        place = raised_at(error)
        size = "x".join(map(str, image.shape[2:]))
        raise NetworkError(
            f"{name}: its forward fails on a {size} image of {image.shape[1]} channels: {first_line(error)}"
            f"{f' (in {place})' if place else ''}; it must take one image (N, C, H, W) on the CPU"
        ) from error


def _scale(output: object, name: str, channels: int, multiple: int) -> int:
    """Output over input size; raises `NetworkError` for what is no image of the same channels, enlarged evenly."""
    if not isinstance(output, Tensor):
        raise NetworkError(
            f"{name}: its forward returns a {_kind(output)}, not one image; add a class to the file that returns the "
            f"image alone, and export that: class Exported({name}): forward = lambda self, x: super().forward(x)[...]"
        )
    if output.ndim != 4 or output.shape[:2] != (1, channels):
        raise NetworkError(
            f"{name}: its forward makes {tuple(output.shape)} of an image of {channels} channels; images in and out "
            "must have the same number of channels"
        )
    factors = [made / (blocks * multiple) for made, blocks in zip(output.shape[2:], BLOCKS, strict=True)]
    if factors[0] != factors[1] or factors[0] != int(factors[0]) or factors[0] < 1:
        taken = "x".join(str(blocks * multiple) for blocks in BLOCKS)
        made = "x".join(map(str, output.shape[2:]))
        raise NetworkError(
            f"{name}: its scale is not to be deduced: it makes {made} of {taken}, which is no whole factor, the same "
            "for both axes; pad convolutions to keep the size, and enlarge by 1, 2, 3 or 4"
        )
    return int(factors[0])


def _kind(output: object) -> str:
    count = f" of {len(output)}" if isinstance(output, (tuple, list, dict)) else ""
    return f"{type(output).__name__}{count}"
