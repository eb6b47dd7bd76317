"""The shuffle of DEPTH_TO_SPACE on the host, for files that end before it.

With block s and C channels, output pixel (s*y + i, s*x + j) of channel c is input pixel (y, x) of channel
(i*s + j)*C + c: the order DCR of TFLite. Bytes are moved, none is computed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgesr.errors import ArtifactError


def shuffle_pixels(array: NDArray[Any], block: int) -> NDArray[Any]:
    """Turn (N, H, W, s*s*C) of any type into (N, s*H, s*W, C); raises `ArtifactError` where the channels do not fit."""
    if array.ndim != 4 or block < 1 or array.shape[3] % block**2:
        raise ArtifactError(
            f"an output of shape {array.shape} cannot be shuffled by {block}x{block}: it needs (N, H, W, C) with a "
            "multiple of as many channels; was this file exported with the shuffle on the host?"
        )
    n, height, width, channels = array.shape
    patches = array.reshape(n, height, width, block, block, channels // block**2)
    return np.ascontiguousarray(patches.transpose(0, 1, 3, 2, 4, 5)).reshape(n, height * block, width * block, -1)
