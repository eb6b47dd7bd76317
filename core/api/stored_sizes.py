"""Sizes that a TFLite file's operators store, exchanged for those of a smaller image.

LiteRT infers most shapes from the image's, but RESIZE_NEAREST_NEIGHBOR and RESIZE_BILINEAR store the height and width
that they give. Those follow the image: what is stored for an image of H x W is stored / (H, W) of it, and becomes as
much of the small one. RESHAPE and TRANSPOSE_CONV store whole shapes, of which nothing says what follows the image:
files with them are refused.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edgesr.errors import ArtifactError

Builtin = schema.BuiltinOperator
RESIZES = (Builtin.RESIZE_NEAREST_NEIGHBOR, Builtin.RESIZE_BILINEAR)
STORING_SHAPES = {Builtin.RESHAPE: "RESHAPE", Builtin.TRANSPOSE_CONV: "TRANSPOSE_CONV"}


def follow_image(
    model: schema.ModelT, graph: schema.SubGraphT, size: tuple[int, int], small: tuple[int, int], path: Path
) -> None:
    """Exchange what the subgraph's operators store for an image of `size` (H, W) for what they need at `small`.

    Raises `ArtifactError` for an operator that stores a whole shape, or a size that is none of the small image.
    """
    for op in graph.operators:
        kind = model.operatorCodes[op.opcodeIndex].builtinCode
        if kind in STORING_SHAPES:
            what = f"its {STORING_SHAPES[kind]} stores a shape"
            raise ArtifactError(f"{path}: {what}, and {size[0]}x{size[1]} is too large to prove; export a smaller size")
        if kind in RESIZES:
            _rescale(model, graph.tensors[op.inputs[1]], size, small, path)


def _rescale(
    model: schema.ModelT, tensor: schema.TensorT, size: tuple[int, int], small: tuple[int, int], path: Path
) -> None:
    """Give the tensor a buffer of its own: another subgraph's may share the old one."""
    stored = np.frombuffer(bytes(model.buffers[tensor.buffer].data), np.int32)
    sides = [Fraction(int(side), of) * to for side, of, to in zip(stored, size, small, strict=True)]
    if any(side.denominator > 1 for side in sides):
        found = "x".join(map(str, stored))
        raise ArtifactError(f"{path}: it resizes to {found}, no share of {size[0]}x{size[1]}; export a smaller size")
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(np.array([int(side) for side in sides], np.int32).tobytes(), np.uint8)
    model.buffers.append(buffer)
    tensor.buffer = len(model.buffers) - 1
