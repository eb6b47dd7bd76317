"""Plans of tiles: what they promise, by exhaustion, and that tiles put together are the whole, in float64."""

import dataclasses
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest

from edgesr.errors import ArtifactError
from edgesr.graph import Graph
from edgesr.padding import padded_size
from edgesr.runtime.receptive_field import Reach, find_reach
from edgesr.runtime.tiling import Segment, TilePlan, plan_tiles, smallest_tile, whole_plan
from edgesr.runtime.torch_runner import GraphRunner

REACHES = [Reach(0, 0, 0, 0), Reach(2, 2, 2, 2), Reach(3, 0, 0, 5), Reach(1, 4, 7, 2)]
RANDOM_SEEDS = range(24)
ROUNDING = 1e-12
"""Relative: float64 sums in another order."""


def plans(multiple: int, reach: Reach, fixed: bool) -> list[TilePlan]:
    """Of every size up to 33 pixels, on the three smallest tiles."""
    least = smallest_tile(reach, multiple)
    tiles = [(least[0] + k * multiple, least[1] + k * multiple) for k in range(3)]
    return [plan_tiles((n, 34 - n), tile, reach, multiple, fixed) for n in range(1, 34) for tile in tiles]


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("multiple", [1, 2, 4])
@pytest.mark.parametrize("reach", REACHES, ids=str)
def test_every_pixel_is_taken_once_from_where_a_tile_is_the_whole(multiple: int, reach: Reach, fixed: bool) -> None:
    for plan in plans(multiple, reach, fixed):
        for axis, segments in enumerate((plan.rows, plan.columns)):
            before, behind = reach.along(axis)
            side, end, tile = plan.size[axis], padded_size(plan.size, multiple)[axis], plan.tile[axis]
            assert [p for s in segments for p in range(s.keep_start, s.keep_stop)] == list(range(side))
            for s in segments:
                assert s.start % multiple == 0 and tile % multiple == 0
                assert s.start + tile <= end or (len(segments) == 1 and tile > end), "no tile lies beyond the image"
                assert s.keep_start >= s.start + before or s.start == 0
                assert s.keep_stop <= s.start + tile - behind or s.start + tile == end or tile > end
            if not fixed:
                assert tile <= end


def test_an_image_no_larger_than_the_tile_is_one_tile() -> None:
    plan = plan_tiles((5, 7), (64, 64), Reach(9, 9, 9, 9), 4)
    assert (plan.count, plan.tile, plan.exact, plan.work) == (1, (8, 8), True, Fraction(64, 35))


def test_the_plan_of_an_image_by_hand() -> None:
    """21 pixels, tiles of 10 with a reach of 2 and 3: each has 5 of its own, and more at the image's edges."""
    plan = plan_tiles((21, 10), (10, 10), Reach(2, 3, 2, 3))
    assert plan.rows == (Segment(0, 0, 7), Segment(5, 7, 12), Segment(10, 12, 17), Segment(11, 17, 21))
    assert plan.columns == (Segment(0, 0, 10),)
    assert plan.work == Fraction(4 * 100, 210)


def test_a_last_tile_of_nothing_but_continued_pixels_is_left_out() -> None:
    """13 pixels are continued to 16; of tiles of 12 from 0 and 4 the first gives all but the last of the image."""
    plan = plan_tiles((13, 13), (12, 12), Reach(0, 0, 0, 0), 4)
    assert [s.keep_stop for s in plan.rows] == [12, 13]
    assert len(plan_tiles((8, 8), (8, 8), Reach(0, 0, 0, 0), 8).rows) == 1


def test_a_fixed_tile_larger_than_the_image_says_where_it_is_inexact() -> None:
    plan = plan_tiles((30, 20), (32, 20), Reach(3, 4, 5, 6), 2, fixed=True)
    assert not plan.exact and plan.tile == (32, 20)
    assert plan.inexact == (
        "the file's size 32x20 is larger than the image, which is continued by its last row and column: "
        "within 4 px of the bottom it may differ from a file for 30x20"
    )
    assert plan_tiles((31, 20), (32, 20), Reach(3, 4, 5, 6), 2, fixed=True).exact, "what the network means anyway"
    both = plan_tiles((10, 10), (32, 20), Reach(3, 4, 5, 6), 2, fixed=True)
    assert both.inexact is not None and "within 4 px of the bottom and 6 px of the right" in both.inexact


def test_a_tile_too_small_for_the_reach_is_refused_with_the_size_that_is_needed() -> None:
    with pytest.raises(ArtifactError, match=r"tile of 32x32 is too small.*16 px to every side.*at least 33x33"):
        plan_tiles((100, 100), (32, 32), Reach(16, 16, 16, 16))
    with pytest.raises(ArtifactError, match=r"1 px above, 2 below, 3 left, 4 right.*at least 16x16"):
        plan_tiles((100, 100), (8, 8), Reach(1, 2, 3, 4), 8)
    assert plan_tiles((100, 100), (33, 33), Reach(16, 16, 16, 16)).count == 68 * 68
    assert plan_tiles((20, 20), (32, 32), Reach(16, 16, 16, 16)).count == 1, "one tile has no seam"


@pytest.mark.parametrize(
    ("tile", "multiple", "choose"), [((30, 32), 16, "32x32"), ((0, 4), 1, "1x4"), ((-16, 4), 4, "4x4")]
)
def test_a_tile_off_the_multiple_is_refused(tile: tuple[int, int], multiple: int, choose: str) -> None:
    with pytest.raises(ArtifactError, match=f"a tile of {tile[0]}x{tile[1]} does not fit.*; choose {choose}$"):
        plan_tiles((100, 100), tile, Reach(0, 0, 0, 0), multiple)


def test_segments_and_plans_refuse_what_loses_pixels() -> None:
    with pytest.raises(ValueError, match="takes no pixel"):
        Segment(4, 4, 4)
    with pytest.raises(ValueError, match="takes no pixel"):
        Segment(4, 3, 5)
    plan = plan_tiles((21, 10), (10, 10), Reach(2, 3, 2, 3))
    with pytest.raises(ValueError, match="tiles take"):
        dataclasses.replace(plan, rows=plan.rows[:-1])
    with pytest.raises(ValueError, match="tiles take"):
        dataclasses.replace(plan, rows=(plan.rows[0], *plan.rows[2:]))
    with pytest.raises(ValueError, match="at least 0"):
        Reach(-1, 0, 0, 0)


def test_the_whole_is_one_exact_tile() -> None:
    assert whole_plan((5, 9), 4) == TilePlan((5, 9), (8, 12), (Segment(0, 0, 5),), (Segment(0, 0, 9),))


def put_together(graph: Graph, image: np.ndarray, plan: TilePlan) -> np.ndarray:
    """The graph on each tile, by the words of the plan."""
    scale, runner = int(graph.scale), GraphRunner(graph)
    rows, columns = (np.minimum(np.arange(2 * n + plan.tile[0] + plan.tile[1]), n - 1) for n in plan.size)
    parts = []
    for r in plan.rows:
        for c in plan.columns:
            tile = image[:, rows[r.start : r.start + plan.tile[0]]][:, :, columns[c.start : c.start + plan.tile[1]]]
            kept = [slice((s.keep_start - s.start) * scale, (s.keep_stop - s.start) * scale) for s in (r, c)]
            parts.append((r, c, runner.run(tile)[:, kept[0], kept[1]]))
    output = np.full((1, plan.size[0] * scale, plan.size[1] * scale, parts[0][2].shape[3]), np.nan)
    for r, c, part in parts:
        output[:, r.keep_start * scale : r.keep_stop * scale, c.keep_start * scale : c.keep_stop * scale] = part
    return output


def seam(graph: Graph, reach: Reach, size: tuple[int, int], extra: int, planned: Reach | None = None) -> float:
    """The largest difference of tiles from the whole, relative to its largest value."""
    multiple = graph.size_multiple
    least = smallest_tile(reach, multiple)
    tile = (least[0] + extra * multiple, least[1] + (extra + 1) * multiple)
    image = np.random.default_rng(size[0]).random((1, *size, graph.input.channels)) - 0.3
    whole = GraphRunner(graph, multiple).run(image)
    plan = plan_tiles(size, tile, planned or reach, multiple)
    assert plan.count > 1
    return float(np.abs(put_together(graph, image, plan) - whole).max() / np.abs(whole).max())


@pytest.mark.parametrize("seed", RANDOM_SEEDS)
def test_tiles_of_random_graphs_are_the_whole(random_graph: Callable[[int], Graph], seed: int) -> None:
    """With strides and lopsided kernels, at odd sizes, on three tiles."""
    graph = random_graph(seed)
    reach = find_reach(graph)
    assert isinstance(reach, Reach)
    least = smallest_tile(reach, graph.size_multiple)
    size = (least[0] + 5 * graph.size_multiple + 1, least[1] + 7 * graph.size_multiple + 3)
    for extra in (0, 1, 3):
        assert seam(graph, reach, size, extra) < ROUNDING


SIDES = ("above", "below", "left", "right")


@pytest.mark.parametrize("side", SIDES)
def test_a_reach_that_is_one_pixel_short_leaves_a_seam(random_graph: Callable[[int], Graph], side: str) -> None:
    """On each side alone, for every random graph without strides that reaches there: no pixel of the reach is idle."""
    seen = 0
    for seed in range(80):
        graph = random_graph(seed)
        reach = find_reach(graph)
        if graph.size_multiple > 1 or not isinstance(reach, Reach) or not getattr(reach, side):
            continue
        short = dataclasses.replace(reach, **{side: getattr(reach, side) - 1})
        least = smallest_tile(reach, 1)
        assert seam(graph, reach, (least[0] + 9, least[1] + 9), 0, short) > ROUNDING
        seen += 1
    assert seen >= 3


def test_tiles_that_do_not_start_at_multiples_leave_a_seam(random_graph: Callable[[int], Graph]) -> None:
    graph = random_graph(3)
    assert graph.size_multiple == 6
    reach = find_reach(graph)
    assert isinstance(reach, Reach)
    image = np.random.default_rng(0).random((1, 198, 60, graph.input.channels))
    whole = GraphRunner(graph, 6).run(image)
    sound = plan_tiles((198, 60), (120, 60), reach, 6)
    assert [s.start for s in sound.rows] == [0, 36, 72, 78]
    moved = tuple(dataclasses.replace(s, start=s.start - (s.start == 36)) for s in sound.rows)
    differences = [
        np.abs(put_together(graph, image, plan) - whole).max() / np.abs(whole).max()
        for plan in (sound, dataclasses.replace(sound, rows=moved))
    ]
    assert differences[0] < ROUNDING and differences[1] > 1e-6
