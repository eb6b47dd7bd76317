"""Ready quantizations of bundled models: finding the one that fits an export, and making it.

They lie beside the weights as NAME.int8.safetensors. `make_ready` writes one (docs/make_ready_int8.py is the command).
An export at effort `ready` uses it where nothing differs from what it was made from, weights, folded graph, recipe and
the MACs that the NPU grants, and where the user gives no calibration images.
"""

from __future__ import annotations

import dataclasses
import datetime
from pathlib import Path

from edgesr.api.facts import describe_making
from edgesr.architecture import SRModel
from edgesr.errors import ArtifactError
from edgesr.export.capture import capture
from edgesr.export.pipeline import NATIVE_FOLDS, run_folds
from edgesr.graph import Graph
from edgesr.model import registry
from edgesr.progress import Progress, silent
from edgesr.quant.images import load_calibration_images
from edgesr.quant.photographs import load_photographs
from edgesr.quant.quantize import quantize
from edgesr.quant.ready import SUFFIX, Fit, ReadyQuantization, load_ready, save_ready
from edgesr.quant.recipe import find_recipe


def ready_path(name: str) -> Path:
    """Where the ready quantization of a bundled model lies."""
    return registry.WEIGHTS_FOLDER / f"{name}{SUFFIX}"


def find_ready(model: SRModel, graph: Graph, max_mac_growth: float) -> ReadyQuantization | str:
    """The quantization that ships for a model's folded graph, or why there is none that fits; empty: none ships."""
    path = ready_path(model.name)
    if model.name not in {bundled.name for bundled in registry.BUNDLED_MODELS} or not path.exists():
        return ""
    try:
        ready = load_ready(path)
    except ArtifactError as error:
        return str(error)
    recipe = dataclasses.replace(find_recipe(ready.quantization.recipe.name), max_mac_growth=max_mac_growth)
    misfits = ready.fit.misfits(Fit.of(model.sha256, graph, recipe))
    if "weights" in misfits:
        return ""  # other weights of the same name: nothing ships for them
    return f"the ready INT8 integers were made from another {' and '.join(misfits)}" if misfits else ready


def make_ready(
    name: str, effort: str, calibration: Path, command: str, saved: Path, progress: Progress = silent
) -> ReadyQuantization:
    """Quantize a bundled model and write the result beside its weights; what `saved` holds is gone on from.

    Raises `CheckpointError` for another name, and what `edgesr export` raises of calibration images.
    """
    model, recipe = registry.load_model(name), find_recipe(effort)
    graph, _ = run_folds(capture(model, model.in_channels), NATIVE_FOLDS)
    images = load_calibration_images(calibration, model.size_multiple, progress)
    photographs = load_photographs(calibration, progress) if recipe.learning else None
    made = quantize(graph, images.pieces, recipe, progress, photographs=photographs, saved=saved)
    provenance = {
        "command": command,
        "effort": effort,
        "calibration_source": calibration.name,
        "calibration_images": len(images.names),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "versions": describe_making(model)["versions"],
    }
    # its notes tell of stages, whose scores the candidates hold: they are not for everyone who exports
    ready = ReadyQuantization(dataclasses.replace(made, notes=()), Fit.of(model.sha256, graph, recipe), provenance)
    save_ready(ready_path(name), ready)
    return ready
