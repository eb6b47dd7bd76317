import json
import math

import numpy as np
import pytest

from edgesr.errors import ArtifactError
from edgesr.runtime.json_fields import FieldError, Fields
from edgesr.runtime.output_parity import OutputParity, compare_outputs

IMAGE = np.arange(60, dtype=np.uint8).reshape(1, 4, 5, 3)
FLOATS = IMAGE.astype(np.float32) / 60


def test_equal_outputs() -> None:
    found = compare_outputs(IMAGE, IMAGE.copy(), "the host")
    assert found == OutputParity("the host", 60, 60, True, 0.0, 0.0, "LSB", None)
    assert compare_outputs(FLOATS, FLOATS.copy(), "x", peak=1.0).compared_bytes == 240


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_integers_differ_in_lsb(dtype: type) -> None:
    wanted = (IMAGE.astype(np.int16) - 30).astype(dtype)
    got = wanted.copy()
    got.flat[[3, 7, 9]] += np.array([1, 2, 5], dtype)
    found = compare_outputs(got, wanted, "x")
    assert (found.equal, found.changed_share, found.max_difference, found.unit) == (False, 0.05, 5.0, "LSB")
    assert found.psnr_db == pytest.approx(10 * math.log10(255**2 * 60 / (1 + 4 + 25)))


def test_unsigned_differences_do_not_wrap() -> None:
    found = compare_outputs(np.array([0, 255], np.uint8), np.array([255, 0], np.uint8), "x")
    assert found.max_difference == 255 and found.psnr_db == 0.0


def test_floats_differ_in_their_own_unit_and_have_psnr_where_a_peak_is_known() -> None:
    got = FLOATS.copy()
    got.flat[0] += 0.25
    found = compare_outputs(got, FLOATS, "x", peak=2.0)
    assert found.max_difference == 0.25 and found.unit == ""
    assert found.psnr_db == pytest.approx(10 * math.log10(4.0 * 60 / 0.0625))
    assert compare_outputs(got, FLOATS, "x").psnr_db is None


def test_bytes_decide_what_is_equal() -> None:
    found = compare_outputs(np.array([-0.0, 1.0], np.float32), np.array([0.0, 1.0], np.float32), "x")
    assert (found.equal, found.changed_share, found.max_difference) == (False, 0.5, 0.0)
    nan = np.array([math.nan, 1.0], np.float32)
    assert compare_outputs(nan, nan.copy(), "x").equal


@pytest.mark.parametrize("got", [math.nan, math.inf])
def test_what_is_no_number_is_infinitely_wrong(got: float) -> None:
    found = compare_outputs(np.array([got, 1.0], np.float32), np.array([0.5, 1.0], np.float32), "x", peak=1.0)
    assert found.max_difference == math.inf and found.psnr_db == 0.0 and found.changed_share == 0.5


@pytest.mark.parametrize(
    ("got", "wanted"), [(IMAGE, FLOATS), (IMAGE, IMAGE[:, :3]), (IMAGE[:, :0], IMAGE[:, :0])], ids=str
)
def test_other_types_and_shapes_are_refused(got: np.ndarray, wanted: np.ndarray) -> None:
    with pytest.raises(
        ArtifactError, match=r"cannot be compared with the host, .*; run both on the same file and size"
    ):
        compare_outputs(got, wanted, "the host")


def test_it_is_read_back() -> None:
    for got in (FLOATS, FLOATS + np.float32(0.5), FLOATS * np.float32(math.nan)):
        found = compare_outputs(got, FLOATS, "x", peak=1.0)
        assert OutputParity.from_json(Fields(json.loads(json.dumps(found.to_json(), allow_nan=False)))) == found


def test_contradictions_are_refused() -> None:
    with pytest.raises(ValueError, match="equal where no value differs"):
        OutputParity("x", 1, 4, True, 0.5, 0.0, "", None)
    with pytest.raises(ValueError, match="compared: none"):
        OutputParity("x", 0, 0, True, 0.0, 0.0, "", None)
    with pytest.raises(FieldError, match="unit is missing"):
        OutputParity.from_json(Fields({k: v for k, v in compare_outputs(IMAGE, IMAGE, "x").to_json().items()
                                       if k != "unit"}))  # fmt: skip
