"""PNG's filters: every row is stored as differences from its neighbours, chosen anew for each row.

With x a byte, a the byte of the pixel on its left, b the one above and c the one above left (0 outside the picture), a
row of type f stores x - p mod 256, where p is

    0 None: 0    1 Sub: a    2 Up: b    3 Average: floor((a + b) / 2)    4 Paeth: of a, b, c the nearest to a + b - c

(PNG specification, third edition, section 9). Filtering sees all of x at once. Undoing it needs a before x: pixels on
one anti-diagonal, x + y = d, depend on the diagonals d - 1 and d - 2 alone, so that a whole band of rows is undone
diagonal by diagonal, and each is one step in numpy, whatever types its rows have.

Rows are uint8 (N, R): N rows of R bytes, a pixel takes `pixel` bytes of them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NONE, SUB, UP, AVERAGE, PAETH = range(5)
BAND = 256
"""Rows that are undone together: enough for numpy, few enough for its caches."""

Rows = NDArray[np.uint8]


def filter_rows(rows: Rows, above: Rows, pixel: int) -> Rows:
    """The rows as a PNG stores them, (N, 1 + R) with each one's type first; `above` (R) is the row before the first.

    Of Sub, Up and Paeth each row takes the one with the smallest sum of differences, the specification's own advice.
    """
    up = np.concatenate((above[None], rows[:-1]))
    left, corner = _shifted(rows, pixel), _shifted(up, pixel)
    differences = np.empty((3, *rows.shape), np.uint8)
    np.subtract(rows, left, out=differences[0])
    np.subtract(rows, up, out=differences[1])
    np.subtract(rows, paeth_of_bytes(left, up, corner), out=differences[2])
    costs = np.minimum(differences, np.negative(differences)).sum(axis=2, dtype=np.uint32)  # as signed numbers
    best = costs.argmin(axis=0)
    stored = np.empty((len(rows), 1 + rows.shape[1]), np.uint8)
    stored[:, 0] = np.array([SUB, UP, PAETH], np.uint8)[best]
    for row, choice in enumerate(best):
        stored[row, 1:] = differences[choice, row]
    return stored


def undo_filters(types: Rows, stored: Rows, above: Rows, pixel: int) -> Rows:
    """The rows (N, R) behind what a PNG stores of them; `types` (N) lies in 0..4, `above` (R) as in `filter_rows`."""
    if not types.any():
        return stored
    bands = []
    for start in range(0, len(stored), BAND):
        bands.append(_undo_band(types[start : start + BAND], stored[start : start + BAND], above, pixel))
        above = bands[-1][-1]
    return np.concatenate(bands)


def _undo_band(types: Rows, stored: Rows, above: Rows, pixel: int) -> Rows:
    """One band, skewed: pixel x of row y lies on diagonal x + y, whose pixels stand in a row, one lane for each y.

    Lane 0 is the row above the band, known from the start, and lane y + 1 is row y.
    """
    count, width = len(stored), stored.shape[1] // pixel
    diagonals = width + count
    skewed = np.zeros((diagonals + 1, count + 1, pixel), np.int16)  # one diagonal more: what is left of the first
    lanes = np.arange(count)
    across = np.arange(width)
    skewed[1 : width + 1, 0] = above.reshape(width, pixel)
    place = (across[None, :] + lanes[:, None] + 2, lanes[:, None] + 1)
    skewed[place] = stored.reshape(count, width, pixel)
    kind = types[:, None]
    sub, up, average, paeth = (np.ascontiguousarray(kind == t) for t in (SUB, UP, AVERAGE, PAETH))
    for d in range(2, diagonals + 1):
        low, high = max(0, d - 1 - width), min(count, d - 1)  # the lanes whose pixel of this diagonal exists
        left, top, corner = skewed[d - 1, low + 1 : high + 1], skewed[d - 1, low:high], skewed[d - 2, low:high]
        rows = slice(low, high)
        predicted = left * sub[rows] + top * up[rows] + ((left + top) >> 1) * average[rows]
        if paeth.any():
            predicted += _paeth(left, top, corner) * paeth[rows]
        skewed[d, low + 1 : high + 1] += predicted
        skewed[d, low + 1 : high + 1] &= 255
    return skewed[place].astype(np.uint8).reshape(count, -1)


def _paeth(left: NDArray[np.int16], up: NDArray[np.int16], corner: NDArray[np.int16]) -> NDArray[np.int16]:
    """The neighbour nearest to left + up - corner; of equals the first in that order."""
    from_left, from_up = np.abs(up - corner), np.abs(left - corner)
    from_corner = np.abs(left + up - 2 * corner)
    nearest = np.where(from_up <= from_corner, up, corner)
    return np.where((from_left <= from_up) & (from_left <= from_corner), left, nearest)


def paeth_of_bytes(left: Rows, up: Rows, corner: Rows) -> Rows:
    """`_paeth` without leaving bytes, in a third of its time: numpy takes many of them at once where it need not widen.

    Where the corner lies between left and up, its distance is the difference of theirs; otherwise it is their sum, and
    the corner never nearest: 255 stands for that.
    """
    from_left, from_up = _distance(up, corner), _distance(left, corner)
    from_corner = _distance(from_left, from_up)
    from_corner |= _where((left >= corner) == (up >= corner))
    nearest = up ^ corner
    nearest &= _where(from_up <= from_corner)
    nearest ^= corner
    farther = _where(from_left > np.minimum(from_up, from_corner))
    nearest ^= left
    nearest &= farther
    nearest ^= left
    return nearest


def _distance(a: Rows, b: Rows) -> Rows:
    larger = np.maximum(a, b)
    larger -= np.minimum(a, b)
    return larger


def _where(condition: NDArray[np.bool_]) -> Rows:
    """A mask of bits: 255 where the condition holds and 0 elsewhere."""
    return np.negative(condition.view(np.uint8))


def _shifted(rows: Rows, pixel: int) -> Rows:
    """Every byte's neighbour on the left."""
    moved = np.zeros_like(rows)
    moved[:, pixel:] = rows[:, :-pixel]
    return moved
