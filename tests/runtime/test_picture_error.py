import math

import numpy as np
import pytest

from edgesr.runtime.picture_error import PictureErrors, compare_pictures, interior

GREY = np.full((20, 30, 3), 100, np.uint8)


def test_equal_pictures_have_no_error() -> None:
    error = compare_pictures(GREY, GREY, 4)
    assert (error.interior_psnr_db, error.border_psnr_db) == (math.inf, math.inf)
    assert error.shift_levels == (0.0, 0.0, 0.0) and error.clipped_share == 0.0


def test_a_shifted_channel_is_that_channels_shift() -> None:
    found = GREY.copy()
    found[..., 1] += 3
    found[::2, :, 2] -= 1
    error = compare_pictures(found, GREY, 4)
    assert error.shift_levels == (0.0, 3.0, -0.5) and error.worst_shift_levels == 3.0


def test_rounding_both_ways_is_no_shift() -> None:
    found = GREY.copy()
    found[::2] += 1
    found[1::2] -= 1
    assert compare_pictures(found, GREY, 4).shift_levels == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("value", "rail", "white", "black"),
    [(255, 255, 0, 0), (254, 255, 0, 0), (253, 255, 1, 0), (0, 0, 0, 0), (1, 0, 0, 0), (2, 0, 0, 1), (250, 254, 0, 0)],
)
def test_a_pixel_is_wrongly_clipped_two_levels_from_the_rail(value: int, rail: int, white: int, black: int) -> None:
    """One level is rounding."""
    network, found = GREY.copy(), GREY.copy()
    network[3, 5, 0], found[3, 5, 0] = value, rail
    error = compare_pictures(found, network, 4)
    assert (error.white_share * 600, error.black_share * 600) == pytest.approx((white, black))


@pytest.mark.parametrize(("value", "rail", "share"), [(247, 255, 0), (246, 255, 1), (8, 0, 0), (9, 0, 1)])
def test_a_pixel_is_cut_off_beyond_the_noise(value: int, rail: int, share: int) -> None:
    network, found = GREY.copy(), GREY.copy()
    network[3, 5, 0], found[3, 5, 0] = value, rail
    error = compare_pictures(found, network, 4)
    assert error.cut_off_share * 600 == pytest.approx(share) and error.clipped_share * 600 == pytest.approx(1)


@pytest.mark.parametrize(
    ("truth", "rail", "lost"), [(255, 255, 0), (247, 255, 0), (246, 255, 1), (0, 255, 1), (0, 0, 0), (9, 0, 1)]
)
def test_detail_is_lost_where_the_truth_has_it_too(truth: int, rail: int, lost: int) -> None:
    """The network says 100, the file a rail: wrong for the network, lost only where the truth is off that rail."""
    found, hr = GREY.copy(), GREY.copy()
    found[3, 5, 0], hr[3, 5, 0] = rail, truth
    error = compare_pictures(found, GREY, 4, hr)
    assert error.cut_off_share * 600 == pytest.approx(1) and error.lost_share is not None
    assert error.lost_share * 600 == pytest.approx(lost)


def test_a_channel_on_a_rail_excuses_no_other() -> None:
    found, hr = GREY.copy(), GREY.copy()
    found[3, 5], hr[3, 5] = (255, 0, 100), (255, 255, 100)
    error = compare_pictures(found, GREY, 4, hr)
    assert error.lost_share == pytest.approx(1 / 600), "the second channel is black where the truth is white"
    assert compare_pictures(found, GREY, 4).lost_share is None
    assert PictureErrors((error, compare_pictures(found, GREY, 4))).lost_share is None
    assert PictureErrors((error, compare_pictures(GREY, GREY, 4, hr))).lost_share == pytest.approx(1 / 1200)


def test_several_channels_of_a_pixel_are_one_pixel() -> None:
    found = GREY.copy()
    found[0, 0] = 255
    found[0, 1] = (255, 0, 7)
    error = compare_pictures(found, GREY, 4)
    assert error.white_share == pytest.approx(2 / 600) and error.black_share == pytest.approx(1 / 600)
    assert error.clipped_share == pytest.approx(3 / 600)


def test_border_and_interior_share_no_pixel() -> None:
    found = GREY.copy()
    found[0, 0] = 0
    assert (
        compare_pictures(found, GREY, 4).interior_psnr_db == math.inf > compare_pictures(found, GREY, 4).border_psnr_db
    )
    found = GREY.copy()
    found[4, 4] = 0
    error = compare_pictures(found, GREY, 4)
    assert error.border_psnr_db == math.inf
    assert error.interior_psnr_db == pytest.approx(10 * math.log10(255**2 / (100**2 / (12 * 22))))
    assert compare_pictures(found, GREY, 10).interior_psnr_db is None, "all border"
    assert interior((3, 9), 1).sum() == 7


def test_pictures_of_other_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"not \(20, 30, 3\) and \(19, 30, 3\)"):
        compare_pictures(GREY, GREY[1:], 4)


def test_means_are_over_pictures_and_the_worst_is_one() -> None:
    red, dark = GREY.copy(), GREY.copy()
    red[..., 0] += 2
    dark[:10] -= 4
    dark[0, 0] = 0
    first, second = compare_pictures(red, GREY, 4), compare_pictures(dark, GREY, 4)
    both = PictureErrors((first, second))
    assert both.shift_levels == pytest.approx(np.mean([first.shift_levels, second.shift_levels], axis=0))
    assert both.worst_shift_levels == second.worst_shift_levels > 2
    assert (both.white_share, both.black_share) == (0.0, second.black_share / 2)
    assert both.worst_clipped_share == second.clipped_share
    assert both.cut_off_share == second.cut_off_share / 2 > 0
    assert both.border_psnr_db == (first.border_psnr_db + second.border_psnr_db) / 2
    only_border = PictureErrors((compare_pictures(red, GREY, 10), first))
    assert only_border.interior_psnr_db == first.interior_psnr_db
    assert PictureErrors((compare_pictures(red, GREY, 10),)).to_json()["interior_psnr_db"] is None
