"""Which tiles a file takes for an image: its own size where that is fixed, else as large as is worth its memory.

A tile of T x T pixels with the reach a, b on its sides gives (T - a - b)^2 new ones, so that it computes

    waste = (T / (T - a - b))^2

pixels for each. Larger tiles waste less and take more memory, in proportion to T^2. The default is the smallest T whose
waste is `WORTHWHILE_WASTE`, or what fits into `ACTIVATION_BYTES` where that is less; a file that is given a size keeps
it. Of several sizes, the one that computes least for the image is taken, exact ones first.
"""

from __future__ import annotations

from math import ceil, isqrt, sqrt

from edgesr.artifact import IOContract
from edgesr.errors import ArtifactError
from edgesr.runtime.receptive_field import NoReach, Reach
from edgesr.runtime.tiling import Size, TilePlan, plan_tiles, smallest_tile, whole_plan

WHOLE: Size = (0, 0)
"""Instead of a tile's size: no tiles, the image as it is."""
WORTHWHILE_WASTE = 1.1
ACTIVATION_BYTES = 256 << 20


def choose_plan(
    size: Size, contract: IOContract, reach: Reach | NoReach, tile: Size | None = None, bytes_per_pixel: float = 0
) -> TilePlan:
    """The tiles for an image of `size` on a file.

    `tile` is the size that was asked for, None for the default and `WHOLE` for none; `bytes_per_pixel` is what a
    runtime holds for one input pixel, 0 where it is not known. Raises `ArtifactError` where the file cannot run the
    image so.
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
        tile = tile or default_tile(reach, contract.size_multiple, bytes_per_pixel)
        return plan_tiles(size, tile, reach, contract.size_multiple)
    return _cheapest(size, _own_sizes(contract, tile), reach, contract.size_multiple)


def default_tile(reach: Reach, multiple: int, bytes_per_pixel: float = 0) -> Size:
    """The tile of a file that takes any size."""
    before_and_behind = max(reach.above + reach.below, reach.left + reach.right)
    worthwhile = ceil(before_and_behind / (1 - 1 / sqrt(WORTHWHILE_WASTE)))
    affordable = isqrt(int(ACTIVATION_BYTES / bytes_per_pixel)) if bytes_per_pixel else worthwhile
    side = max(min(worthwhile, affordable), *smallest_tile(reach, multiple))
    side = -(-side // multiple) * multiple
    return side, side


def waste(tile: Size, reach: Reach) -> float:
    """Pixels computed for one of a tile's own, where it has neighbours on all sides."""
    own = tile[0] - reach.above - reach.below, tile[1] - reach.left - reach.right
    return tile[0] * tile[1] / (own[0] * own[1]) if min(own) > 0 else float("inf")


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
