"""Drop in dB against FP32 as the recipes' stages are switched on, in exact integer arithmetic.

Usage: python docs/ablation.py CHECKPOINT CALIBRATION_FOLDER|builtin FOLDER..., each FOLDER with LR/ and HR/
Takes half an hour on two cores: the last rows learn. Each goes on from what the row above left in a temporary folder.
"""

import sys
import tempfile
import time
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
from edgesr.quant.learning.plan import ALL_ROUNDED, DISTILLATION, RANGES, ROUNDING
from edgesr.quant.photographs import load_photographs
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
folder = None if calibration == "builtin" else Path(calibration)
images, photographs = load_calibration_images(folder).pieces, load_photographs(folder)
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
    Recipe("+ product split", sign_split=True),
    Recipe("ranges, not split", learning=(RANGES,)),
    Recipe("+ ranges (balanced)", sign_split=True, learning=(RANGES,)),
    Recipe("+ distillation", sign_split=True, learning=(RANGES, DISTILLATION)),
    Recipe("+ step by step rounded", sign_split=True, learning=(RANGES, DISTILLATION, *ROUNDING)),
    Recipe("+ all rounded (best)", sign_split=True, learning=(RANGES, DISTILLATION, *ROUNDING, ALL_ROUNDED)),
)
reference = psnr_db(TorchRunner(model, torch.float32))
with tempfile.TemporaryDirectory() as saved:
    for recipe in recipes:
        started = time.monotonic()
        result = quantize(graph, images, recipe, photographs=photographs, saved=Path(saved))
        seconds = time.monotonic() - started
        drops = [r - q for r, q in zip(reference, psnr_db(IntegerRunner(result.network)), strict=True)]
        macs = int(result.network.graph.macs_per_input_pixel())
        kept = f"{result.candidates[-1].score_db:.3f} dB" if result.candidates else ""
        row = (f"{recipe.name:23}", f"{macs:,}", *(f"{drop:.3f}" for drop in drops), f"{seconds:.0f} s", kept)
        print(*row, flush=True)
