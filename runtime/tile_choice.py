"""Which tiles a file takes for an image: its own size where that is fixed, else as large as is worth its memory.

A tile of T x T pixels with the reach a before and b behind gives (T - a - b)^2 new ones, so that it computes

    waste = (T / (T - a - b))^2

pixels for each. Larger tiles waste less and take memory in proportion to T^2; beyond some size nothing is gained, since
what is not computed twice falls out of the processor's caches instead. The side of a tile of a file that takes any size
is at most that of the waste `WORTHWHILE_WASTE`, or what fits into `ACTIVATION_BYTES` where that is less. An axis of N
pixels then takes the fewest tiles of that side, k, and these become as small as they can with it still being k:
T = (N + (k - 1)(a + b)) / k. An image that is one pixel larger than a tile is not computed twice for it. Tiles of very
wide images are lower, and longer instead, since a row of them is put together before it is written.

A file of fixed sizes keeps them. Of several, the one that computes least for the image is taken, exact ones first.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, isqrt, sqrt

from edgesr.artifact import IOContract
from edgesr.errors import ArtifactError
from edgesr.graph import Graph
from edgesr.padding import padded_size
from edgesr.quantized import QuantizedGraph, float_graph
from edgesr.runtime.receptive_field import COLUMNS, ROWS, NoReach, Reach
from edgesr.runtime.tiling import Size, TilePlan, plan_tiles, smallest_tile, whole_plan
from edgesr.target import Precision

WHOLE: Size = (0, 0)
"""Instead of a tile's size: no tiles, the image as it is."""
WORTHWHILE_WASTE = 1.25
ACTIVATION_BYTES = 768 << 20
STRIP_BYTES = 256 << 20
"""Of what a row of tiles puts out, in float32: it is put together before anything is written."""
LEAST_SIDE = 128
"""Of a tile, in pixels: for a smaller one, starting a runtime takes too large a part of the time."""
BYTES_PER_LIVE_VALUE: Mapping[Precision, int] = {
    Precision.FP32: 14, Precision.FP16: 14, Precision.A16W8: 14, Precision.INT8: 10
}  # fmt: skip
"""What LiteRT and ONNX Runtime held for each value that a graph keeps at once, at most (docs/tiles.md)."""


def bytes_per_pixel(network: Graph | QuantizedGraph, precision: Precision) -> float:
    """What a runtime on this machine may hold for one input pixel."""
    return float(float_graph(network).live_values_per_input_pixel) * BYTES_PER_LIVE_VALUE[precision]


def choose_plan(
    size: Size, contract: IOContract, reach: Reach | NoReach, tile: Size | None = None, pixel_bytes: float = 0
) -> TilePlan:
    """The tiles for an image of `size` on a file.

    `tile` is the size that was asked for, None for the default and `WHOLE` for none; `pixel_bytes` is what a runtime
    holds for one input pixel, 0 where it is not known. Raises `ArtifactError` where the file cannot run the image so.
    """
    refusal = contract.accepts(*size)
    if tile == WHOLE or (isinstance(reach, NoReach) and not refusal and _holds(tile, size)):
        if refusal:
            raise ArtifactError(f"{refusal}; let it be cut into tiles, or export with --size")
        return whole_plan(size, contract.size_multiple)
    if isinstance(reach, NoReach):
        raise ArtifactError(
            f"an image of {size[0]}x{size[1]} cannot be cut into tiles: {reach.why}; "
            "export for its size, or give the file one that it was written for"
        )
    if contract.any_size:
        tile = tile or default_tile(size, reach, contract.size_multiple, pixel_bytes, _row_bytes(size, contract))
        return plan_tiles(size, tile, reach, contract.size_multiple)
    return _cheapest(size, _own_sizes(contract, tile), reach, contract.size_multiple)


def default_tile(size: Size, reach: Reach, multiple: int, pixel_bytes: float = 0, row_bytes: int = 0) -> Size:
    """The tile for an image of `size` of a file that takes any; `row_bytes` is what one input row's output holds.

    Where a row of tiles would put out more than `STRIP_BYTES`, tiles are lower, and longer instead.
    """
    side, padded = largest_side(reach, multiple, pixel_bytes), padded_size(size, multiple)
    rows = _lowered(side, sum(reach.along(ROWS)), multiple, row_bytes)
    columns = side * side // rows // multiple * multiple
    height = _evened(padded[0], rows, sum(reach.along(ROWS)), multiple)
    return height, _evened(padded[1], columns, sum(reach.along(COLUMNS)), multiple)


def _lowered(side: int, overlap: int, multiple: int, row_bytes: int) -> int:
    """The side, or less where its rows of output take too much: down to a waste of 2."""
    if not row_bytes:
        return side
    least = max(2 * overlap, overlap + multiple)
    wanted = max(STRIP_BYTES // row_bytes + overlap, least)
    return min(side, -(-wanted // multiple) * multiple)


def _row_bytes(size: Size, contract: IOContract) -> int:
    """The output of one input row, in float32."""
    return size[1] * contract.upscale**2 * contract.channels * 4


def largest_side(reach: Reach, multiple: int, pixel_bytes: float = 0, limit_bytes: int = ACTIVATION_BYTES) -> int:
    """The side beyond which a tile is worth no more, or takes more than `limit_bytes`."""
    longest = max(reach.above + reach.below, reach.left + reach.right)
    worthwhile = ceil(longest / (1 - 1 / sqrt(WORTHWHILE_WASTE)))
    affordable = isqrt(int(limit_bytes / pixel_bytes)) if pixel_bytes else worthwhile
    side = max(min(worthwhile, affordable), LEAST_SIDE, *smallest_tile(reach, multiple))
    return -(-side // multiple) * multiple


def waste(tile: Size, reach: Reach) -> float:
    """Pixels computed for one of a tile's own, where it has neighbours on all sides; infinite where it has none."""
    own = tile[0] - reach.above - reach.below, tile[1] - reach.left - reach.right
    return tile[0] * tile[1] / (own[0] * own[1]) if min(own) > 0 else float("inf")


def _evened(n: int, side: int, overlap: int, multiple: int) -> int:
    """The shortest tile that cuts n pixels into as few as `side` does."""

    def count(tile: int) -> int:
        return 1 + ceil(max(0, n - tile) / ((tile - overlap) // multiple * multiple))

    fewest = count(side)
    if fewest == 1:
        return n
    even = max(ceil((n + (fewest - 1) * overlap) / fewest), overlap + multiple)
    return next(tile for tile in range(-(-even // multiple) * multiple, side + 1, multiple) if count(tile) == fewest)


def _holds(tile: Size | None, size: Size) -> bool:
    return tile is None or (tile[0] >= size[0] and tile[1] >= size[1])


def _own_sizes(contract: IOContract, tile: Size | None) -> tuple[Size, ...]:
    """The sizes of a fixed file, or the one that was asked for."""
    if tile is None or tile in contract.sizes:
        return contract.sizes if tile is None else (tile,)
    known = ", ".join(f"{h}x{w}" for h, w in contract.sizes)
    raise ArtifactError(f"this file runs at {known} alone, not at a tile of {tile[0]}x{tile[1]}; leave the tile to it")


def _cheapest(size: Size, tiles: tuple[Size, ...], reach: Reach, multiple: int) -> TilePlan:
    """The plan that computes least, exact ones first; raises the last refusal where there is none."""
    plans, refusals = [], []
    for tile in tiles:
        try:
            plans.append(plan_tiles(size, tile, reach, multiple, fixed=True))
        except ArtifactError as error:
            refusals.append(error)
    if not plans:
        raise refusals[-1]
    return min(plans, key=lambda plan: (not plan.exact, plan.work))
