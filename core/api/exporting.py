"""From a model to verified files: capture, fold, quantize, emit, check, and only then put in place."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import importlib.metadata
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgesr.api.proving import check_file
from edgesr.api.small_copy import marked, provable
from edgesr.api.staging import REFERENCE_FOLDER, Staging, existing_manifest, staged_export
from edgesr.api.widths import WidthPlan, width_request
from edgesr.architecture import SRModel
from edgesr.artifact import Artifact, IOContract, Manifest
from edgesr.errors import ExportError, ParityError
from edgesr.export.capture import capture
from edgesr.export.onnx import emit_onnx
from edgesr.export.pipeline import NATIVE_FOLDS, FoldRecord, run_folds
from edgesr.export.tflite import emit_tflite, is_resizable
from edgesr.graph import Graph
from edgesr.graph_file import serialize_graph
from edgesr.model.reference import save_reference
from edgesr.model.registry import load_model
from edgesr.npu_profile import NPU_PROFILES, find_npu_profile
from edgesr.ops import Op
from edgesr.progress import Progress, silent
from edgesr.quant.images import CalibrationImages, load_calibration_images
from edgesr.quant.photographs import load_photographs
from edgesr.quant.quantize import Quantization, quantize
from edgesr.quant.recipe import RECIPES
from edgesr.quantized import QuantizedGraph, float_graph
from edgesr.runtime.parity import ParityReport
from edgesr.runtime.torch_runner import RememberingRunner, TorchRunner
from edgesr.target import Format, IODtype, Layout, Target

DEFAULT_TFLITE_SIZE = (128, 128)
"""TFLite files always name a size; they run at others after a resize."""
MAX_TENSOR_VALUES = 2**31 - 1
"""Runtimes on phones count a tensor's values in 32 bits."""
LEARNING_FOLDER = ".learning"
"""Where the state of a long quantization stays when it is interrupted; the same export goes on from it."""
RECORDED_PACKAGES = ("edgesr", "torch", "onnx", "onnxruntime", "ai-edge-litert", "numpy")


@dataclass(frozen=True)
class ExportRequest:
    """What to export, how and where.

    `sizes` are input sizes (H, W): none leaves ONNX files free and writes TFLite files for 128x128; one ONNX file holds
    one size. `io` and `layout` None mean each target's default. `calibration` is a folder of images, None the builtin
    set. `max_drop_db` lets int8 targets have 16-bit activations where the picture would lose more, chosen for `npu`.
    """

    targets: tuple[Target, ...]
    out: Path
    model: str | None = None
    weights: Path | None = None
    sizes: tuple[tuple[int, int], ...] = ()
    io: IODtype | None = None
    layout: Layout | None = None
    calibration: Path | None = None
    effort: str = RECIPES[0].name
    max_drop_db: float | None = None
    npu: str = NPU_PROFILES[0].name

    def __post_init__(self) -> None:
        """Refuse an empty request and combinations that a target does not have."""
        if not self.targets:
            raise ExportError("nothing to export; name a target")
        if self.effort not in {recipe.name for recipe in RECIPES}:
            known = ", ".join(recipe.name for recipe in RECIPES)
            raise ExportError(f"no recipe is called '{self.effort}'; choose from {known}")
        if any(min(size) < 1 for size in self.sizes):
            raise ExportError("a size has no pixel; give height and width of 1 or more")
        for target in self.targets:
            if self.io is not None and self.io not in target.io:
                choices = ", ".join(io.value for io in target.io)
                raise ExportError(f"{target.name} has no {self.io.value} I/O; choose from {choices}")
            if self.layout is not None and self.layout not in target.layouts:
                choices = ", ".join(layout.value for layout in target.layouts)
                raise ExportError(f"{target.name} has no {self.layout.value} layout; choose from {choices}")
            if target.format is Format.ONNX and len(self.sizes) > 1:
                raise ExportError(f"{target.name} holds one size; give one --size, or none to leave it free")
        width_request(self.max_drop_db, self.npu, self.targets)


@dataclass(frozen=True)
class ExportResult:
    """The manifest after an export, the artifacts it wrote and the parity each one showed."""

    manifest: Manifest
    artifacts: tuple[Artifact, ...]
    parity: Mapping[str, ParityReport]


def export(request: ExportRequest, progress: Progress = silent) -> ExportResult:
    """Export a model to every target of the request.

    Each file is checked against the float64 PyTorch network before it is put in place. Raises `CheckpointError`,
    `UnsupportedOpError`, `CalibrationError`, `ImageError`, `ExportError`, `QualityError` for a budget that cannot be
    met, and `ParityError` for a file that fails.
    """
    with staged_export(request.out) as staging:
        session = _Session(request, staging, progress)
        for target in request.targets:
            session.export_target(target)
        shutil.rmtree(request.out / LEARNING_FOLDER, ignore_errors=True)
        return ExportResult(session.manifest, tuple(session.written), session.parity)


class _Session:
    """One export: the model, its folded graph, and the quantized graph once it is needed."""

    def __init__(self, request: ExportRequest, staging: Staging, progress: Progress) -> None:
        self.request = request
        self.staging = staging
        self.progress = progress
        self.manifest = existing_manifest(request.out)
        progress("capturing the network", 0, 1)
        self.model = load_model(request.model, request.weights)
        self.reference = RememberingRunner(TorchRunner(self.model))
        captured = capture(self.model, self.model.config.get("in_channels", 3))
        self.graph, self.folds = run_folds(captured, NATIVE_FOLDS)
        _refuse_sizes(request.sizes, self.graph, self.model)
        progress("capturing the network", 1, 1)
        self.images: CalibrationImages = load_calibration_images(
            request.calibration, self.model.size_multiple, progress
        )
        self.quantization: Quantization | None = None
        widths = width_request(request.max_drop_db, request.npu, request.targets)
        self.widths = WidthPlan(widths, self.graph, self.images.pieces, request.calibration, progress)
        self.written: list[Artifact] = []
        self.parity: dict[str, ParityReport] = {}

    def export_target(self, target: Target) -> None:
        """Emit, check and place one file, then record it."""
        network, contract = self._network(target), self._contract(target)
        facts = self._facts(target, network)
        self.progress(f"writing {target.name}", 0, 1)
        content = self._emit(target, network, contract, facts)
        file = f"{self.model.name}-{target.precision.value}.{target.format.value}"
        report, on_copy = self._prove(file, content, target, network, contract)
        artifact = Artifact(
            file=file,
            target=target.name,
            sha256=hashlib.sha256(content).hexdigest(),
            size_bytes=len(content),
            contract=contract,
            reference=self._keep_reference(),
            graph=self._keep_graph(network),
            facts=facts | {"parity": report.summary() | {"on_small_copy": on_copy}},
        )
        self.manifest = self.staging.place(artifact)
        self.parity[file] = report
        self.written.append(artifact)
        self.progress(f"writing {target.name}", 1, 1)

    def _prove(
        self, file: str, content: bytes, target: Target, network: Graph | QuantizedGraph, contract: IOContract
    ) -> tuple[ParityReport, bool]:
        """Stage a file and check it; raises `ParityError` for one that fails."""
        staged = self.staging.write(file, content)
        with provable(staged, target, contract) as (path, its_contract, on_copy):
            report = check_file(
                path, file, target, its_contract, self.model, self.reference, network, self.images.pieces,
                progress=self.progress,
            )  # fmt: skip
        if report.failures:
            failure = report.failures[0].describe()
            raise ParityError(f"{file} was not written, it fails parity: {failure}; report it with the checkpoint")
        return marked(report) if on_copy else report, on_copy

    def _network(self, target: Target) -> Graph | QuantizedGraph:
        if not target.precision.is_integer:
            return self.graph
        if self.model.value_range != 1:
            raise ExportError(
                f"{target.name} needs a network on images in [0, 1], {self.model.name} takes "
                f"[0, {self.model.value_range:g}]; divide its input and output by that, or choose a float target"
            )
        if self.quantization is None:
            profile = find_npu_profile(self.request.npu)
            recipe = next(recipe for recipe in RECIPES if recipe.name == self.request.effort)
            recipe = dataclasses.replace(recipe, max_mac_growth=profile.max_mac_growth)
            photographs = load_photographs(self.request.calibration, self.progress) if recipe.learning else None
            saved = self.request.out / LEARNING_FOLDER
            self.quantization = quantize(
                self.graph, self.images.pieces, recipe, self.progress, photographs=photographs, saved=saved
            )
        return self.widths.network(target, self.quantization.network)

    def _contract(self, target: Target) -> IOContract:
        tflite = target.format is Format.TFLITE
        sizes = tuple(dict.fromkeys(self.request.sizes)) or ((_default_size(self.model),) if tflite else ())
        return IOContract(
            dtype=self.request.io or target.default_io,
            layout=self.request.layout or target.default_layout,
            channels=self.graph.input.channels,
            upscale=self.model.scale,
            value_range=self.model.value_range,
            sizes=sizes,
            any_size=is_resizable(self.graph) if tflite else not self.request.sizes,
            size_multiple=self.model.size_multiple,
        )

    def _emit(
        self, target: Target, network: Graph | QuantizedGraph, contract: IOContract, facts: Mapping[str, object]
    ) -> bytes:
        described = {"target": target.name, "contract": contract.to_json(), "model": facts["model"]}
        if target.format is Format.TFLITE:
            return emit_tflite(network, target.precision, contract.dtype, contract.sizes, described)
        size = contract.sizes[0] if contract.sizes else None
        return emit_onnx(network, target.precision, contract.dtype, contract.layout, size, described)

    def _keep_reference(self) -> str:
        relative = f"{REFERENCE_FOLDER}/{self.model.name}-{self.model.sha256[:8]}.safetensors"
        save_reference(self.model, self.staging.folder / relative)
        return relative

    def _keep_graph(self, network: Graph | QuantizedGraph) -> str:
        content = serialize_graph(network)
        digest = hashlib.sha256(content).hexdigest()[:8]
        relative = f"{REFERENCE_FOLDER}/{self.model.name}-{digest}.graph.safetensors"
        self.staging.write(relative, content)
        return relative

    def _facts(self, target: Target, network: Graph | QuantizedGraph) -> dict[str, object]:
        graph = float_graph(network)
        folds = [
            *self.folds,
            *(self.quantization.folds if isinstance(network, QuantizedGraph) and self.quantization else ()),
        ]
        facts: dict[str, object] = {
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "versions": {name: importlib.metadata.version(name) for name in RECORDED_PACKAGES},
            "model": _describe_model(self.model),
            "folds": [_describe_fold(record) for record in folds],
            "graph": _describe_graph(graph),
        }
        if isinstance(network, QuantizedGraph):
            facts["quantization"] = self._describe_quantization() | self.widths.facts(target, network)
        return facts

    def _describe_quantization(self) -> dict[str, object]:
        assert self.quantization is not None
        recipe = self.quantization.recipe
        return {
            "recipe": recipe.name,
            "ranges": recipe.ranges.method.value,
            "tail": recipe.ranges.tail,
            "equalization": recipe.equalization,
            "gptq": recipe.gptq,
            "bias_correction": recipe.bias_correction,
            "sign_split": recipe.sign_split,
            "learning": [{"stage": plan.name, "steps": plan.steps} for plan in recipe.learning],
            "compared_on_held_out_images": [dataclasses.asdict(c) for c in self.quantization.candidates],
            "graph_forms": [dataclasses.asdict(choice) for choice in self.quantization.forms],
            "notes": list(self.quantization.notes),
            "calibration_source": self.images.source,
            "calibration_images": len(self.images.names),
        }


def _refuse_sizes(sizes: Sequence[tuple[int, int]], graph: Graph, model: SRModel) -> None:
    """Raise `ExportError` for a size that the network does not take, or whose tensors no runtime holds."""
    values_per_pixel = graph.values_per_input_pixel
    for height, width in sizes:
        if height % model.size_multiple or width % model.size_multiple:
            raise ExportError(f"--size {height}x{width} is no multiple of {model.size_multiple}; choose one that is")
        if height * width * values_per_pixel > MAX_TENSOR_VALUES:
            raise ExportError(
                f"--size {height}x{width} is too large: {model.name} would hold {MAX_TENSOR_VALUES} values or more in "
                f"one tensor, which runtimes cannot count; stay below {MAX_TENSOR_VALUES // values_per_pixel} pixels"
            )


def _default_size(model: SRModel) -> tuple[int, int]:
    height, width = (max(1, n // model.size_multiple) * model.size_multiple for n in DEFAULT_TFLITE_SIZE)
    return height, width


def _describe_model(model: SRModel) -> dict[str, object]:
    kept = ("name", "architecture", "config", "source", "sha256")
    return {name: getattr(model, name) for name in kept} | {"config": dict(model.config)}


def _describe_fold(record: FoldRecord) -> dict[str, object]:
    return dataclasses.asdict(record) | {"changed": list(record.changed)}


def _describe_graph(graph: Graph) -> dict[str, object]:
    kinds: Counter[type[Op]] = Counter(type(op) for op in graph)
    return {
        "operators": {kind.__name__: count for kind, count in sorted(kinds.items(), key=lambda item: item[0].__name__)},
        "parameters": graph.parameter_count(),
        "macs_per_input_pixel": float(graph.macs_per_input_pixel()),
    }
