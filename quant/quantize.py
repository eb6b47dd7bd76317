"""From a folded float graph to a quantized one: the stages of a recipe in order.

Quality folds, calibration, equalization, ranges, weight rounding and bias correction give the first network. Where the
recipe learns, a student starts from the same folded graph; after each stage of learning its weights are rounded, and
the network that comes closest to the float network on images kept for that is the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgesr.errors import CalibrationError, ExportError
from edgesr.export.folds.sigmoid_argument import SigmoidArgument
from edgesr.export.folds.sign_split import SignSplit
from edgesr.export.pipeline import FoldRecord, run_folds
from edgesr.graph import Graph
from edgesr.images import Image8
from edgesr.progress import Progress, silent
from edgesr.quant.calibration import calibrate
from edgesr.quant.equalization import equalize
from edgesr.quant.images import middles
from edgesr.quant.join_forms import split_joins
from edgesr.quant.learning.fit import DivergedError
from edgesr.quant.learning.material import gather
from edgesr.quant.learning.stages import Stages
from edgesr.quant.learning.student import Student
from edgesr.quant.quality_folds import FormChoice, FormRule, choose_forms
from edgesr.quant.ranges import choose_ranges
from edgesr.quant.recipe import INTEGER_FOLDS, Recipe
from edgesr.quant.sequential import refine
from edgesr.quant.slope_scales import with_exact_slopes
from edgesr.quant.weights import quantize_weights
from edgesr.quantized import QuantizedGraph, QuantParams
from edgesr.threads import torch_threads

REFINING_SIDE = 80
"""Pixels a side of the pieces that weights are refined on: a layer's statistics need no more."""


@dataclass(frozen=True)
class Candidate:
    """A stage's result, and its score in dB by what it `measures` on the images kept for choosing."""

    stage: str
    measures: str
    score_db: float


@dataclass(frozen=True, eq=False)
class Quantization:
    """A quantized graph and how it came about: folds, graph forms, what was compared, what the user should know."""

    network: QuantizedGraph
    recipe: Recipe
    folds: tuple[FoldRecord, ...]
    forms: tuple[FormChoice, ...]
    calibration_images: int
    candidates: tuple[Candidate, ...] = ()
    notes: tuple[str, ...] = ()


def quantize(
    graph: Graph, images: Sequence[Image8], recipe: Recipe, progress: Progress = silent,
    photographs: Sequence[Image8] | None = None, saved: Path | None = None,
) -> Quantization:  # fmt: skip
    """Quantize a folded float graph after training, with uint8 RGB calibration images (H, W, 3).

    A recipe that learns does so on `photographs` (None: the calibration images) and keeps its state in the folder
    `saved`, from which an interrupted call goes on. The same images give the same integers on any number of cores of
    one kind. Raises `CalibrationError` where the images give no usable ranges, `ExportError` where the graph allows
    none.
    """
    with torch_threads(1):
        first = _start(graph, images, replace(recipe, sign_split=False) if recipe.learning else recipe, progress)
        result = _rounded(first, recipe, images, progress)
        if not recipe.learning:
            return result
        return _learned(graph, result, photographs or images, recipe, progress, saved)


@dataclass(frozen=True, eq=False)
class _Start:
    """A folded and equalized graph with its ranges."""

    graph: Graph
    activations: dict[str, QuantParams]
    folds: tuple[FoldRecord, ...]
    forms: tuple[FormChoice, ...]


def _start(graph: Graph, images: Sequence[Image8], recipe: Recipe, progress: Progress) -> _Start:
    max_macs = float(graph.macs_per_input_pixel()) * recipe.max_mac_growth
    rule = FormRule(recipe.ranges, recipe.sensitive_below_db, max_macs, recipe.sign_split)
    graph, records = run_folds(graph, INTEGER_FOLDS)
    folds: tuple[FoldRecord, ...] = tuple(records)
    choices: tuple[FormChoice, ...] = ()
    calibration = calibrate(graph, images, progress)
    if recipe.sensitive_below_db > 0:
        splits = split_joins(graph, images, calibration, recipe.ranges, progress)
        graph, folds, choices = splits.graph, folds + splits.folds, splits.choices
        if splits.folds:
            calibration = calibrate(graph, images, progress)
        forms = choose_forms(graph, images, calibration, rule, progress)
        graph, folds, choices = forms.graph, folds + forms.folds, choices + forms.choices
        ran = {record.fold for record in forms.folds}
        if ran & {SignSplit.name, SigmoidArgument.name}:
            calibration = calibrate(graph, images, progress)
        calibration = {name: calibration[name] for name in graph.specs}  # other folds keep the values of what is left
    if recipe.equalization > 0:
        graph, calibration = equalize(graph, calibration, recipe.equalization)
    activations = with_exact_slopes(graph, choose_ranges(graph, calibration, recipe.ranges))
    return _Start(graph, activations, folds, choices)


def _rounded(start: _Start, recipe: Recipe, images: Sequence[Image8], progress: Progress) -> Quantization:
    """The start with rounded weights: what the recipe is without learning."""
    pieces = middles(images, recipe.refining_images, REFINING_SIDE, start.graph.size_multiple)
    network = QuantizedGraph(start.graph, start.activations, quantize_weights(start.graph, start.activations))
    network = refine(network, pieces, recipe.refinements(), progress)
    return Quantization(network, recipe, start.folds, start.forms, len(images))


def _learned(
    graph: Graph, result: Quantization, photographs: Sequence[Image8], recipe: Recipe, progress: Progress,
    saved: Path | None,
) -> Quantization:  # fmt: skip
    """The best of the result so far and what each stage of learning gives."""
    progress("drawing patches", 0, 1)
    material = gather(graph, photographs, recipe.mixture, recipe.seed)
    judge = material.judge
    best, best_db = result, judge.score_db(result.network, progress)
    candidates, notes = [Candidate("not learned", judge.measures, best_db)], []
    start = _start(graph, material.starting, recipe, progress)
    stages = Stages(Student(start.graph, start.activations), material, progress, saved)
    for plan in recipe.learning:
        try:
            network = stages.run(plan)
        except (DivergedError, CalibrationError, ExportError) as error:
            notes.append(f"{error}; kept the best result before it")
            break
        score_db = judge.score_db(network, progress)
        candidates.append(Candidate(plan.name, judge.measures, score_db))
        if score_db > best_db:
            best, best_db = replace(result, network=network, folds=start.folds, forms=start.forms), score_db
        else:
            was = f"{score_db:.3f} dB after {best_db:.3f}, {judge.measures}"
            notes.append(f"{plan.name} brought no gain ({was}); kept what was before")
    return replace(best, candidates=tuple(candidates), notes=tuple(notes))
