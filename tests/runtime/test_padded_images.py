"""Images whose sides are no multiple of what the network takes, in every runner; errors that parity must see there."""

from typing import Any

import numpy as np
import pytest
import torch

from edgesr.architecture import SRModel
from edgesr.padding import pad_image
from edgesr.runtime.cases import parity_cases
from edgesr.runtime.parity import compare_end_to_end
from edgesr.runtime.runners import open_runner
from edgesr.runtime.torch_runner import GraphRunner, TorchRunner
from edgesr.target import Precision

FILES = [
    ("tflite-fp32", "litert-xnnpack", ((48, 80),)),
    ("tflite-fp32", "litert-reference", ((16, 16), (48, 80))),
    ("onnx-fp32", "onnxruntime", ()),
    ("onnx-fp32", "onnxruntime", ((48, 80),)),
]
SIZES = [(45, 70), (48, 65), (48, 80)]
sizes = pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))


def picture(size: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (1, *size, 3)) / 255


def by_hand(model: SRModel, image: np.ndarray) -> np.ndarray:
    """The module on the continued image, and its output's top left corner."""
    _, height, width, _ = image.shape
    rows, columns = (np.minimum(np.arange(n + -n % 16), n - 1) for n in (height, width))
    padded = image[:, rows][:, :, columns].transpose(0, 3, 1, 2)
    with torch.no_grad():
        output = model.module.double()(torch.from_numpy(padded.copy()))
    model.module.float()
    return output[:, :, :height, :width].permute(0, 2, 3, 1).numpy()


@sizes
def test_the_reference_is_the_module_on_the_continued_image(denoiser: Any, size: tuple[int, int]) -> None:
    image = picture(size)
    expected = by_hand(denoiser.model, image)
    runner = TorchRunner(denoiser.model)
    runner.prepare(image)
    runner.invoke()
    assert expected.std() > 0.1
    for found in (runner.run(image), runner.result(), GraphRunner(denoiser.graph, 16).run(image)):
        assert found.shape == image.shape and np.abs(found - expected).max() < 1e-12


@sizes
@pytest.mark.parametrize(("target", "runner", "written_for"), FILES)
def test_every_file_runs_every_size(
    denoiser: Any, export: Any, size: tuple[int, int], target: str, runner: str, written_for: Any
) -> None:
    exported = export(target, sizes=written_for, network=denoiser)
    opened, image = open_runner(runner, exported.target, exported.path, exported.contract), picture(size)
    opened.prepare(image)
    opened.invoke()
    for found in (opened.run(image), opened.result()):
        assert found.shape == image.shape and np.abs(found - by_hand(denoiser.model, image)).max() < 5e-5
    shown = {tensor.shape[1:3] for tensor in opened.trace(image).values() if tensor.ndim == 4}
    assert shown >= {(48 >> k, 80 >> k) for k in range(5)}, "tensors are those of the padded image"


@pytest.mark.parametrize(("target", "runner", "written_for"), FILES)
def test_files_pass_the_thorough_check(
    denoiser: Any, export: Any, images: list[np.ndarray], target: str, runner: str, written_for: Any
) -> None:
    report = export(target, sizes=written_for, network=denoiser).check(images, (runner,), thorough=True)
    assert report.failures == ()
    assert len([row for row in report.rows if "padded" in row.case]) == 2, "the graph and the file"


@pytest.mark.parametrize("mode", ["constant", "symmetric"])
def test_another_padding_is_seen(denoiser: Any, export: Any, images: list[np.ndarray], mode: Any) -> None:
    """A runner that pads with zeros or mirrors differs where the image was padded, and nowhere else."""
    exported = export("onnx-fp32", network=denoiser)
    sound = open_runner("onnxruntime", exported.target, exported.path, exported.contract)

    class Wrong:
        name = "wrong padding"

        def run(self, image: np.ndarray) -> np.ndarray:
            height, width = image.shape[1:3]
            below, right = pad_image(image, 16).shape[1] - height, pad_image(image, 16).shape[2] - width
            padded = np.pad(image, ((0, 0), (0, below), (0, right), (0, 0)), mode=mode)
            return sound.run(padded)[:, :height, :width]

    cases = [case for case in parity_cases(exported.contract, images) if case.image.size > 100]
    rows = compare_end_to_end("f", Precision.FP32, denoiser.graph, denoiser.model, denoiser.reference, [Wrong()], cases)
    passed = {row.case: row.passed for row in rows if row.runner == Wrong.name}
    assert passed == {case.name: not case.is_padded for case in cases}
