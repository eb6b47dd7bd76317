"""Drop in dB against FP32 as the recipes' stages are switched on, in exact integer arithmetic.

Usage: python docs/ablation.py CHECKPOINT CALIBRATION_FOLDER|builtin FOLDER... [--saved DIR] [--rows FIRST]
Each FOLDER holds LR/ and HR/. The last rows learn, for half an hour on two cores; each goes on from what the row above
left in DIR, a temporary folder without it. FIRST leaves out the rows above the one that its words begin.
"""

import argparse
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
from edgesr.quant.learning.plan import DISTILLATION, RANGES, ROUNDING
from edgesr.quant.photographs import load_photographs
from edgesr.quant.quantize import quantize
from edgesr.quant.ranges import RangeMethod, RangeRule
from edgesr.quant.recipe import Recipe
from edgesr.runtime.quality import measure_quality
from edgesr.runtime.runner import Runner
from edgesr.runtime.torch_runner import IntegerRunner, TorchRunner
from edgesr.target import IODtype, Layout

parser = argparse.ArgumentParser()
parser.add_argument("checkpoint", type=Path)
parser.add_argument("calibration")
parser.add_argument("folders", nargs="+")
parser.add_argument("--saved", type=Path)
parser.add_argument("--rows", default="")
options = parser.parse_args()
calibration, folders = options.calibration, options.folders
model = load_model(weights=options.checkpoint)
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
    Recipe("+ rounded by steps (best)", sign_split=True, learning=(RANGES, DISTILLATION, *ROUNDING)),
)
reference = psnr_db(TorchRunner(model, torch.float32))
first = next(i for i, recipe in enumerate(recipes) if recipe.name.startswith(options.rows))
with tempfile.TemporaryDirectory() as temporary:
    for recipe in recipes[first:]:
        started = time.monotonic()
        result = quantize(graph, images, recipe, photographs=photographs, saved=options.saved or Path(temporary))
        seconds = time.monotonic() - started
        drops = [r - q for r, q in zip(reference, psnr_db(IntegerRunner(result.network)), strict=True)]
        macs = int(result.network.graph.macs_per_input_pixel())
        kept = f"{result.candidates[-1].score_db:.3f} dB" if result.candidates else ""
        row = (f"{recipe.name:25}", f"{macs:,}", *(f"{drop:.3f}" for drop in drops), f"{seconds:.0f} s", kept)
        print(*row, flush=True)
