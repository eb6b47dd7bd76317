"""What INT8 costs the official SPANV2 x4 in real files, by the NTIRE protocol, for both sets of calibration images."""

from pathlib import Path

import pytest
import torch

from edgesr.api.verifying import as_image_function
from edgesr.architecture import SRModel
from edgesr.artifact import IOContract
from edgesr.export.onnx import emit_onnx
from edgesr.export.tflite import emit_tflite
from edgesr.graph import Graph
from edgesr.images import list_images, load_rgb, pair_folders
from edgesr.progress import silent
from edgesr.quant.images import load_calibration_images
from edgesr.quant.photographs import load_photographs
from edgesr.quant.quantize import quantize
from edgesr.quant.recipe import RECIPES
from edgesr.quantized import QuantizedGraph
from edgesr.runtime.quality import measure_quality
from edgesr.runtime.runner import Runner
from edgesr.runtime.runners import open_runner
from edgesr.runtime.torch_runner import TorchRunner
from edgesr.target import Format, IODtype, Layout, Target, find_target

pytestmark = pytest.mark.slow

FLOAT_PSNR_DB = {"set5": 29.840, "set14": 26.555}
MAX_DROP_DB = {"fast": {"set5": 0.25, "set14": 0.15}, "balanced": {"set5": 0.14, "set14": 0.095}}
BETWEEN_RUNTIMES_DB = 0.02
TARGETS = ("tflite-int8", "onnx-int8")
SIZE = (64, 64)


def contract(target: Target, dtype: IODtype | None = None) -> IOContract:
    return IOContract(dtype or target.default_io, target.default_layout, 3, 4, 1.0, (SIZE,), any_size=True)


def psnr_db(runner: Runner, contract: IOContract, dataset: Path) -> float:
    """Mean RGB PSNR over a data set."""
    pairs = pair_folders(dataset / "LR", dataset / "HR")
    return measure_quality(as_image_function(runner, contract), pairs, contract.upscale, silent).psnr_db


def written(network: QuantizedGraph, target: Target, folder: Path) -> Path:
    """The network as a file of the target."""
    path = folder / f"net.{target.format.value}"
    if target.format is Format.TFLITE:
        path.write_bytes(emit_tflite(network, target.precision, target.default_io, (SIZE,), {}))
    else:
        path.write_bytes(emit_onnx(network, target.precision, target.default_io, target.default_layout, None, {}))
    return path


@pytest.fixture(scope="module")
def float_psnr_db(official_model: SRModel, shared: Path) -> dict[str, float]:
    """The PyTorch network's own figures."""
    runner = TorchRunner(official_model, torch.float32)
    floats = IOContract(IODtype.FLOAT32, Layout.NHWC, 3, 4, 1.0, (), any_size=True)
    return {name: psnr_db(runner, floats, shared / "images" / name) for name in FLOAT_PSNR_DB}


def test_the_float_network_has_its_published_psnr(float_psnr_db: dict[str, float]) -> None:
    assert float_psnr_db == pytest.approx(FLOAT_PSNR_DB, abs=1e-3)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("calibration", ["calib", "builtin", "train_bsds500"])
@pytest.mark.parametrize("effort", MAX_DROP_DB)
def test_int8_costs_little_and_the_same_in_every_runtime(
    effort: str, calibration: str, official_spanv2: Graph, float_psnr_db: dict[str, float], shared: Path, tmp_path: Path
) -> None:
    folder = None if calibration == "builtin" else shared / "images" / calibration
    images, photographs = load_calibration_images(folder).pieces, load_photographs(folder)
    recipe = next(recipe for recipe in RECIPES if recipe.name == effort)
    network = quantize(official_spanv2, images, recipe, photographs=photographs).network
    drops: dict[str, dict[str, float]] = {}
    for name in TARGETS:
        target = find_target(name)
        assert target is not None
        file = written(network, target, tmp_path)
        runner = open_runner(target.runners[0], target, file, contract(target))
        drops[name] = {
            dataset: float_psnr_db[dataset] - psnr_db(runner, contract(target), shared / "images" / dataset)
            for dataset in FLOAT_PSNR_DB
        }
        figures = ", ".join(f"{dataset} {drop:.3f}" for dataset, drop in drops[name].items())
        print(f"{effort}, {name}, calibrated on {calibration}: drop in dB {figures}")
    for dataset, limit in MAX_DROP_DB[effort].items():
        assert drops["tflite-int8"][dataset] <= limit
        assert abs(drops["onnx-int8"][dataset] - drops["tflite-int8"][dataset]) <= BETWEEN_RUNTIMES_DB


def test_no_image_both_calibrates_and_measures(shared: Path) -> None:
    calibrating = {image.tobytes() for folder in (None, shared / "images" / "calib")
                   for image in load_calibration_images(folder).pieces}  # fmt: skip
    measuring = {
        load_rgb(path).tobytes() for name in FLOAT_PSNR_DB for path in list_images(shared / "images" / name / "LR")
    }
    assert len(calibrating) == 36 + 48 and len(measuring) == 5 + 14
    assert not calibrating & measuring
