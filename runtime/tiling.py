"""Plans that cut an image into tiles of one size whose outputs, put together, are the whole image's, bit for bit.

Along one axis, an image of n pixels is continued to N = n rounded up to the network's multiple m (`edgesr.padding`):
what it means is f(pad(x)). A tile is T pixels of pad(x), T and its start multiples of m, so that strides and pools see
every pixel in the phase that they see it in the whole. With the reach a before and b behind (`receptive_field`), the
tile that starts at s gives the whole's values for

    [s + a, s + T - b),  from 0 on where s = 0 and up to N where s + T = N

since zero padding within the network stands at the true border there, and nowhere else is any of it read. Tiles follow
each other by at most floor((T - a - b) / m) * m pixels, and the last one is moved back to end at N: every tile has
T pixels, and each output pixel is taken from one tile. That needs T >= a + b + m, or one tile: T = N.

A file of a fixed size that is larger than the image gets the image continued further, by its last row and column. Its
own border then lies elsewhere, and only what is farther than the reach from the continued sides is exact: the plan
says so (`inexact`).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

from edgesr.errors import ArtifactError
from edgesr.padding import padded_size
from edgesr.runtime.receptive_field import Reach

Size = tuple[int, int]
"""Height and width in input pixels."""


@dataclass(frozen=True)
class Segment:
    """A tile along one axis, in input pixels: where it starts, and the pixels start..stop-1 that are taken from it."""

    start: int
    keep_start: int
    keep_stop: int

    def __post_init__(self) -> None:
        """Refuse to take nothing, or what lies before the tile."""
        if not 0 <= self.start <= self.keep_start < self.keep_stop:
            raise ValueError(f"{self} takes no pixel of its own")

    @property
    def kept(self) -> int:
        """How many pixels are taken."""
        return self.keep_stop - self.keep_start


@dataclass(frozen=True)
class TilePlan:
    """How an image of `size` becomes tiles of the size `tile`: every pair of a row and a column segment is one.

    Tiles reach beyond the image where its sides are no multiples; `inexact` says where and why the result is not the
    whole image's, None where it is.
    """

    size: Size
    tile: Size
    rows: tuple[Segment, ...]
    columns: tuple[Segment, ...]
    inexact: str | None = None

    def __post_init__(self) -> None:
        """Every pixel is taken from one tile."""
        for side, segments in zip(self.size, (self.rows, self.columns), strict=True):
            edges = [0, *(s.keep_stop for s in segments)]
            if edges[-1] != side or [s.keep_start for s in segments] != edges[:-1]:
                raise ValueError(f"tiles take {segments} of {side} pixels")

    @property
    def exact(self) -> bool:
        """Whether the result is the whole image's."""
        return self.inexact is None

    @property
    def count(self) -> int:
        """How many tiles there are."""
        return len(self.rows) * len(self.columns)

    @cached_property
    def work(self) -> Fraction:
        """Pixels computed for one pixel of the image: 1 is no waste."""
        return Fraction(self.count * self.tile[0] * self.tile[1], self.size[0] * self.size[1])


def plan_tiles(size: Size, tile: Size, reach: Reach, multiple: int = 1, fixed: bool = False) -> TilePlan:
    """Tiles of the size `tile` for an image of `size`.

    A side of the tile that is longer than the image's is cut to it, but for a file of a fixed size. Raises
    `ArtifactError` where the tile is no multiple, or too small for the reach.
    """
    _require_multiple(tile, multiple)
    padded = padded_size(size, multiple)
    used = tile if fixed else (min(tile[0], padded[0]), min(tile[1], padded[1]))
    _require_reach(used, padded, reach, multiple)
    rows, columns = (
        _segments(n, max(to, side), side, reach.along(axis), multiple)
        for axis, (n, to, side) in enumerate(zip(size, padded, used, strict=True))
    )
    return TilePlan(size, used, rows, columns, _continued(padded, used, reach))


def whole_plan(size: Size, multiple: int = 1) -> TilePlan:
    """The image as one tile."""
    whole = (Segment(0, 0, size[0]),), (Segment(0, 0, size[1]),)
    return TilePlan(size, padded_size(size, multiple), *whole)


def smallest_tile(reach: Reach, multiple: int) -> Size:
    """The smallest tile that any image can be cut into."""
    sides = (reach.above + reach.below, reach.left + reach.right)
    return padded_size((sides[0] + multiple, sides[1] + multiple), multiple)


def _segments(n: int, to: int, tile: int, reach: tuple[int, int], multiple: int) -> tuple[Segment, ...]:
    """The tiles along one axis of n pixels, continued to `to`."""
    before, behind = reach
    step = (tile - before - behind) // multiple * multiple
    starts = [*range(0, to - tile, step), to - tile] if to > tile else [0]
    stops = [min(n, start + tile - behind) for start in starts[:-1]] + [n]
    segments = zip(starts, [0, *stops[:-1]], stops, strict=True)
    return tuple(Segment(*segment) for segment in segments if segment[1] < segment[2])


def _continued(padded: Size, tile: Size, reach: Reach) -> str | None:
    """Where a tile larger than the image makes it inexact."""
    continued = zip(padded, tile, (reach.below, reach.right), ("bottom", "right"), strict=True)
    sides = [f"{pixels} px of the {name}" for side, to, pixels, name in continued if to > side]
    if not sides:
        return None
    return (
        f"the file's size {_named(tile)} is larger than the image, which is continued by its last row and column: "
        f"within {' and '.join(sides)} it may differ from a file for {_named(padded)}"
    )


def _require_multiple(tile: Size, multiple: int) -> None:
    if min(tile) < 1 or any(side % multiple for side in tile):
        what = f"multiples of {multiple}" if multiple > 1 else "at least 1"
        raise ArtifactError(
            f"a tile of {_named(tile)} does not fit this network, whose sides must be {what}; "
            f"choose {_named(padded_size((max(1, tile[0]), max(1, tile[1])), multiple))}"
        )


def _require_reach(tile: Size, padded: Size, reach: Reach, multiple: int) -> None:
    """Refuse tiles that an image needs several of, and of which nothing is left without the reach."""
    needed = smallest_tile(reach, multiple)
    if any(side < n and side < least for side, n, least in zip(tile, padded, needed, strict=True)):
        raise ArtifactError(
            f"a tile of {_named(tile)} is too small: an output pixel reaches {reach.describe()}; "
            f"tiles need at least {_named(needed)}"
        )


def _named(size: Size) -> str:
    return f"{size[0]}x{size[1]}"
