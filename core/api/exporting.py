"""From a model to verified files: capture, fold, quantize, emit, check, compile, and only then put in place."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import math
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgesr.api.compiling import CompiledFile, compile_file, refuse_width
from edgesr.api.export_report import publish_details, publish_report
from edgesr.api.export_request import ExportRequest, Job
from edgesr.api.facts import describe_network
from edgesr.api.general_route import GeneralSession
from edgesr.api.lock import LockWriter
from edgesr.api.networks import LEARNING_FOLDER, Networks
from edgesr.api.proving import check_file
from edgesr.api.small_copy import marked, provable
from edgesr.api.staging import REFERENCE_FOLDER, Staging, existing_manifest, staged_export
from edgesr.architecture import SRModel
from edgesr.artifact import Artifact, IOContract, Manifest
from edgesr.errors import ExportError, ParityError
from edgesr.export.capture import capture
from edgesr.export.folds.host_shuffle import ending_before_shuffle
from edgesr.export.onnx import emit_onnx
from edgesr.export.pipeline import NATIVE_FOLDS, run_folds
from edgesr.export.tflite import emit_tflite, is_resizable
from edgesr.graph import Graph
from edgesr.graph_file import serialize_graph
from edgesr.model.captured import in_graph_form
from edgesr.model.reference import save_reference, serialize_reference
from edgesr.model.registry import load_model
from edgesr.model.user_network import load_user_network
from edgesr.padding import padded_size
from edgesr.progress import Progress, silent
from edgesr.quantized import QuantizedGraph
from edgesr.route import Route
from edgesr.runtime.parity import ParityReport
from edgesr.runtime.torch_runner import RememberingRunner, TorchRunner
from edgesr.target import Format, Target

DEFAULT_TFLITE_SIZE = (128, 128)
"""TFLite files always name a size; they run at others after a resize."""
MAX_TENSOR_VALUES = 2**31 - 1
"""Runtimes on phones count a tensor's values in 32 bits."""


@dataclass(frozen=True)
class ExportResult:
    """The manifest after an export, the artifacts it wrote and the parity each one showed."""

    manifest: Manifest
    artifacts: tuple[Artifact, ...]
    parity: Mapping[str, ParityReport]


def export(request: ExportRequest, progress: Progress = silent) -> ExportResult:
    """Export a model to every target of the request.

    Each file is checked against the float64 PyTorch network before it is put in place. A request whose model is a class
    in a file executes that file. Raises `NetworkError` for a class that cannot be used, `CheckpointError`,
    `UnsupportedOpError`, `CalibrationError`, `ImageError`, `ExportError`, `QualityError` for a budget that cannot be
    met, and `ParityError` for a file that fails.
    """
    prints = contextlib.redirect_stdout(sys.stderr) if request.user_class else contextlib.nullcontext()
    with prints, staged_export(request.out) as staging:  # what a user's class prints is no output of ours
        session: _Session | GeneralSession
        locks = LockWriter(request)
        if request.route is Route.GENERAL:
            session = GeneralSession(request, staging, _load(request), locks, progress)
        else:
            session = _Session(request, staging, locks, progress)
        try:
            for job in request.jobs:
                session.export_file(job)
                written = session.written[-1]
                publish_details(staging, session.manifest, written, session.parity[written.file], session.captured)
        finally:  # what was written before a failure stays, so it is reported
            if session.written:
                publish_report(staging, session.manifest)
        shutil.rmtree(request.out / LEARNING_FOLDER, ignore_errors=True)
        return ExportResult(session.manifest, tuple(session.written), session.parity)


class _Session:
    """One export: the model, the networks of its files, and what was written so far."""

    def __init__(self, request: ExportRequest, staging: Staging, locks: LockWriter, progress: Progress) -> None:
        self.request = request
        self.staging = staging
        self.locks = locks
        self.progress = progress
        self.manifest = existing_manifest(request.out)
        progress("capturing the network", 0, 1)
        self.model = _load(request)
        self.reference = RememberingRunner(TorchRunner(self.model))
        self.captured = captured = capture(self.model, self.model.in_channels)
        self.kept = in_graph_form(self.model, captured) if request.user_class else self.model
        self.graph, folds = run_folds(captured, NATIVE_FOLDS)
        _refuse_sizes(request.sizes, self.graph, self.model)
        progress("capturing the network", 1, 1)
        self.networks = Networks(request, self.model, self.graph, folds, progress)
        self.written: list[Artifact] = []
        self.parity: dict[str, ParityReport] = {}

    def export_file(self, job: Job) -> None:
        """Emit, check, compile where the target says so, and place one file, then record it."""
        target, contract = job.target, self._contract(job)
        refuse_width(job, self.graph, contract.sizes)
        network = self.networks.network(job)
        facts = self.networks.facts(job, network) | self._padded_sizes(contract)
        self.progress(f"writing {target.name}", 0, 1)
        content = self._emit(target, network, contract, facts)
        file = f"{self.model.name}-{job.stem}.{target.format.value}"
        report, on_copy = self._prove(file, content, target, network, contract)
        facts["parity"] = report.summary() | {"on_small_copy": on_copy}
        compiled = self._compile(job, file, content)
        artifact = Artifact(
            file=file,
            target=target.name,
            sha256=hashlib.sha256(compiled.content).hexdigest(),
            size_bytes=len(compiled.content),
            contract=contract,
            reference=self._keep_reference(),
            graph=self._keep_graph(network),
            facts={**facts, **compiled.facts, **self.locks.facts(job)},
            source=self._keep_source(file, content) if target.compiler else None,
        )
        self.manifest = self.staging.place(_with_companions(artifact, compiled, content))
        self.parity[file] = report
        self.written.append(self.manifest.find(file))
        self.progress(f"writing {target.name}", 1, 1)

    def _compile(self, job: Job, file: str, content: bytes) -> CompiledFile:
        """The file as it ships, staged."""
        if job.target.compiler is None:
            return CompiledFile(content)
        self.progress(f"compiling for {job.npu.name}", 0, 1)
        compiled = compile_file(content, job, file)
        for name, companion in compiled.beside.items():
            self.staging.write(name, companion)
        self.staging.write(file, compiled.content)
        return compiled

    def _keep_source(self, file: str, content: bytes) -> str:
        """What a file was compiled from stays beside it as a part of its proof, named by its content."""
        path = Path(file)
        relative = f"{REFERENCE_FOLDER}/{path.stem}-{hashlib.sha256(content).hexdigest()[:8]}{path.suffix}"
        self.staging.write(relative, content)
        return relative

    def _prove(
        self, file: str, content: bytes, target: Target, network: Graph | QuantizedGraph, contract: IOContract
    ) -> tuple[ParityReport, bool]:
        """Stage a file and check it; raises `ParityError` for one that fails."""
        staged = self.staging.write(file, content)
        with provable(staged, target, contract) as (path, its_contract, on_copy):
            report = check_file(
                path, file, target, its_contract, self.model, self.reference, network, self.networks.images.pieces,
                progress=self.progress,
            )  # fmt: skip
        if report.failures:
            failure = report.failures[0].describe()
            raise ParityError(f"{file} was not written, it fails parity: {failure}; report it with the checkpoint")
        return marked(report) if on_copy else report, on_copy

    def _contract(self, job: Job) -> IOContract:
        target, tflite = job.target, job.target.format is Format.TFLITE
        named = tflite or target.compiler is not None
        asked = (padded_size(size, self.model.size_multiple) for size in self.request.sizes)
        sizes = tuple(dict.fromkeys(asked)) or ((_default_size(self.model),) if named else ())
        free = is_resizable(self.graph) if tflite else not self.request.sizes
        return IOContract(
            dtype=self.request.io or target.default_io,
            layout=self.request.layout or target.default_layout,
            channels=self.graph.input.channels,
            upscale=self.model.scale,
            value_range=self.model.value_range,
            sizes=sizes,
            any_size=free and target.compiler is None,
            size_multiple=self.model.size_multiple,
            host_shuffle=job.npu.host_shuffle(self.graph),
        )

    def _padded_sizes(self, contract: IOContract) -> dict[str, object]:
        """The sizes that were asked for and are no file's: images of them are padded to the next multiple."""
        padded = [list(size) for size in dict.fromkeys(self.request.sizes) if contract.file_size(size) != size]
        return {"padded_sizes": padded} if padded else {}

    def _emit(
        self, target: Target, network: Graph | QuantizedGraph, contract: IOContract, facts: Mapping[str, object]
    ) -> bytes:
        described = {
            "target": target.name,
            "contract": contract.to_json(),
            "model": describe_network(self.model),
            "npu": facts["npu"],
        }
        if contract.host_shuffle > 1:
            network = ending_before_shuffle(network)
        if target.format is Format.TFLITE:
            return emit_tflite(network, target.precision, contract.dtype, contract.sizes, described)
        size = contract.sizes[0] if contract.sizes else None
        return emit_onnx(
            network, target.precision, contract.dtype, contract.layout, size, described, contract.value_range
        )  # fmt: skip

    def _keep_reference(self) -> str:
        """Write the network without any code; the same weights may belong to several versions of a user's class."""
        digest = self.model.sha256
        if self.request.user_class:
            digest = hashlib.sha256(serialize_reference(self.kept)).hexdigest()
        relative = f"{REFERENCE_FOLDER}/{self.model.name}-{digest[:8]}.safetensors"
        save_reference(self.kept, self.staging.folder / relative)
        return relative

    def _keep_graph(self, network: Graph | QuantizedGraph) -> str:
        content = serialize_graph(network)
        digest = hashlib.sha256(content).hexdigest()[:8]
        relative = f"{REFERENCE_FOLDER}/{self.model.name}-{digest}.graph.safetensors"
        self.staging.write(relative, content)
        return relative


def _load(request: ExportRequest) -> SRModel:
    """The network; only a request that names a class in a file runs that file."""
    if request.user_class is None:
        return load_model(request.model, request.weights)
    assert request.weights is not None  # the request refuses a class without weights
    return load_user_network(request.user_class, request.init, request.weights)


def _with_companions(artifact: Artifact, compiled: CompiledFile, source: bytes) -> Artifact:
    """The artifact with the sha256 of what lies beside it and of what it was compiled from."""
    if artifact.source is None:
        return artifact
    beside = {**compiled.beside, artifact.source: source}
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in beside.items()}
    return dataclasses.replace(artifact, companions=digests)


def _refuse_sizes(sizes: Sequence[tuple[int, int]], graph: Graph, model: SRModel) -> None:
    """Raise `ExportError` for a size whose tensors no runtime holds."""
    values_per_pixel = graph.values_per_input_pixel
    for height, width in sizes:
        if math.prod(padded_size((height, width), model.size_multiple)) * values_per_pixel > MAX_TENSOR_VALUES:
            raise ExportError(
                f"--size {height}x{width} is too large: {model.name} would hold {MAX_TENSOR_VALUES} values or more in "
                f"one tensor, which runtimes cannot count; stay below {MAX_TENSOR_VALUES // values_per_pixel} pixels"
            )


def _default_size(model: SRModel) -> tuple[int, int]:
    height, width = (max(1, n // model.size_multiple) * model.size_multiple for n in DEFAULT_TFLITE_SIZE)
    return height, width
