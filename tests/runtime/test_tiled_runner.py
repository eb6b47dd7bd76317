"""Files by tiles beside the same files on the whole image: bit for bit in integers, within 1e-6 in floats."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgesr.artifact import IOContract
from edgesr.errors import ArtifactError
from edgesr.export.folds.host_shuffle import ending_before_shuffle
from edgesr.export.onnx import emit_onnx
from edgesr.export.tflite import emit_tflite
from edgesr.model.registry import load_model
from edgesr.runtime.receptive_field import NoReach, Reach, find_reach
from edgesr.runtime.runners import FileRunner, open_runner
from edgesr.runtime.tile_choice import WHOLE
from edgesr.runtime.tiled_runner import TiledRunner, check_seams, tile_runner
from edgesr.target import Format, IODtype, Layout, find_target

FLOAT_TOLERANCE = 1e-6
"""Of values in [0, 1]: what the order of a float sum may change where a runtime chooses it by an image's size."""

FILES = [
    ("tflite-fp32", "litert-xnnpack"),
    ("tflite-int8", "litert-xnnpack"),
    ("onnx-fp32", "onnxruntime"),
    ("onnx-int8", "onnxruntime"),
]
files = pytest.mark.parametrize(("target", "runner"), FILES, ids=lambda value: value)
TILES = ((40, 40), (48, 64), (65, 51))
SIZES = ((131, 97), (66, 203))
DENOISED = (333, 301)
DENOISED_WHOLE = (336, 304)
DENOISED_TILES = ((288, 288), (304, 288), (320, 304))


@pytest.fixture(scope="module")
def bundled(as_network: Callable[..., Any]) -> Any:
    return as_network(load_model("spanv2_x4"))


def picture(images: list[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """Natural content of any size with noise on it, uint8 (1, H, W, 3)."""
    height, width = size
    natural = np.concatenate([*images, *images[::-1]], axis=1)
    natural = np.concatenate([natural] * (1 + height // 80), axis=0)[:height, :width].astype(np.int64)
    noise = np.random.default_rng(height).integers(-20, 21, natural.shape)
    return np.clip(natural + noise, 0, 255).astype(np.uint8)[None]


def opened(exported: Any, runner: str) -> FileRunner:
    return open_runner(runner, exported.target, exported.path, exported.contract)


def tiled(exported: Any, runner: str, tile: tuple[int, int] | None) -> TiledRunner:
    network = exported.network.for_precision(exported.target.precision)
    return tile_runner(opened(exported, runner), exported.contract, network, exported.target.precision, tile)


def assert_the_whole(exported: Any, found: np.ndarray, whole: np.ndarray) -> None:
    """Bit for bit in integers, within the tolerance in floats; and that there is something to see."""
    assert found.shape == whole.shape and found.dtype == whole.dtype == np.float32 and whole.std() > 0.05
    if exported.target.precision.is_integer:
        assert np.array_equal(found, whole)
    else:
        assert np.abs(found - whole).max() <= FLOAT_TOLERANCE


@files
@pytest.mark.parametrize("network", ["small", pytest.param("bundled", marks=pytest.mark.slow)])
def test_tiles_are_the_whole_image(
    request: pytest.FixtureRequest, export: Any, images: list[np.ndarray], target: str, runner: str, network: str
) -> None:
    """Three tiles, odd sizes, borders included."""
    exported = export(target, network=request.getfixturevalue(network))
    whole = opened(exported, runner)
    for size in SIZES:
        image = picture(images, size) / 255
        expected = whole.run(image)
        for tile in TILES:
            by_tiles = tiled(exported, runner, tile)
            assert by_tiles.plan(size).count > 1 and by_tiles.plan(size).exact
            assert_the_whole(exported, by_tiles.run(image), expected)


@pytest.mark.parametrize("target", ["tflite-fp16", "tflite-a16w8", "onnx-fp16", "onnx-a16w8"])
def test_tiles_of_the_other_precisions_are_the_whole_image(export: Any, images: list[np.ndarray], target: str) -> None:
    exported, image = export(target), picture(images, SIZES[0]) / 255
    (runner, *_) = exported.target.runners
    for tile in TILES:
        found = tiled(exported, runner, tile).run(image)
        assert np.array_equal(found, opened(exported, runner).run(image))


def test_tiles_on_the_reference_kernels_are_the_whole_image(export: Any, images: list[np.ndarray]) -> None:
    exported, image = export("tflite-int8"), picture(images, (45, 61)) / 255
    found = tiled(exported, "litert-reference", (32, 40)).run(image)
    assert np.array_equal(found, opened(exported, "litert-reference").run(image))


@files
def test_tiles_of_a_network_with_strides_are_the_whole_image(
    denoiser: Any, export: Any, images: list[np.ndarray], target: str, runner: str
) -> None:
    """LiteDenoiseNet reaches 139 pixels; its TFLite file has one fixed size for each signature."""
    tflite = target.startswith("tflite")
    exported = export(target, sizes=(*DENOISED_TILES, DENOISED_WHOLE) if tflite else (), network=denoiser)
    assert exported.contract.any_size != tflite
    image = picture(images, DENOISED) / 255
    expected = opened(exported, runner).run(image)
    for tile in DENOISED_TILES:
        by_tiles = tiled(exported, runner, tile)
        assert by_tiles.reach == Reach(139, 124, 139, 124)
        assert by_tiles.plan(DENOISED).count > 1 and by_tiles.plan(DENOISED).tile == tile
        assert_the_whole(exported, by_tiles.run(image), expected)


@pytest.mark.parametrize(("target", "runner"), [FILES[0], FILES[2]])
def test_what_is_no_number_is_no_picture(export: Any, images: list[np.ndarray], target: str, runner: str) -> None:
    image = picture(images, SIZES[0]) / np.float32(255)
    image[0, 100, 50, 1] = np.nan
    by_tiles = tiled(export(target), runner, TILES[0])
    for strips in (by_tiles.strips(image), by_tiles.byte_strips(image)):
        next(strips)  # the tiles above are sound
        with pytest.raises(ArtifactError, match="not numbers"):
            list(strips)


@files
def test_a_file_of_a_fixed_size_runs_larger_images(
    small: Any, export: Any, images: list[np.ndarray], target: str, runner: str
) -> None:
    free = export(target)
    exported = export(target, sizes=((40, 56),))
    if exported.target.format is Format.TFLITE:
        exported = dataclasses.replace(exported, contract=dataclasses.replace(exported.contract, any_size=False))
    for size in (*SIZES, (40, 56), (41, 56)):
        image = picture(images, size) / 255
        by_tiles = tiled(exported, runner, None)
        assert by_tiles.plan(size).tile == (40, 56) and by_tiles.plan(size).exact
        assert_the_whole(exported, by_tiles.run(image), opened(free, runner).run(image))


@files
def test_a_smaller_image_is_exact_beyond_the_reach_of_its_continued_sides(
    export: Any, images: list[np.ndarray], target: str, runner: str
) -> None:
    exported = export(target, sizes=((64, 80),))
    contract = dataclasses.replace(exported.contract, any_size=False)
    exported, free = dataclasses.replace(exported, contract=contract), export(target)
    image = picture(images, (50, 80)) / 255
    by_tiles = tiled(exported, runner, None)
    plan = by_tiles.plan((50, 80))
    assert not plan.exact and plan.inexact is not None and "within 7 px of the bottom" in plan.inexact
    found, whole = by_tiles.run(image), opened(free, runner).run(image)
    exact = 2 * (50 - 7)
    assert_the_whole(exported, found[:, :exact], whole[:, :exact])
    assert np.abs(found[:, exact:] - whole[:, exact:]).max() > 1e-3, "the border is elsewhere, and shows"


SHORT = [(side, file) for side in ("above", "below", "left", "right") for file in FILES[:2]]


@pytest.mark.parametrize(("side", "file"), SHORT, ids=str)
def test_a_reach_one_pixel_short_is_seen(export: Any, images: list[np.ndarray], side: str, file: Any) -> None:
    """The seam of one missing pixel, at each side of the tiles, in floats and in bytes."""
    exported = export(file[0])
    reach = find_reach(exported.network.graph)
    assert isinstance(reach, Reach)
    image, runner = picture(images, (131, 97)) / 255, opened(exported, file[1])
    sound = check_seams(TiledRunner(runner, exported.contract, reach, (24, 24)), runner, image)
    assert sound.equal if exported.target.precision.is_integer else sound.max_difference <= FLOAT_TOLERANCE
    short = dataclasses.replace(reach, **{side: getattr(reach, side) - 1})
    found = check_seams(TiledRunner(runner, exported.contract, short, (24, 24)), runner, image)
    assert not found.equal and found.max_difference > FLOAT_TOLERANCE


@pytest.mark.parametrize("io", list(IODtype), ids=lambda io: io.value)
@pytest.mark.parametrize(("target", "runner"), [FILES[1], FILES[3]], ids=lambda value: value)
def test_integer_files_take_bytes_and_give_their_own(
    export: Any, images: list[np.ndarray], target: str, runner: str, io: IODtype
) -> None:
    exported = export(target, io=io)
    pixels = picture(images, (61, 97))
    by_tiles = tiled(exported, runner, (40, 40))
    values = by_tiles.run(pixels)
    assert np.array_equal(values, by_tiles.run(pixels / 255))
    found = by_tiles.run_bytes(pixels)
    assert found.dtype == np.uint8 and np.array_equal(found, np.rint(values * 255).astype(np.uint8))
    assert np.ptp(found) > 100


@pytest.mark.parametrize("layout", list(Layout), ids=lambda layout: layout.value)
def test_float_files_round_to_bytes(export: Any, images: list[np.ndarray], layout: Layout) -> None:
    exported = export("onnx-fp32", layout=layout)
    by_tiles, pixels = tiled(exported, "onnxruntime", (40, 40)), picture(images, (61, 97))
    values = by_tiles.run(pixels.astype(np.float64) / 255)
    assert np.array_equal(by_tiles.run(pixels), values), "bytes become the floats nearest to their 255th parts"
    assert np.array_equal(by_tiles.run_bytes(pixels), np.clip(np.rint(values * np.float32(255)), 0, 255))


@pytest.mark.parametrize("target", ["tflite-int8", "onnx-int8"])
def test_the_shuffle_on_the_host_is_done_tile_by_tile(
    export: Any, small: Any, images: list[np.ndarray], tmp_path: Any, target: str
) -> None:
    whole, named = export(target), find_target(target)
    assert named is not None
    contract = dataclasses.replace(whole.contract, host_shuffle=2, sizes=((48, 64),), any_size=False)
    ended = ending_before_shuffle(small.quantized)
    content = (
        emit_tflite(ended, named.precision, contract.dtype, contract.sizes, {})
        if named.format is Format.TFLITE
        else emit_onnx(ended, named.precision, contract.dtype, contract.layout, contract.sizes[0], {})
    )
    path = tmp_path / f"ended.{named.format.value}"
    path.write_bytes(content)
    runner = open_runner(named.runners[0], named, path, contract)
    by_tiles = tile_runner(runner, contract, ended, named.precision)
    image = picture(images, (131, 97))
    assert np.array_equal(by_tiles.run(image), opened(whole, named.runners[0]).run(image))
    assert np.array_equal(by_tiles.run_bytes(image), tiled(whole, named.runners[0], WHOLE).run_bytes(image))


def test_a_file_of_several_sizes_runs_the_one_that_computes_least(export: Any, images: list[np.ndarray]) -> None:
    exported = export("tflite-int8", sizes=((32, 32), (64, 48), (40, 96)))
    fixed = dataclasses.replace(exported, contract=dataclasses.replace(exported.contract, any_size=False))
    by_tiles = tiled(fixed, "litert-xnnpack", None)
    for size in ((64, 48), (40, 96), (32, 32)):
        assert by_tiles.plan(size).tile == size and by_tiles.plan(size).count == 1
    assert by_tiles.plan((39, 96)).tile == (32, 32), "40x96 computes less, but would continue the image"
    assert by_tiles.plan((10, 96)).tile == (40, 96) and not by_tiles.plan((10, 96)).exact, "each would"
    image = picture(images, (40, 500)) / 255
    assert by_tiles.plan((40, 500)).tile == (40, 96)
    assert_the_whole(exported, by_tiles.run(image), opened(exported, "litert-xnnpack").run(image))


def test_strips_come_as_rows_of_tiles_are_done(export: Any, images: list[np.ndarray]) -> None:
    exported, image = export("onnx-int8"), picture(images, (131, 97))
    by_tiles, told = tiled(exported, "onnxruntime", (40, 64)), []
    plan = by_tiles.plan((131, 97))
    strips = by_tiles.byte_strips(image, lambda stage, done, total: told.append((stage, done, total)))
    assert told == []
    first = next(strips)
    assert first.shape == (1, 2 * plan.rows[0].kept, 2 * 97, 3)
    assert told == [("tiles", done, plan.count) for done in range(len(plan.columns) + 1)]
    rest = list(strips)
    assert told[-1] == ("tiles", plan.count, plan.count) and len(rest) == len(plan.rows) - 1 > 0
    assert np.array_equal(np.concatenate([first, *rest], axis=1), by_tiles.run_bytes(image))


class Recording:
    """A runner that remembers the size and type of what it was given."""

    def __init__(self, runner: FileRunner) -> None:
        self.name, self.emulated = runner.name, runner.emulated
        self._runner = runner
        self.given: list[tuple[tuple[int, ...], str]] = []

    def compute_tensor(self, image: np.ndarray) -> np.ndarray:
        self.given.append((image.shape, image.dtype.name))
        return self._runner.compute_tensor(image)


def test_every_tile_of_an_image_has_one_size_and_stays_bytes(export: Any, images: list[np.ndarray]) -> None:
    """So that a runtime allocates once, and that no image is converted whole."""
    exported = export("tflite-fp32")
    recording: Any = Recording(opened(exported, "litert-xnnpack"))
    reach = find_reach(exported.network.graph)
    by_tiles = TiledRunner(recording, exported.contract, reach, (48, 40))
    by_tiles.run(picture(images, (131, 97)))
    assert set(recording.given) == {((1, 48, 40, 3), "uint8")}
    assert len(recording.given) == by_tiles.plan((131, 97)).count > 4
    assert by_tiles.name == "litert-xnnpack" and by_tiles.emulated is None


def test_a_file_without_a_reach_runs_whole_and_is_not_cut(export: Any, images: list[np.ndarray]) -> None:
    exported, image = export("onnx-fp32"), picture(images, (33, 35)) / 255
    runner = opened(exported, "onnxruntime")
    by_tiles = tile_runner(runner, exported.contract, None, exported.target.precision)
    assert isinstance(by_tiles.reach, NoReach)
    assert np.array_equal(by_tiles.run(image), runner.run(image))
    cut = tile_runner(runner, exported.contract, None, exported.target.precision, (32, 32))
    with pytest.raises(ArtifactError, match=r"^an image of 33x35 cannot be cut into tiles: its file came by the gen"):
        cut.strips(image)


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (7, 1)], ids=str)
def test_tiny_images_are_one_tile(export: Any, images: list[np.ndarray], size: tuple[int, int]) -> None:
    exported = export("onnx-int8")
    by_tiles, image = tiled(exported, "onnxruntime", None), picture(images, size) / 255
    assert by_tiles.plan(size).count == 1 and by_tiles.plan(size).exact
    assert np.array_equal(by_tiles.run(image), opened(exported, "onnxruntime").run(image))


@pytest.mark.parametrize("shape", [(2, 40, 40, 3), (1, 40, 40, 1), (40, 40, 3)], ids=str)
def test_what_is_no_image_of_the_file_is_refused_at_once(export: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(ArtifactError, match=r"is not \(1, H, W, 3\)"):
        tiled(export("onnx-fp32"), "onnxruntime", None).byte_strips(np.zeros(shape, np.uint8))


def test_a_contract_of_the_whole_range_of_another_network(export: Any, images: list[np.ndarray]) -> None:
    """Values in [0, 255]: bytes are the values themselves."""
    contract = IOContract(IODtype.FLOAT32, Layout.NHWC, 3, 2, 255.0, (), True)
    pixels = picture(images, (9, 11))
    assert np.array_equal(contract.encode(pixels), pixels.astype(np.float32))
    assert np.array_equal(contract.decode_bytes(pixels.astype(np.float32) + 0.3), pixels)
