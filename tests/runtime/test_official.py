"""The released SPANV2 x4 weights, deployed: the numbers that the project promises."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgesr.api.verifying import as_image_function
from edgesr.architecture import SRModel
from edgesr.images import pair_folders
from edgesr.progress import silent
from edgesr.runtime.parity import border, psnr_db
from edgesr.runtime.quality import measure_quality
from edgesr.runtime.runners import open_runner

IMAGES = Path(os.environ.get("EDGESR_SHARED", Path(__file__).parents[3] / "shared")) / "images"
SCALE = 4
RUNS = [(f"{form}-{precision}", runner) for precision in ("fp32", "fp16") for form, runner in (
    ("tflite", "litert-xnnpack"), ("tflite", "litert-reference"), ("onnx", "onnxruntime"),
)]  # fmt: skip
NATURAL_SIZES = ((1, 1), (1, 9), (5, 3), (37, 53))
NOISE_SIZES = ((1, 1), (7, 2), (33, 47))


@pytest.fixture(scope="module")
def network(official: SRModel, as_network: Callable[[SRModel], Any]) -> Any:
    return as_network(official)


@pytest.fixture(scope="module")
def cases(images: list[np.ndarray]) -> dict[str, np.ndarray]:
    """Pieces of photographs from their middle, and noise of half contrast."""
    rng = np.random.default_rng(0)
    found = {}
    for (height, width), image in zip(NATURAL_SIZES, images, strict=True):
        top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
        found[f"natural {height}x{width}"] = image[None, top : top + height, left : left + width] / 255
    for size in NOISE_SIZES:
        found[f"noise {size[0]}x{size[1]}"] = rng.integers(64, 192, (1, *size, 3)) / 255
    return found


@pytest.mark.parametrize(("name", "runner"), RUNS)
def test_files_are_the_network(name: str, runner: str, network: Any, export: Any, cases: dict[str, np.ndarray]) -> None:
    """FP32: 5e-5, border included. FP16: DESIGN section 6."""
    exported = export(name, network=network)
    opened = open_runner(runner, exported.target, exported.path, exported.contract)
    limit = 5e-5 if "fp32" in name else 2.5e-2
    for case, image in cases.items():
        expected, found = network.reference.run(image), opened.run(image)
        difference = found - expected
        assert np.abs(difference).max() <= limit, case
        ring = border(difference, SCALE)
        assert ring.size == difference.size - difference[:, SCALE:-SCALE, SCALE:-SCALE].size > 0
        assert np.abs(ring).max() <= limit, f"{case}: its outermost pixels"
        if case.startswith("natural") and "fp16" in name:
            assert np.linalg.norm(difference) / np.linalg.norm(expected) <= 2.5e-3, case
            assert psnr_db(found, expected, 1.0) >= 60, case


def quality(folder: str, exported: Any, runner: str) -> float:
    if not (IMAGES / folder / "LR").is_dir():
        pytest.skip(f"{folder} is not in {IMAGES}; set EDGESR_SHARED to the folder that holds images/{folder}")
    opened = open_runner(runner, exported.target, exported.path, exported.contract, threads=2)
    pairs = pair_folders(IMAGES / folder / "LR", IMAGES / folder / "HR")
    return measure_quality(as_image_function(opened, exported.contract), pairs, SCALE, silent).psnr_db


def test_set5_through_litert(network: Any, export: Any) -> None:
    assert quality("set5", export("tflite-fp32", network=network), "litert-xnnpack") == pytest.approx(29.840, abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("folder", "psnr"), [("set5", 29.840), ("set14", 26.555)])
@pytest.mark.parametrize(("name", "runner"), [("tflite-fp32", "litert-xnnpack"), ("onnx-fp32", "onnxruntime")])
def test_quality_is_that_of_pytorch(
    folder: str, psnr: float, name: str, runner: str, network: Any, export: Any
) -> None:
    assert quality(folder, export(name, network=network), runner) == pytest.approx(psnr, abs=1e-3)
