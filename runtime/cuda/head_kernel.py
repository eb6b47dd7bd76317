"""SPANV2's head in one kernel: depthwise 3x3 over [near, features], pointwise, and the pixel shuffle as addresses.

The depthwise sums are float32 arithmetic on CUDA cores. They are rounded to the stored type, as a network without
fusion would have stored them, and two matrix products (one for each part of the concatenation) make the output's
channels in float32. Channel colour * s * s + i * s + j of position (y, x) is stored at (colour, s*y + i, s*x + j):
PixelShuffle costs no pass of its own.
"""

from __future__ import annotations

import triton.language as tl

from edgesr.runtime.cuda.triton_kernel import TritonKernel


def head_source(
    f_ptr: tl.tensor, near_ptr: tl.tensor, depth_f_ptr: tl.tensor, depth_near_ptr: tl.tensor,
    point_f_ptr: tl.tensor, point_near_ptr: tl.tensor, o_ptr: tl.tensor, height: tl.tensor, width: tl.tensor,
    channels: tl.constexpr, near: tl.constexpr, near_padded: tl.constexpr, scale: tl.constexpr,
    tile_h: tl.constexpr, tile_w: tl.constexpr, precision: tl.constexpr,
) -> None:  # fmt: skip
    """f: (N, H, W, channels); near: (N, H, W, near); depth_*: (9, C) in float32; point_*: (C, near_padded); o: NCHW."""
    q = tl.arange(0, tile_h * tile_w)
    y = tl.program_id(1) * tile_h + q // tile_w
    x = tl.program_id(0) * tile_w + q % tile_w
    n = tl.program_id(2).to(tl.int64)
    c = tl.arange(0, channels)
    m = tl.arange(0, near_padded)
    first = n * height * width
    features = tl.full((tile_h * tile_w, channels), 0.0, tl.float32)
    shortcut = tl.full((tile_h * tile_w, near_padded), 0.0, tl.float32)
    for tap in range(9):  # not unrolled: nine taps' loads in flight would spill registers
        row = y + (tap // 3 - 1)
        column = x + (tap % 3 - 1)
        inside = ((row >= 0) & (row < height) & (column >= 0) & (column < width))[:, None]
        at = (first + row * width + column)[:, None]
        value = tl.load(f_ptr + at * channels + c[None, :], mask=inside, other=0.0).to(tl.float32)
        features += value * tl.load(depth_f_ptr + tap * channels + c)[None, :]
        value = tl.load(near_ptr + at * near + m[None, :], mask=inside & (m < near)[None, :], other=0.0).to(tl.float32)
        shortcut += value * tl.load(depth_near_ptr + tap * near_padded + m)[None, :]
    stored = f_ptr.dtype.element_ty
    point = tl.load(point_f_ptr + c[:, None] * near_padded + m[None, :])
    total = tl.dot(features.to(stored), point, input_precision=precision)
    point = tl.load(point_near_ptr + m[:, None] * near_padded + m[None, :])
    total = tl.dot(shortcut.to(stored), point, total, input_precision=precision)
    colour = m // (scale * scale)
    row = scale * y[:, None] + (m // scale % scale)[None, :]
    column = scale * x[:, None] + (m % scale)[None, :]
    colours = near // (scale * scale)
    at = ((n * colours + colour)[None, :] * (scale * height) + row) * (scale * width) + column
    mask = ((y < height) & (x < width))[:, None] & (m < near)[None, :]
    tl.store(o_ptr + at, total.to(o_ptr.dtype.element_ty), mask=mask)


HEAD = TritonKernel(head_source)
