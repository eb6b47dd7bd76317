"""The general route: files of a network that edgesr's graph cannot hold, by other converters, with the same proof.

The network's program is recorded at the one size of the files (`edgesr.export.record_program`) and kept as the
reference in the place of the class; during the export parity is measured against the class itself in float64. Only what
passes is put in place. See docs/adr/0014-general-route.md.
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from edgesr.api.export_request import ExportRequest, Job
from edgesr.api.facts import describe_making
from edgesr.api.lock import LockWriter
from edgesr.api.peer_output import without_noise
from edgesr.api.proving import with_channels
from edgesr.api.staging import REFERENCE_FOLDER, Staging, existing_manifest
from edgesr.api.whole_proving import check_whole_file
from edgesr.architecture import SRModel
from edgesr.artifact import Artifact, IOContract
from edgesr.errors import EdgeSRError, ExportError, ParityError, first_line
from edgesr.export.general import CONVERTERS
from edgesr.export.record_program import record_program
from edgesr.model.aten_program import in_program_form
from edgesr.model.reference import serialize_reference
from edgesr.padding import padded_size
from edgesr.progress import Progress
from edgesr.quant.images import CalibrationImages, load_calibration_images
from edgesr.route import Route
from edgesr.runtime.cases import cut
from edgesr.runtime.parity import ParityReport
from edgesr.runtime.torch_runner import RememberingRunner, TorchRunner
from edgesr.runtime.whole_parity import change_db
from edgesr.target import Format, IODtype, Layout, Target

DEFAULT_SIZE = (128, 128)


class GeneralSession:
    """One export by the general route: the model, its recorded program, and what was written so far."""

    def __init__(
        self, request: ExportRequest, staging: Staging, model: SRModel, locks: LockWriter, progress: Progress
    ) -> None:
        self.staging = staging
        self.locks = locks
        self.progress = progress
        self.model = model
        self.manifest = existing_manifest(request.out)
        self.written: list[Artifact] = []
        self.parity: dict[str, ParityReport] = {}
        self.captured = None
        self._channels = model.in_channels
        self._size = padded_size((*request.sizes, DEFAULT_SIZE)[0], model.size_multiple)
        self._converters = {target: CONVERTERS[target.format].describe(target) for target in request.targets}
        progress("recording the network", 0, 1)
        self._kept = in_program_form(model, record_program(model, self._channels, self._size))
        progress("recording the network", 1, 1)
        self._reference = RememberingRunner(TorchRunner(model))
        self._images = load_calibration_images(request.calibration, model.size_multiple, progress)

    def export_file(self, job: Job) -> None:
        """Convert, check and place one file, then record it."""
        target, contract = job.target, self._contract(job.target)
        file = f"{self.model.name}-general-{job.stem}.{target.format.value}"
        content = self._convert(target)
        report = check_whole_file(
            self.staging.write(file, content), file, target, contract, self.model, self._reference,
            self._images.pieces, progress=self.progress,
        )  # fmt: skip
        if report.failures:
            failure = report.failures[0].describe()
            raise ParityError(
                f"{file} was not written, it fails parity: {failure}; choose a float target, or report it"
            )
        artifact = Artifact(
            file=file,
            target=target.name,
            sha256=hashlib.sha256(content).hexdigest(),
            size_bytes=len(content),
            contract=contract,
            reference=self._keep_reference(),
            graph=None,
            facts=self._facts(target, report) | self.locks.facts(job),
        )
        self.manifest = self.staging.place(artifact)
        self.parity[file] = report
        self.written.append(self.manifest.find(file))

    def _convert(self, target: Target) -> bytes:
        """The file's bytes; raises `ExportError` for whatever the converter raises."""
        images = [cut(with_channels(image, self._channels), self._size) for image in self._images.pieces]
        with tempfile.TemporaryDirectory(prefix="edgesr-") as folder:
            try:
                with without_noise(self.progress) as shown:
                    given = images if target.precision.is_integer else None
                    return CONVERTERS[target.format].write(self.model, self._size, given, Path(folder), shown)
            except EdgeSRError:
                raise
            except Exception as error:  # another tool's failure is what there is to say of it, whatever it raises
                tools = self._converters[target]["packages"]
                why = f"{type(error).__name__}: {first_line(error)}"
                raise ExportError(
                    f"{target.name}: the converter fails ({tools}): {why}; choose another target"
                ) from error

    def _contract(self, target: Target) -> IOContract:
        return IOContract(
            dtype=IODtype.FLOAT32,
            layout=Layout.NCHW if target.format is Format.ONNX else Layout.NHWC,
            channels=self._channels,
            upscale=self.model.scale,
            value_range=self.model.value_range,
            sizes=(self._size,),
            any_size=False,
            size_multiple=self.model.size_multiple,
        )

    def _keep_reference(self) -> str:
        content = serialize_reference(self._kept)
        digest = hashlib.sha256(content).hexdigest()[:8]
        relative = f"{REFERENCE_FOLDER}/{self.model.name}-{digest}.program.safetensors"
        self.staging.write(relative, content)
        return relative

    def _facts(self, target: Target, report: ParityReport) -> dict[str, object]:
        facts: dict[str, object] = {
            **describe_making(self._kept),
            "route": Route.GENERAL.value,
            "converter": self._converters[target],
            "folds": [],
            "parity": report.summary() | {"on_small_copy": False},
        }
        if target.precision.is_integer:
            facts["quantization"] = _describe_quantization(self._images, report)
        return facts


def _describe_quantization(images: CalibrationImages, report: ParityReport) -> dict[str, object]:
    """What calibrated the file, its PSNR to the network on natural images, and what that costs a picture of 30 dB."""
    to_network_db = min(row.psnr_db for row in report.rows if row.case.startswith("natural"))
    cost = f"PSNR to the network {to_network_db:.1f} dB: a picture of 30 dB loses {change_db(to_network_db):.2f} dB"
    return {
        "psnr_to_network_db": to_network_db,
        "change_of_a_30_db_picture": change_db(to_network_db),
        "notes": [f"general route, nothing tuned by edgesr; {cost}; measure yours by edgesr verify quality"],
        "calibration_source": images.source,
        "calibration_images": len(images.names),
    }
