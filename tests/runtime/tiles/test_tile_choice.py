"""Which tiles a file takes: its own sizes, or what is worth its memory."""

from math import ceil, sqrt
from typing import Any

import pytest

from edgesr.artifact import IOContract
from edgesr.errors import ArtifactError
from edgesr.padding import padded_size
from edgesr.runtime.receptive_field import NoReach, Reach
from edgesr.runtime.tile_choice import (
    ACTIVATION_BYTES,
    BYTES_PER_LIVE_VALUE,
    LEAST_SIDE,
    STRIP_BYTES,
    WHOLE,
    WORTHWHILE_WASTE,
    bytes_per_pixel,
    choose_plan,
    default_tile,
    waste,
)
from edgesr.runtime.tiling import plan_tiles, smallest_tile
from edgesr.target import IODtype, Layout, Precision

SPANV2 = Reach(16, 16, 16, 16)
DENOISER = Reach(139, 124, 139, 124)
LARGE = (10_000, 10_000)
NOWHERE = NoReach("Mean 'm' depends on every position of the image")


def contract(sizes: tuple[tuple[int, int], ...] = (), any_size: bool = True, multiple: int = 1) -> IOContract:
    return IOContract(IODtype.FLOAT32, Layout.NHWC, 3, 4, 1.0, sizes, any_size, multiple)


def test_waste_is_what_is_computed_for_each_pixel_of_ones_own() -> None:
    assert waste((64, 64), SPANV2) == 4.0
    assert waste((32, 64), SPANV2) == float("inf")
    assert waste((40, 33), Reach(0, 0, 0, 0)) == 1.0


def test_a_large_image_gets_tiles_of_a_worthwhile_waste() -> None:
    tile = default_tile(LARGE, SPANV2, 1)
    assert 0.97 * WORTHWHILE_WASTE < waste(tile, SPANV2) < 1.03 * WORTHWHILE_WASTE
    assert float(plan_tiles(LARGE, tile, SPANV2).work) < 1.03 * WORTHWHILE_WASTE


def test_memory_bounds_the_tile_and_the_reach_bounds_the_memory() -> None:
    dear, dearer = ACTIVATION_BYTES / 600**2, ACTIVATION_BYTES / 100**2
    assert waste(default_tile(LARGE, DENOISER, 16), DENOISER) < 1.03 * WORTHWHILE_WASTE
    height, width = default_tile(LARGE, DENOISER, 16, dear)
    assert 500 < height == width <= 608
    least = smallest_tile(DENOISER, 16)
    assert default_tile(LARGE, DENOISER, 16, dearer) == least, "less is of no use"


def test_a_network_of_a_small_reach_is_not_cut_into_crumbs() -> None:
    assert default_tile((LEAST_SIDE,) * 2, Reach(1, 1, 1, 1), 1) == (LEAST_SIDE, LEAST_SIDE)
    assert min(default_tile(LARGE, Reach(1, 1, 1, 1), 1)) > 0.9 * LEAST_SIDE


@pytest.mark.parametrize("multiple", [1, 2, 16])
def test_tiles_are_as_small_as_their_number_allows(multiple: int) -> None:
    """For every size: a valid plan, as few tiles as the largest ones, and none a multiple smaller does as well."""
    reach = Reach(16, 15, 3, 0)
    side = padded_size((ceil(31 / (1 - 1 / sqrt(WORTHWHILE_WASTE))),) * 2, multiple)
    for n in range(1, 1200, 7):
        size = (n, 1200 - n)
        tile = default_tile(size, reach, multiple)
        plan = plan_tiles(size, tile, reach, multiple)
        assert plan.exact and plan.tile == tile
        assert plan.count == plan_tiles(size, side, reach, multiple).count
        for axis, segments in enumerate((plan.rows, plan.columns)):
            smaller = tuple(t - multiple * (k == axis) for k, t in enumerate(tile))
            if len(segments) > 1 and smaller[axis] >= smallest_tile(reach, multiple)[axis]:
                fewer = plan_tiles(size, smaller, reach, multiple)
                assert len((fewer.rows, fewer.columns)[axis]) >= len(segments)


def test_an_image_one_pixel_larger_than_a_tile_is_not_computed_twice() -> None:
    side = max(default_tile((1 << 20, 1 << 20), SPANV2, 1)) + 8
    plan = choose_plan((side, side), contract(), SPANV2)
    assert plan.count in (1, 4) and plan.work < 1.35


def test_a_row_of_tiles_of_a_very_wide_image_puts_out_a_bounded_strip() -> None:
    """In float32; tiles are longer instead, as far as the same memory lets them."""
    for width in (1000, 10_000, 30_000):
        plan = choose_plan((3000, width), contract(), SPANV2)
        strips = [s.kept * width * 4 * 4 * 3 * 4 for s in plan.rows]
        assert max(strips[1:-1]) <= STRIP_BYTES
        assert plan.tile[0] * plan.tile[1] <= default_tile(LARGE, SPANV2, 1)[0] ** 2 * 1.05
        assert float(plan.work) < 1.25 * (WORTHWHILE_WASTE if width < 30_000 else 1.5)
    height, length = choose_plan((3000, 30_000), contract(), SPANV2).tile
    assert height < 100 < 900 < length
    extreme = choose_plan((300, 333_333), contract(), SPANV2)
    assert extreme.tile[0] <= 64 and extreme.work < 2.3, "a waste of 2, and no more"


def test_a_fixed_file_keeps_its_size() -> None:
    plan = choose_plan((100, 300), contract(((64, 96),), any_size=False), SPANV2)
    assert plan.tile == (64, 96) and plan.exact


def test_of_several_sizes_the_cheapest_exact_one_is_taken() -> None:
    several = contract(((64, 64), (64, 96), (96, 300)), any_size=False)
    assert choose_plan((64, 96), several, SPANV2).tile == (64, 96)
    assert choose_plan((96, 300), several, SPANV2).tile == (96, 300)
    assert choose_plan((64, 64), several, SPANV2).count == 1
    smaller = choose_plan((50, 50), several, SPANV2)
    assert smaller.tile == (64, 64) and not smaller.exact


def test_a_size_that_the_reach_leaves_nothing_of_is_passed_over() -> None:
    several = contract(((32, 32), (64, 64)), any_size=False)
    assert choose_plan((500, 500), several, SPANV2).tile == (64, 64)
    with pytest.raises(ArtifactError, match=r"32x32 is too small.*at least 33x33"):
        choose_plan((500, 500), contract(((32, 32),), any_size=False), SPANV2)


def test_a_tile_that_a_fixed_file_does_not_have_is_refused() -> None:
    several = contract(((64, 64), (64, 96)), any_size=False)
    assert choose_plan((500, 500), several, SPANV2, (64, 96)).tile == (64, 96)
    with pytest.raises(ArtifactError, match="runs at 64x64, 64x96 alone, not at a tile of 128x128; leave the tile"):
        choose_plan((500, 500), several, SPANV2, (128, 128))


def test_a_tile_that_was_asked_for_is_taken() -> None:
    assert choose_plan((500, 40), contract(), SPANV2, (64, 96)).tile == (64, 40)


def test_whole_means_one_tile_where_the_file_takes_it() -> None:
    assert choose_plan((501, 40), contract(multiple=2), NOWHERE, WHOLE).tile == (502, 40)
    with pytest.raises(ArtifactError, match=r"501x40 is not a size of this artifact \(64x64\); let it be cut into til"):
        choose_plan((501, 40), contract(((64, 64),), any_size=False), SPANV2, WHOLE)


def test_without_a_reach_an_image_runs_whole_or_not_at_all() -> None:
    assert choose_plan((501, 40), contract(), NOWHERE).count == 1
    assert choose_plan((50, 40), contract(), NOWHERE, (64, 64)).count == 1, "it needs no cut"
    assert choose_plan((64, 64), contract(((64, 64),), any_size=False), NOWHERE).count == 1
    for size in ((50, 64), (500, 500)):
        with pytest.raises(ArtifactError, match="cannot be cut into tiles: Mean 'm' depends on every position"):
            choose_plan(size, contract(((64, 64),), any_size=False), NOWHERE)


def test_memory_is_counted_from_the_values_that_a_graph_keeps_at_once(small: Any) -> None:
    assert bytes_per_pixel(small.quantized, Precision.INT8) == 10 * float(small.graph.live_values_per_input_pixel)
    assert set(BYTES_PER_LIVE_VALUE) == set(Precision)
