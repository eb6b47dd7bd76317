from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgesr.architecture import SRModel
from edgesr.runtime.runner import Tracer
from edgesr.runtime.torch_runner import (
    GraphRunner,
    IntegerRunner,
    RememberingRunner,
    TorchRunner,
    to_nchw,
    to_nhwc,
)


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, 9, 7, 3)) / 255


def test_the_network_in_float64(small: Any, image: np.ndarray) -> None:
    runner = TorchRunner(small.model)
    found = runner.run(image)
    assert runner.name == "torch"
    assert found.dtype == np.float64 and found.shape == (2, 18, 14, 3)
    module = small.model.module
    assert next(module.parameters()).dtype == torch.float32, "the model itself stays as it was"
    with torch.no_grad():
        rough = module(torch.from_numpy(image).permute(0, 3, 1, 2).float()).permute(0, 2, 3, 1).numpy()
    assert 0 < np.abs(found - rough).max() < 1e-5


def test_prepare_and_invoke_compute_what_run_computes(small: Any, image: np.ndarray) -> None:
    runner = TorchRunner(small.model, torch.float32)
    with pytest.raises(ValueError, match="result comes after invoke"):
        runner.result()
    for shown in (1 - image, image):
        runner.prepare(shown)
        runner.invoke()
    assert np.array_equal(runner.result(), runner.run(image))


def test_a_network_that_changes_its_input_gets_the_image_each_time() -> None:
    class Doubling(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mul_(2) + 1

    runner = TorchRunner(SRModel("doubling", "test", Doubling(), {}, 1, "", ""), torch.float32)
    with pytest.raises(ValueError, match="invoke comes after prepare"):
        runner.invoke()
    runner.prepare(np.full((1, 1, 1, 3), 0.25))
    for _ in range(3):
        runner.invoke()
        assert runner.result().tolist() == [[[[1.5, 1.5, 1.5]]]]


def test_other_dtypes_and_stored_weights(small: Any, image: np.ndarray) -> None:
    exact = TorchRunner(small.model).run(image)
    float32 = TorchRunner(small.model, torch.float32)
    half = TorchRunner(small.model, torch.float32, torch.float16)
    assert (float32.name, half.name) == ("torch-float32", "torch-float16")
    errors = [np.abs(runner.run(image) - exact).max() for runner in (float32, half)]
    assert 0 < errors[0] < 1e-5 < errors[1] < 1e-1


def test_the_graph_and_its_trace(small: Any, image: np.ndarray) -> None:
    runner = GraphRunner(small.graph)
    assert isinstance(runner, Tracer)
    found = runner.run(image)
    assert np.abs(found - TorchRunner(small.model).run(image)).max() < 1e-12
    trace = runner.trace(image)
    assert list(trace) == list(small.graph.specs)
    assert np.array_equal(trace[small.graph.output], found)
    assert np.array_equal(trace["input"], image)


def test_exact_integers(small: Any, image: np.ndarray) -> None:
    runner = IntegerRunner(small.quantized)
    found = runner.run(image)
    with torch.no_grad():
        expected = small.quantized.execute(torch.from_numpy(image).permute(0, 3, 1, 2))
    assert np.array_equal(found, expected.permute(0, 2, 3, 1).numpy())
    levels = found / small.quantized.output.scale
    assert np.abs(levels - np.rint(levels)).max() < 1e-9, "the output lies on the image's grid"
    assert runner.name == "graph-int8"


def test_a_remembering_runner_asks_once_for_each_image(image: np.ndarray) -> None:
    class Counting:
        name = "counting"
        asked = 0

        def run(self, image: np.ndarray) -> np.ndarray:
            self.asked += 1
            return image + self.asked

    counting = Counting()
    runner = RememberingRunner(counting)
    assert runner.name == "counting"
    first = runner.run(image)
    assert np.array_equal(runner.run(image.copy()), first) and counting.asked == 1
    runner.run(image.reshape(2, 7, 9, 3))
    assert counting.asked == 2, "the same bytes in another shape are another image"
    changed = image.copy()
    changed[0, 0, 0, 0] += 1e-9
    assert not np.array_equal(runner.run(changed), first) and counting.asked == 3


def test_axes_are_moved_and_not_reshaped() -> None:
    image = np.arange(24).reshape(1, 2, 4, 3)
    tensor = to_nchw(image, torch.float32)
    assert tensor.dtype == torch.float32 and tensor.shape == (1, 3, 2, 4) and tensor.is_contiguous()
    assert tensor[0, 2, 1, 3].item() == image[0, 1, 3, 2]
    back = to_nhwc(tensor)
    assert np.array_equal(back, image) and back.flags.c_contiguous


def test_networks_without_parameters_run() -> None:
    class Twice(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * x

    model = SRModel("twice", "test", Twice(), {}, 1, "", "")
    assert TorchRunner(model, torch.float32).run(np.full((1, 1, 1, 3), 0.25)).tolist() == [[[[0.5, 0.5, 0.5]]]]
