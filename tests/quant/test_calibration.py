"""Statistics are what the images put into each tensor, recomputed here with numpy."""

from typing import Any

import numpy as np
import pytest
import torch

from edgesr.errors import CalibrationError
from edgesr.graph import Graph
from edgesr.ops import Activation, Add, DepthToSpace
from edgesr.quant import calibration
from edgesr.quant.calibration import Calibration, TensorStatistics, calibrate, to_tensor

Images = tuple[np.ndarray, ...]
FLOAT32 = 1e-6  # of values of order 1: a few float32 roundings


@pytest.fixture
def pointwise(build: Any) -> Graph:
    """A 1x1 convolution and a ReLU: numpy can do that, pixel by pixel."""
    return build.graph(build.conv("a", "input", 3, 4, kernel=1, activation=Activation.RELU))


def by_numpy(graph: Graph, image: np.ndarray) -> np.ndarray:
    """Tensor `a` of `pointwise` as (C, positions), in float64."""
    parameters = {key: value.numpy() for key, value in graph.parameters().items()}
    pixels = image.reshape(-1, 3).T / 255
    return np.maximum(parameters["a", "weight"][:, :, 0, 0] @ pixels + parameters["a", "bias"][:, None], 0)


def test_extremes_are_over_every_position_of_every_image(pointwise: Graph, noise: Images) -> None:
    found = calibrate(pointwise, noise)
    expected = {
        "input": np.concatenate([image.reshape(-1, 3).T / 255 for image in noise], 1),
        "a": np.concatenate([by_numpy(pointwise, image) for image in noise], 1),
    }
    for name, values in expected.items():
        assert np.abs(found[name].lowest.numpy() - values.min(1)).max() <= FLOAT32
        assert np.abs(found[name].highest.numpy() - values.max(1)).max() <= FLOAT32


def test_one_bright_pixel_of_many_images_is_in_the_extremes(pointwise: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "POSITIONS_PER_TENSOR", 30)
    images = [np.full((50, 60, 3), 10, np.uint8) for _ in range(3)]
    images[1][31, 7] = (200, 0, 90)
    found = calibrate(pointwise, images)["input"]
    assert found.highest.tolist() == pytest.approx([200 / 255, 10 / 255, 90 / 255])
    assert found.lowest.tolist() == pytest.approx([10 / 255, 0, 10 / 255])
    assert found.samples.max() < 0.1, "the sample misses it: the extremes do not come from the sample"


def test_samples_are_whole_positions_of_the_images(pointwise: Graph, noise: Images) -> None:
    found = calibrate(pointwise, noise)
    positions = sum(image.shape[0] * image.shape[1] for image in noise)
    real = {tuple(pixel) for image in noise for pixel in (image.reshape(-1, 3) / np.float32(255)).tolist()}
    assert found["input"].samples.shape == (3, positions)
    assert {tuple(column) for column in found["input"].samples.T.tolist()} <= real
    assert found["a"].samples.shape == (4, positions)
    every = np.sort(np.concatenate([by_numpy(pointwise, image) for image in noise], 1)[0])
    near = np.abs(
        every[np.searchsorted(every, found["a"].samples[0].numpy() - FLOAT32)] - found["a"].samples[0].numpy()
    )
    assert near.max() <= 2 * FLOAT32


def test_samples_are_spread_evenly_over_images_and_positions(pointwise: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "POSITIONS_PER_TENSOR", 4000)
    ramp = np.repeat(np.arange(200, dtype=np.uint8), 30).reshape(60, 100)
    images = [np.stack([ramp, np.full_like(ramp, index), ramp], 2) for index in range(4)]
    samples = calibrate(pointwise, images)["input"].samples
    assert torch.bincount((samples[1] * 255).round().long()).tolist() == [1000] * 4
    # uniform on 0..199 has a standard deviation of 57.7, the mean of 4000 draws one of 0.91
    assert abs((samples[0] * 255).mean().item() - 99.5) < 5 * 0.91


def test_small_images_give_what_they_have(pointwise: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "POSITIONS_PER_TENSOR", 1000)
    images = [np.zeros((4, 5, 3), np.uint8), np.zeros((40, 50, 3), np.uint8)]
    assert calibrate(pointwise, images)["a"].samples.shape == (4, 20 + 500)


def same(a: Calibration, b: Calibration, parts: tuple[str, ...] = ("samples", "lowest", "highest")) -> bool:
    return all(torch.equal(getattr(a[name], part), getattr(b[name], part)) for name in a for part in parts)


def test_the_same_images_give_the_same_statistics(small_spanv2: Graph, photographs: Images) -> None:
    first, second = (calibrate(small_spanv2, photographs[:2]) for _ in range(2))
    assert list(first) == list(second)
    assert same(first, second)


def test_a_seed_changes_the_sample_and_nothing_else(small_spanv2: Graph, photographs: Images) -> None:
    first, second = (calibrate(small_spanv2, photographs[:2], seed=seed) for seed in (0, 1))
    assert not same(first, second, ("samples",))
    assert same(first, second, ("lowest", "highest"))


def test_every_tensor_has_statistics_of_its_channels(small_spanv2: Graph, photographs: Images) -> None:
    found = calibrate(small_spanv2, photographs[:2])
    assert set(found) == set(small_spanv2.specs)
    for name, spec in small_spanv2.specs.items():
        assert found[name].samples.shape[0] == spec.channels
        assert (found[name].lowest <= found[name].samples.amin(1)).all()
        assert (found[name].highest >= found[name].samples.amax(1)).all()


def test_a_tensor_of_another_size_has_samples_of_its_own_positions(build: Any) -> None:
    graph = build.graph(build.conv("a", "input", 3, 12), DepthToSpace(name="d", inputs=("a",), block=2))
    found = calibrate(graph, [np.zeros((4, 5, 3), np.uint8)])
    assert (found["a"].samples.shape, found["d"].samples.shape) == ((12, 20), (3, 80))


def test_constants_are_their_own_statistics(build: Any, noise: Images) -> None:
    constant = build.constant("k", [0.5, -2.0, 0.0])
    graph = build.graph(build.conv("a", "input", 3, 3), constant, Add(name="out", inputs=("a", "k")))
    found = calibrate(graph, noise)["k"]
    assert found.samples.tolist() == [[0.5], [-2.0], [0.0]]
    assert found.lowest.tolist() == found.highest.tolist() == [0.5, -2.0, 0.0]


def test_statistics_scale_with_their_channels() -> None:
    statistics = TensorStatistics(
        torch.tensor([[1.0, -2.0], [3.0, 4.0]]), torch.tensor([-2.0, 3]), torch.tensor([1.0, 4])
    )
    scaled = statistics.scaled(torch.tensor([2.0, 0.5]))
    assert scaled.samples.tolist() == [[2, -4], [1.5, 2]]
    assert (scaled.lowest.tolist(), scaled.highest.tolist()) == ([-4, 1.5], [2, 2])


def test_images_become_tensors_between_zero_and_one() -> None:
    image = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 15
    tensor = to_tensor(image)
    assert (tensor.shape, tensor.dtype) == ((1, 3, 2, 3), torch.float32)
    assert tensor[0, 2, 1, 0].item() == np.float32(image[1, 0, 2]) / np.float32(255)


def test_progress_runs_from_none_to_all(pointwise: Graph, noise: Images) -> None:
    seen: list[tuple[str, int, int]] = []
    calibrate(pointwise, noise, lambda stage, done, total: seen.append((stage, done, total)))
    assert seen == [("calibrating", done, 3) for done in range(4)]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 1e39])
def test_a_tensor_that_is_not_finite_is_named(build: Any, noise: Images, bad: float) -> None:
    first, second = build.conv("first", "input", 3, 4), build.conv("second", "first", 4, 3)
    second.bias[1] = bad  # 1e39 is finite in float64 and infinite in float32
    with pytest.raises(CalibrationError, match=r"^'second' is not finite on a calibration image; check .*$"):
        calibrate(build.graph(first, second), noise)


def test_no_images_are_refused(pointwise: Graph) -> None:
    with pytest.raises(CalibrationError, match="no calibration images; give a folder"):
        calibrate(pointwise, [])


def test_a_network_on_one_channel_is_refused(build: Any, noise: Images) -> None:
    graph = build.graph(build.conv("a", "input", 1, 3), channels=1)
    with pytest.raises(CalibrationError, match=r"^calibration images have 3 channels, the network takes 1; .*$"):
        calibrate(graph, noise)
