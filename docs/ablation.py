"""Drop in dB against FP32 as the recipe's stages are switched on, in exact integer arithmetic.

Usage: python docs/ablation.py CHECKPOINT CALIBRATION_FOLDER|builtin FOLDER..., each FOLDER with LR/ and HR/
"""

import sys
from pathlib import Path

import torch

from edgesr.api.verifying import as_image_function
from edgesr.artifact import IOContract
from edgesr.export.capture import capture
from edgesr.export.pipeline import NATIVE_FOLDS, run_folds
from edgesr.images import pair_folders
from edgesr.model.registry import load_model
from edgesr.progress import silent
from edgesr.quant.images import load_calibration_images
from edgesr.quant.quantize import quantize
from edgesr.quant.ranges import RangeMethod, RangeRule
from edgesr.quant.recipe import Recipe
from edgesr.runtime.quality import measure_quality
from edgesr.runtime.runner import Runner
from edgesr.runtime.torch_runner import IntegerRunner, TorchRunner
from edgesr.target import IODtype, Layout

checkpoint, calibration, *folders = sys.argv[1:]
model = load_model(weights=Path(checkpoint))
graph, _ = run_folds(capture(model), NATIVE_FOLDS)
images = load_calibration_images(None if calibration == "builtin" else Path(calibration)).pieces
contract = IOContract(IODtype.INT8, Layout.NHWC, 3, model.scale, 1.0, (), True)
pairs = [pair_folders(Path(folder) / "LR", Path(folder) / "HR") for folder in folders]


def psnr_db(runner: Runner) -> list[float]:
    """Mean RGB PSNR on each folder."""
    run = as_image_function(runner, contract)
    return [measure_quality(run, some, model.scale, silent).psnr_db for some in pairs]


bare = {"gptq": False, "bias_correction": False}
whole = {"sensitive_below_db": 0.0} | bare
recipes = (
    Recipe("min-max", ranges=RangeRule(RangeMethod.MIN_MAX), equalization=0.0, **whole),
    Recipe("percentile 1e-4", ranges=RangeRule(tail=1e-4), equalization=0.0, **whole),
    Recipe("percentile 3e-5", equalization=0.0, **whole),
    Recipe("+ equalization", **whole),
    Recipe("+ dense head", sensitive_below_db=47.0, **bare),
    Recipe("+ gates from f2", **bare),
    Recipe("+ bias correction", gptq=False),
    Recipe("+ GPTQ (fast)"),
)
reference = psnr_db(TorchRunner(model, torch.float32))
for recipe in recipes:
    network = quantize(graph, images, recipe).network
    drops = [r - q for r, q in zip(reference, psnr_db(IntegerRunner(network)), strict=True)]
    macs = int(network.graph.macs_per_input_pixel())
    print(f"{recipe.name:18}", f"{macs:,}", *(f"{drop:.3f}" for drop in drops), flush=True)
