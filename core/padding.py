"""Images whose sides are no multiple of what a network takes: they are continued, and the output is cut back.

A network of scale s that takes multiples of m is, for any image x of (N, H, W, C),

    y = f(pad(x))[:, : s*H, : s*W]      pad: rows below and columns to the right, up to the next multiple of m

where every added pixel repeats the last one of its row or column (np.pad's mode "edge"). This is what such a network
means everywhere here: the PyTorch reference, the graph and every file are run so, which is why they can be compared
exactly. No graph holds the padding: a file has sides that are multiples, and who runs it pads and cuts (ADR 0015). At a
multiple both steps are the identity.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

PADDING = "replicate"
"""What the added pixels are, as a manifest says it."""


def padded_size(size: tuple[int, int], multiple: int) -> tuple[int, int]:
    """Height and width up to the next multiples."""
    height, width = (-(-side // multiple) * multiple for side in size)
    return height, width


def pad_image(image: NDArray[Any], multiple: int) -> NDArray[Any]:
    """An image (N, H, W, C) continued below and to the right; itself where its sides are multiples already."""
    size = (image.shape[1], image.shape[2])
    below, right = (to - side for to, side in zip(padded_size(size, multiple), size, strict=True))
    return np.pad(image, ((0, 0), (0, below), (0, right), (0, 0)), mode="edge") if below or right else image


def cut_back(output: NDArray[Any], size: tuple[int, int], scale: int) -> NDArray[Any]:
    """The part of an output (N, sH, sW, C) that belongs to an image of `size` (H, W)."""
    return np.ascontiguousarray(output[:, : scale * size[0], : scale * size[1]])
