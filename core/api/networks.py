"""The network of each file of an export: the folded graph, or its quantization in the widths and form an NPU wants."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from edgesr.api.export_request import ExportRequest, Job
from edgesr.api.facts import describe_npu, describe_origin, describe_quantization
from edgesr.api.proving import with_channels
from edgesr.api.ready_int8 import find_ready
from edgesr.api.widths import WidthPlan
from edgesr.architecture import SRModel
from edgesr.errors import ExportError
from edgesr.export.pipeline import FoldRecord, find_profile_folds, run_folds
from edgesr.graph import Graph
from edgesr.npu_profile import NpuProfile
from edgesr.progress import Progress
from edgesr.quant.images import load_calibration_images
from edgesr.quant.photographs import load_photographs
from edgesr.quant.quantize import Quantization, quantize
from edgesr.quant.ready import ReadyQuantization
from edgesr.quant.recipe import READY, find_recipe
from edgesr.quantized import QuantizedGraph, float_graph

LEARNING_FOLDER = ".learning"
"""Where the state of a long quantization stays when it is interrupted; the same export goes on from it."""

FALLBACK = "fast"
"""The effort of `ready` where nothing that ships fits."""


class Networks:
    """All that the files of one export share: NPUs that want the same folds and grant the same MACs share a network."""

    def __init__(
        self, request: ExportRequest, model: SRModel, graph: Graph, folds: Sequence[FoldRecord], progress: Progress
    ) -> None:
        self.request = request
        self.model = model
        self.graph = graph
        self.folds = tuple(folds)
        images = load_calibration_images(request.calibration, model.size_multiple, progress)
        self.images = dataclasses.replace(images, pieces=self._of_its_channels(images.pieces))
        self._progress = progress
        self._folded: dict[tuple[str, ...], tuple[Graph, list[FoldRecord]]] = {}
        self._quantizations: dict[tuple[float, tuple[str, ...]], Quantization] = {}
        self._found: dict[tuple[float, tuple[str, ...]], ReadyQuantization | str] = {}
        self._plans: dict[str, WidthPlan] = {}

    def _photographs(self) -> tuple[np.ndarray, ...]:
        return load_photographs(self.request.calibration, self._progress)

    def _of_its_channels(self, images: Iterable[np.ndarray]) -> tuple[np.ndarray, ...]:
        """RGB images as a grey network takes them; for other numbers of channels calibration refuses them."""
        return tuple(with_channels(image, 1) if self.graph.input.channels == 1 else image for image in images)

    def network(self, job: Job) -> Graph | QuantizedGraph:
        """What the file of a job computes, its last shuffle included."""
        if not job.target.precision.is_integer:
            return self._graph(job.npu)[0]
        if self.model.value_range != 1:
            raise ExportError(
                f"{job.target.name} needs a network on images in [0, 1], {self.model.name} takes "
                f"[0, {self.model.value_range:g}]; divide its input and output by that, or choose a float target"
            )
        return self._plan(job).network(job.target, self._quantization(job).network)

    def facts(self, job: Job, network: Graph | QuantizedGraph) -> dict[str, object]:
        """What a manifest records of how the network came about."""
        quantized = isinstance(network, QuantizedGraph)
        folds = (*self.folds, *self._graph(job.npu)[1], *(self._quantization(job).folds if quantized else ()))
        facts = describe_origin(self.model, folds, float_graph(network))
        facts["npu"] = describe_npu(job.npu, float_graph(network))
        if isinstance(network, QuantizedGraph):
            described = describe_quantization(self._quantization(job), self.images)
            facts["quantization"] = described | self._ready_facts(job) | self._plan(job).facts(job.target, network)
        return facts

    def _graph(self, npu: NpuProfile) -> tuple[Graph, list[FoldRecord]]:
        """The graph after the folds that an NPU wants besides, and what these changed."""
        key = tuple(npu.folds)
        if key not in self._folded:
            self._folded[key] = run_folds(self.graph, find_profile_folds(key))
        return self._folded[key]

    def _quantization(self, job: Job) -> Quantization:
        key = job.npu.max_mac_growth, tuple(job.npu.folds)
        if key not in self._quantizations:
            found = self._ready(job)
            ready = found.quantization if isinstance(found, ReadyQuantization) else self._quantized(job, found)
            self._quantizations[key] = ready
        return self._quantizations[key]

    def _ready(self, job: Job) -> ReadyQuantization | str:
        """What ships for this model, graph and NPU, or why nothing that does fits; empty where nothing ships."""
        key = job.npu.max_mac_growth, tuple(job.npu.folds)
        if self.request.effort != READY or self.request.calibration is not None:
            return ""
        if key not in self._found:
            self._found[key] = find_ready(self.model, self._graph(job.npu)[0], job.npu.max_mac_growth)
        return self._found[key]

    def _ready_facts(self, job: Job) -> dict[str, object]:
        """Where integers that ship come from; nothing where they were made here."""
        found = self._ready(job)
        if not isinstance(found, ReadyQuantization):
            return {}
        kept = {name: found.provenance[name] for name in ("calibration_source", "calibration_images")}
        return {**kept, "ready_made": {**found.provenance, "fits": dataclasses.asdict(found.fit)}}

    def _quantized(self, job: Job, why_not_ready: str) -> Quantization:
        """Quantize here, and note why what ships was not used."""
        effort = FALLBACK if self.request.effort == READY else self.request.effort
        recipe = dataclasses.replace(find_recipe(effort), max_mac_growth=job.npu.max_mac_growth)
        photographs = self._of_its_channels(self._photographs()) if recipe.learning else None
        made = quantize(
            self._graph(job.npu)[0], self.images.pieces, recipe, self._progress, photographs=photographs,
            saved=self.request.out / LEARNING_FOLDER,
        )  # fmt: skip
        notes = (f"{why_not_ready}; made new ones at effort {effort}",) if why_not_ready else ()
        return dataclasses.replace(made, notes=(*made.notes, *notes))

    def _plan(self, job: Job) -> WidthPlan:
        """Widths follow from the quantized network and the NPU."""
        if job.npu.name not in self._plans:
            self._plans[job.npu.name] = WidthPlan(
                self.request.max_drop_db, job.npu, self._graph(job.npu)[0], self.images.pieces,
                lambda: self._of_its_channels(self._photographs()), self._progress,
            )  # fmt: skip
        return self._plans[job.npu.name]
