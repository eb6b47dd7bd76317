"""The 3x3 convolutions of SPANV2 on NHWC tensors, each with what follows it, in one kernel.

A program computes a tile of `tile_h` x `tile_w` positions of one image with all output channels, as nine matrix
products (one for each tap) of (positions, channels in) and (channels in, channels out), accumulated in float32. What
lies outside the image is zero. The epilogue stays in registers: nothing, ReLU, or the whole gate, whose 1x1
convolution is one more product. There f is rounded to the stored type first, as a network without fusion would have
stored it.

`first_source` makes block 1's features and the near branch from the image at once: both read the same 3x3 patches, as
one matrix product over 9 * channels values (im2col).

Feature tensors hold a power of two of channels, at least 16; those beyond the network's own are zero and stay zero.
"""

from __future__ import annotations

import triton.language as tl

from edgesr.runtime.cuda.triton_kernel import TritonKernel

NO_EPILOGUE, RELU, GATE = 0, 1, 2


def convolution_source(
    i_ptr: tl.tensor, w_ptr: tl.tensor, x_ptr: tl.tensor, gate_w_ptr: tl.tensor, gate_b_ptr: tl.tensor,
    o_ptr: tl.tensor, height: tl.tensor, width: tl.tensor,
    channels: tl.constexpr, tile_h: tl.constexpr, tile_w: tl.constexpr, epilogue: tl.constexpr,
    precision: tl.constexpr,
) -> None:  # fmt: skip
    """i, x, o: (N, H, W, channels); w: (9, in, out); gate_w: (in, out); gate_b: (channels,) in float32."""
    q = tl.arange(0, tile_h * tile_w)
    y = tl.program_id(1) * tile_h + q // tile_w
    x = tl.program_id(0) * tile_w + q % tile_w
    c = tl.arange(0, channels)
    image = tl.program_id(2).to(tl.int64) * height * width * channels
    total = tl.full((tile_h * tile_w, channels), 0.0, tl.float32)
    for tap in tl.static_range(9):
        row = y + (tap // 3 - 1)
        column = x + (tap % 3 - 1)
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
        at = image + (row * width + column)[:, None] * channels + c[None, :]
        values = tl.load(i_ptr + at, mask=inside[:, None], other=0.0)
        w = tl.load(w_ptr + (tap * channels + c[:, None]) * channels + c[None, :])
        total = tl.dot(values, w, total, input_precision=precision)
    mask = ((y < height) & (x < width))[:, None]
    at = image + (y * width + x)[:, None] * channels + c[None, :]
    if epilogue == 1:
        total = tl.maximum(total, 0.0)
    if epilogue == 2:
        f = total.to(o_ptr.dtype.element_ty)
        gate_w = tl.load(gate_w_ptr + c[:, None] * channels + c[None, :])
        gate = tl.dot(f, gate_w, input_precision=precision) + tl.load(gate_b_ptr + c)[None, :]
        before = tl.load(x_ptr + at, mask=mask, other=0.0).to(tl.float32)
        total = (before + f.to(tl.float32)) * gate
    tl.store(o_ptr + at, total.to(o_ptr.dtype.element_ty), mask=mask)


def first_source(
    i_ptr: tl.tensor, w_ptr: tl.tensor, near_w_ptr: tl.tensor, o_ptr: tl.tensor, near_ptr: tl.tensor,
    height: tl.tensor, width: tl.tensor,
    inputs: tl.constexpr, patch: tl.constexpr, channels: tl.constexpr, near: tl.constexpr, near_padded: tl.constexpr,
    tile_h: tl.constexpr, tile_w: tl.constexpr, precision: tl.constexpr,
) -> None:  # fmt: skip
    """i: (N, inputs, H, W); w: (patch, channels); near_w: (patch, near_padded); o, near: (N, H, W, channels | near)."""
    q = tl.arange(0, tile_h * tile_w)
    y = tl.program_id(1) * tile_h + q // tile_w
    x = tl.program_id(0) * tile_w + q % tile_w
    n = tl.program_id(2).to(tl.int64)
    k = tl.arange(0, patch)
    row = y[:, None] + (k % 9 // 3 - 1)[None, :]
    column = x[:, None] + (k % 3 - 1)[None, :]
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width) & (k < 9 * inputs)[None, :]
    at = ((n * inputs + k // 9)[None, :] * height + row) * width + column
    values = tl.load(i_ptr + at, mask=inside, other=0.0).to(w_ptr.dtype.element_ty)
    c = tl.arange(0, channels)
    m = tl.arange(0, near_padded)
    features = tl.dot(values, tl.load(w_ptr + k[:, None] * channels + c[None, :]), input_precision=precision)
    shortcut = tl.dot(values, tl.load(near_w_ptr + k[:, None] * near_padded + m[None, :]), input_precision=precision)
    mask = ((y < height) & (x < width))[:, None]
    position = ((n * height + y) * width + x)[:, None]
    features = tl.maximum(features, 0.0).to(o_ptr.dtype.element_ty)
    tl.store(o_ptr + position * channels + c[None, :], features, mask=mask)
    tl.store(near_ptr + position * near + m[None, :], shortcut.to(near_ptr.dtype.element_ty),
             mask=mask & (m < near)[None, :])  # fmt: skip


CONVOLUTION = TritonKernel(convolution_source)
FIRST = TritonKernel(first_source)
