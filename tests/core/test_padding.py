import itertools
import json

import numpy as np
import pytest

from edgesr.artifact import IOContract
from edgesr.padding import cut_back, pad_image, padded_size
from edgesr.target import IODtype, Layout


def by_hand(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Every pixel of (height, width) by its own index: the nearest one that the image has."""
    result = np.empty((len(image), height, width, image.shape[3]))
    for y, x in itertools.product(range(height), range(width)):
        result[:, y, x] = image[:, min(y, image.shape[1] - 1), min(x, image.shape[2] - 1)]
    return result


@pytest.mark.parametrize(
    ("size", "multiple", "padded"),
    [((1, 1), 16, (16, 16)), ((16, 17), 16, (16, 32)), ((45, 70), 16, (48, 80)), ((1080, 1920), 16, (1088, 1920)),
     ((7, 5), 1, (7, 5)), ((9, 2), 3, (9, 3))],
)  # fmt: skip
def test_sizes_go_up_to_the_next_multiple(size: tuple[int, int], multiple: int, padded: tuple[int, int]) -> None:
    assert padded_size(size, multiple) == padded


@pytest.mark.parametrize("size", [(1, 1), (4, 8), (5, 7), (3, 8)])
@pytest.mark.parametrize("multiple", [1, 2, 4, 16])
def test_the_last_row_and_column_are_repeated(size: tuple[int, int], multiple: int) -> None:
    image = np.random.default_rng(0).random((2, *size, 3))
    kept = image.copy()
    padded = pad_image(image, multiple)
    assert np.array_equal(padded, by_hand(kept, *padded_size(size, multiple)))
    assert np.array_equal(image, kept)
    doubled = padded.repeat(2, axis=1).repeat(2, axis=2)
    assert np.array_equal(cut_back(doubled, size, 2), kept.repeat(2, axis=1).repeat(2, axis=2))


@pytest.mark.parametrize("dtype", list(IODtype))
@pytest.mark.parametrize("layout", list(Layout))
def test_the_contract_pads_what_goes_in_and_cuts_what_comes_out(dtype: IODtype, layout: Layout) -> None:
    contract = IOContract(dtype, layout, 3, 1, 1.0, (), True, size_multiple=4)
    whole = IOContract(dtype, layout, 3, 1, 1.0, (), True)
    image = np.random.default_rng(0).integers(0, 256, (1, 5, 6, 3)) / 255
    data = contract.encode(image)
    assert np.array_equal(data, whole.encode(by_hand(image, 8, 8)))
    assert np.allclose(contract.decode(data, (5, 6)), image, atol=1e-6)
    assert contract.decode(data).shape == (1, 8, 8, 3)
    assert contract.rounded(image).shape == image.shape
    assert np.array_equal(contract.rounded(image), contract.decode(data, (5, 6)))


def test_a_file_of_one_size_takes_what_is_padded_to_it() -> None:
    contract = IOContract(IODtype.UINT8, Layout.NHWC, 3, 1, 1.0, ((1088, 1920),), False, size_multiple=16)
    assert contract.file_size((1080, 1920)) == (1088, 1920)
    assert contract.accepts(1080, 1920) is contract.accepts(1073, 1905) is contract.accepts(1088, 1920) is None
    assert contract.accepts(1072, 1920) == "1072x1920 is not a size of this artifact (1088x1920)"


def test_a_manifest_says_how_to_pad_where_there_is_anything_to_pad() -> None:
    contract = IOContract(IODtype.UINT8, Layout.NHWC, 3, 1, 1.0, (), True, size_multiple=16)
    plain = json.loads(json.dumps(contract.to_json()))
    assert plain["padding"] == "replicate" and IOContract.from_json(plain) == contract
    assert "padding" not in IOContract(IODtype.UINT8, Layout.NHWC, 3, 1, 1.0, (), True).to_json()
    with pytest.raises(ValueError, match="padding is 'reflect', wanted 'replicate'"):
        IOContract.from_json(plain | {"padding": "reflect"})
