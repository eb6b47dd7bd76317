import numpy as np
import pytest

from edgesr.artifact import IOContract
from edgesr.runtime.cases import MAX_SIDE, ParityCase, cut, fitting, parity_cases
from edgesr.target import IODtype, Layout


def contract(
    sizes: tuple[tuple[int, int], ...] = (), any_size: bool = True, multiple: int = 1, value_range: float = 1.0
) -> IOContract:
    return IOContract(IODtype.FLOAT32, Layout.NHWC, 3, 4, value_range, sizes, any_size, multiple)


def photographs(*sizes: tuple[int, int]) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


def sizes_of(cases: list[ParityCase]) -> list[tuple[int, int]]:
    return [(case.image.shape[1], case.image.shape[2]) for case in cases]


def test_free_sizes_get_whole_images_odd_pieces_noise_and_single_pixels() -> None:
    images = photographs((80, 120), (90, 60), (50, 50))
    cases = parity_cases(contract(), images)
    assert [case.name for case in cases] == [
        "natural 80x120", "natural 90x60", "natural odd 37x53",
        "full noise 1x1", "full noise 33x47", "noise 1x1", "noise 33x47",
    ]  # fmt: skip
    assert [case.natural for case in cases] == [True] * 3 + [False] * 4
    assert np.array_equal(np.rint(cases[0].image[0] * 255), images[0])
    assert np.array_equal(np.rint(cases[2].image[0] * 255), images[0][:37, :53])
    assert all(side % 2 for side in (*cases[2].image.shape[1:3], *cases[-1].image.shape[1:3]))


def test_values_are_bytes_of_the_value_range() -> None:
    for value_range in (1.0, 255.0):
        for case in parity_cases(contract(value_range=value_range), photographs((40, 60))):
            levels = case.image * (255 / value_range)
            assert case.image.dtype == np.float64 and case.image.shape[0] == 1
            assert np.abs(levels - np.rint(levels)).max() <= 1e-9
            assert levels.min() >= -1e-9 and levels.max() <= 255 + 1e-9


def test_noise_is_of_half_and_full_contrast() -> None:
    cases = {case.name: np.rint(case.image * 255) for case in parity_cases(contract(), photographs((40, 60)))}
    assert (cases["full noise 33x47"].min(), cases["full noise 33x47"].max()) == (0, 255)
    assert (cases["noise 33x47"].min(), cases["noise 33x47"].max()) == (64, 191)


def test_fixed_sizes_get_those_alone() -> None:
    sizes = ((24, 40), (60, 20))
    cases = parity_cases(contract(sizes, any_size=False), photographs((30, 30), (100, 100)))
    assert set(sizes_of(cases)) == set(sizes)
    assert len(cases) == 2 * 2 + 2 * 2
    for size in sizes:
        kinds = [case.name.split(" ")[0] for case in cases if case.image.shape[1:3] == size]
        assert kinds == ["natural", "natural", "full", "noise"]


@pytest.mark.parametrize("multiple", [2, 8, 64])
def test_every_size_is_one_that_the_contract_accepts(multiple: int) -> None:
    its = contract(multiple=multiple)
    cases = parity_cases(its, photographs((80, 120), (30, 30)))
    assert [its.accepts(*size) for size in sizes_of(cases)] == [None] * len(cases)
    assert (1, 1) in sizes_of(cases), "the smallest there is"
    padded = {case.name: case.image.shape[1:3] for case in cases if case.is_padded}
    assert padded["natural padded 37x53"] == (37, 53) and padded["noise 33x47"] == (33, 47)
    assert not any(side % multiple for case in cases if not case.is_padded for side in case.image.shape[1:3])


def test_fixed_sizes_get_one_that_is_padded_besides() -> None:
    its = contract(((32, 48), (64, 16)), any_size=False, multiple=16)
    cases = parity_cases(its, photographs((80, 120), (30, 30)))
    assert [case.name for case in cases if case.is_padded] == ["natural padded 56x8", "full noise 56x8", "noise 56x8"]
    assert its.file_size((56, 8)) == (64, 16) and cases[-1].is_padded, "a quick check takes the last"
    assert not any(case.is_padded for case in parity_cases(contract(((8, 8),), any_size=False), photographs((9, 9))))


def test_the_same_cases_every_time() -> None:
    images = photographs((40, 60))
    one, two, other = (parity_cases(contract(), images, seed) for seed in (0, 0, 1))
    assert all(np.array_equal(a.image, b.image) for a, b in zip(one, two, strict=True))
    assert not all(np.array_equal(a.image, b.image) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(
    ("size", "multiple", "fitted"),
    [((80, 120), 1, (80, 120)), ((500, 700), 1, (MAX_SIDE, MAX_SIDE)), ((37, 53), 16, (32, 48)), ((5, 5), 8, (8, 8))],
)
def test_fitting(size: tuple[int, int], multiple: int, fitted: tuple[int, int]) -> None:
    assert fitting(size, multiple) == fitted


def test_small_images_are_mirrored_onward() -> None:
    (image,) = photographs((2, 3))
    assert np.array_equal(cut(image, (2, 3)), image)
    assert np.array_equal(cut(image, (1, 2)), image[:1, :2])
    larger = cut(image, (5, 8))
    assert larger.shape == (5, 8, 3)
    assert np.array_equal(larger[:2, :3], image)
    assert np.array_equal(larger[2:4, :3], image[::-1]), "the row after the last is the last again"
    assert np.array_equal(larger[:2, 3:6], image[:, ::-1])


def test_one_pixel_is_enough_of_a_photograph() -> None:
    cases = parity_cases(contract(), photographs((1, 1)))
    assert sizes_of(cases)[:2] == [(1, 1), (37, 53)]
