"""Reading hyperparameters from a checkpoint's shapes: what the architectures share.

A reading is a default where the key that tells is absent or degenerate, so that building the network on the meta device
and comparing every shape (`require_network`) reports what is wrong by name, whatever it is.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from math import isqrt

import torch
from torch import Tensor, nn

from edgesr.model.keys import require_shapes


def channels_of(state: Mapping[str, Tensor], key: str, default: int, axis: int = 0) -> int:
    """How many filters (axis 0) or channels read (axis 1) a convolution has; `default` where it has no 4-D weight."""
    weight = state.get(key)
    return weight.shape[axis] if weight is not None and weight.ndim == 4 and weight.shape[axis] > 0 else default


def most_common(readings: Iterable[int], default: int) -> int:
    """The value that occurs most often, the first of equals; `default` where there is none."""
    counted = Counter(readings).most_common(1)
    return counted[0][0] if counted else default


def highest_index(state: Mapping[str, Tensor], pattern: re.Pattern[str], default: int) -> int:
    """The largest number in the first group of `pattern` over all keys that match it whole."""
    return max((int(match[1]) for match in map(pattern.fullmatch, state) if match), default=default)


def scale_of(shuffled: int, channels: int) -> int:
    """The scale of a pixel shuffle from `shuffled` channels to `channels`; at least 1."""
    return max(1, isqrt(shuffled // max(1, channels)))


def require_network(name: str, state: Mapping[str, Tensor], network: Callable[[], nn.Module]) -> None:
    """Raise CheckpointError, naming every missing, unexpected and misshapen key, unless `state` is that network's."""
    with torch.device("meta"):
        expected = {key: tuple(value.shape) for key, value in network().state_dict().items()}
    require_shapes(name, state, expected)
