"""Training-time branches of one convolution, merged where a checkpoint is loaded (MergeReparam).

SPAN and its descendants train each 3x3 convolution as a sum of a chain and a skip, both linear:

    y = W3 * (W2 * (W1 * x + b1) + b2) + b3  +  S * x + s       W1, W3, S: 1x1;  W2: 3x3

Released code pads x by one zero before W1 and nothing after it, so that the chain sees b1 beyond the border as well as
inside, and the one convolution with zero padding that it equals is exact to the outermost pixel:

    W = W3 W2 W1 + S (at the centre),        b = W3 (sum_kl W2 b1 + b2) + b3 + s

Keys under a prefix P: `P.conv.0`, `P.conv.1`, `P.conv.2` and `P.sk`, each with weight and bias; merged they are
`P.eval_conv`. A checkpoint saved in training also holds an `eval_conv`, from the last time that the network was in
eval mode: the branches are the truth, and it is dropped. Sums are in float64.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from edgesr.errors import CheckpointError

BRANCHES = ("conv.0", "conv.1", "conv.2", "sk")
MERGED = "eval_conv"


def merge_branches(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`state` with each set of training branches replaced by the convolution that it equals; the rest as it is.

    Raises:
        CheckpointError: a set of branches is incomplete, or its shapes do not fit each other.

    """
    prefixes = [key.removesuffix("sk.weight") for key in state if key.endswith(".sk.weight")]
    merged = dict(state)
    for prefix in prefixes:
        weight, bias = _merge(prefix, state)
        for branch in (*BRANCHES, MERGED):
            merged.pop(f"{prefix}{branch}.weight", None)
            merged.pop(f"{prefix}{branch}.bias", None)
        merged[f"{prefix}{MERGED}.weight"] = weight.float()
        merged[f"{prefix}{MERGED}.bias"] = bias.float()
    return merged


def _merge(prefix: str, state: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Weight (O, I, 3, 3) and bias (O,) of one set of branches, in float64."""
    missing = [name for name in (f"{prefix}{branch}.weight" for branch in BRANCHES) if name not in state]
    if missing:
        raise CheckpointError(
            f"training branches of '{prefix}' are incomplete ({', '.join(missing)}); save all of them"
        )
    weights = [state[f"{prefix}{branch}.weight"] for branch in BRANCHES]
    _require_chain(prefix, weights)
    w1, w2, w3, skip = (weight.double() for weight in weights)
    b1, b2, b3, b = (_bias(f"{prefix}{branch}", state) for branch in BRANCHES)
    inner = torch.einsum("omkl,mi->oikl", w2, w1[:, :, 0, 0])
    weight = torch.einsum("om,mikl->oikl", w3[:, :, 0, 0], inner)
    weight[:, :, 1, 1] += skip[:, :, 0, 0]
    return weight, w3[:, :, 0, 0] @ (w2.sum(dim=(2, 3)) @ b1 + b2) + b3 + b


def _bias(name: str, state: Mapping[str, Tensor]) -> Tensor:
    """A branch's bias; zeros where it has none."""
    rows = state[f"{name}.weight"].shape[0]
    bias = state.get(f"{name}.bias")
    if bias is None:
        return torch.zeros(rows, dtype=torch.float64)
    if bias.shape != (rows,):
        raise CheckpointError(f"{name}.bias {tuple(bias.shape)} does not fit {rows} filters; save the branches again")
    return bias.double()


def _require_chain(prefix: str, weights: Sequence[Tensor]) -> None:
    """Raise CheckpointError unless the weights are 1x1, 3x3, 1x1 and 1x1, each reading what the one before makes."""
    shapes = [tuple(weight.shape) for weight in weights]
    fits = [shape[2:] for shape in shapes] == [(1, 1), (3, 3), (1, 1), (1, 1)] and (
        shapes[1][1] == shapes[0][0] and shapes[2][1] == shapes[1][0] and shapes[3][:2] == (shapes[2][0], shapes[0][1])
    )
    if not fits:
        raise CheckpointError(f"training branches of '{prefix}' do not fit each other ({shapes}); save all of them")
