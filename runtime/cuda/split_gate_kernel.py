"""The gate o = (x + f) * (W f + b) in float32, whose sum keeps what is left where large products cancel.

In a trained network |W| |f| may be 15 times |W f|. A float32 sum rounds at the size of its parts, so that its error is
15 times as large beside the result. Here both factors are split, f at each position and W in each row:

    f = h + l,  h the nearest multiple of g,  g = 2^-8 * (the largest power of two <= max_k |f_k|)
    W f = H h + (L h + W l)

h and H have at most 2^9 steps of their grids. A sum of at most 64 products H h therefore stays within 2^24 steps of the
product of both grids: each partial sum is a float32, H h is exact in any order, and what cancels has cancelled. The
bracket is added to that; a channel's share is at most 2^-8 of the largest weight times the largest feature, so its 2 C
roundings have the size of the result. Three products are taken instead of one.

h = (f + s) - s with s = 1.5 * 2^23 g (Rump, Ogita and Oishi, Accurate floating-point summation, 2008; for products of
matrices: Ozaki, Ogita, Oishi and Rump, 2012). s is a power of two times 49152: a fused multiply and add rounds alike.
Where an f is not finite, the position's outputs are NaN.

Products run over slices of 16 channels, in a loop that is not unrolled: unrolled, the operands of all three spilled
registers. f and W are read again for each, from the cache.
"""

from __future__ import annotations

import triton.language as tl

from edgesr.runtime.cuda.triton_kernel import TritonKernel


def split_gate_source(
    x_ptr: tl.tensor, f_ptr: tl.tensor, w_ptr: tl.tensor, b_ptr: tl.tensor, o_ptr: tl.tensor, positions: tl.tensor,
    channels: tl.constexpr, padded: tl.constexpr, pixels: tl.constexpr, nhwc: tl.constexpr,
) -> None:  # fmt: skip
    """x, f, o: (N, C, positions) or (N, positions, C); w: (C out, C in); b: (C,); all float32, C at most 64."""
    image = tl.program_id(1).to(tl.int64) * positions * channels
    p = tl.program_id(0) * pixels + tl.arange(0, pixels)
    c = tl.arange(0, padded)
    here, inside = p < positions, c < channels
    w = tl.load(w_ptr + c[:, None] * channels + c[None, :], mask=inside[:, None] & inside[None, :], other=0.0)
    if nhwc:
        offset = p[:, None] * channels + c[None, :]
        mask = here[:, None] & inside[None, :]
    else:
        offset = c[:, None] * positions + p[None, :]
        mask = inside[:, None] & here[None, :]
    f = tl.load(f_ptr + image + offset, mask=mask, other=0.0)
    # the interpreter knows this function of Triton's by name
    largest_w = tl.reduce(tl.abs(w), 1, tl.standard._elementwise_max)
    largest_f = tl.reduce(tl.abs(f), 1 if nhwc else 0, tl.standard._elementwise_max)
    # the exponent alone is the power of two; the bound keeps s finite
    power_w = tl.minimum((largest_w.to(tl.int32, bitcast=True) & 0x7F800000).to(tl.float32, bitcast=True), 2.0**96)
    power_f = tl.minimum((largest_f.to(tl.int32, bitcast=True) & 0x7F800000).to(tl.float32, bitcast=True), 2.0**96)
    s_w = (power_w * 49152.0)[None, :] if nhwc else (power_w * 49152.0)[:, None]
    s_f = (power_f * 49152.0)[:, None] if nhwc else (power_f * 49152.0)[None, :]
    gate = tl.full((pixels, padded) if nhwc else (padded, pixels), 0.0, tl.float32)
    slices: tl.constexpr = padded // 16
    for step in range(3 * slices):
        k = step % slices * 16 + tl.arange(0, 16)
        among = k < channels
        if nhwc:
            w_at, w_mask = c[None, :] * channels + k[:, None], inside[None, :] & among[:, None]
            f_at, f_mask = p[:, None] * channels + k[None, :], here[:, None] & among[None, :]
        else:
            w_at, w_mask = c[:, None] * channels + k[None, :], inside[:, None] & among[None, :]
            f_at, f_mask = k[:, None] * positions + p[None, :], among[:, None] & here[None, :]
        w_k = tl.load(w_ptr + w_at, mask=w_mask, other=0.0)
        f_k = tl.load(f_ptr + image + f_at, mask=f_mask, other=0.0)
        high_w = (w_k + s_w) - s_w
        high_f = (f_k + s_f) - s_f
        factor_w = tl.where(step < slices, high_w, tl.where(step < 2 * slices, w_k - high_w, w_k))
        factor_f = tl.where(step < 2 * slices, high_f, f_k - high_f)
        if nhwc:
            gate = tl.dot(factor_f, factor_w, gate, input_precision="ieee")
        else:
            gate = tl.dot(factor_w, factor_f, gate, input_precision="ieee")
    b = tl.load(b_ptr + c, mask=inside, other=0.0)
    gate += b[None, :] if nhwc else b[:, None]
    total = tl.load(x_ptr + image + offset, mask=mask, other=0.0) + f
    tl.store(o_ptr + image + offset, total * gate, mask=mask)


SPLIT_GATE = TritonKernel(split_gate_source)
