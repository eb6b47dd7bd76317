"""`train`: photographs to weights, by a configuration; alone on a CPU or GPU, or as one of torchrun's processes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from edgesr.architecture import SRModel
from edgesr.errors import TrainingError
from edgesr.model.training.batches import CropSource, add_noise
from edgesr.model.training.config import Device, Precision, TeacherConfig, TrainingConfig
from edgesr.model.training.config_file import flatten, load_config
from edgesr.model.training.interruption import stop_on_signals
from edgesr.model.training.loop import DivergedStepError, run_stages
from edgesr.model.training.model_card import CardFacts
from edgesr.model.training.network import NetworkPlan, load_teacher, plan_network
from edgesr.model.training.optimization import Optimization
from edgesr.model.training.photographs import Photographs, load_photographs
from edgesr.model.training.process_group import ProcessGroup, from_environment, joined_processes
from edgesr.model.training.recording import Recording, Report, RunFiles, Validate
from edgesr.model.training.state import TrainingState, new_state
from edgesr.model.training.training_log import LogRecord
from edgesr.progress import Progress, silent
from edgesr.runtime.bench import environment
from edgesr.runtime.metrics import psnr_db, to_uint8
from edgesr.threads import torch_threads

MIN_VALIDATION_SIDE = 16
"""Of an LR validation image."""


def report_nothing(record: LogRecord) -> None:
    """Take a report."""


@dataclass(frozen=True)
class TrainingRequest:
    """A run: its configuration (or the name of one), where photographs are, and where weights go.

    `images`, `validation` and `teacher` stand above what the configuration says.
    """

    config: TrainingConfig | Path | str
    output: Path
    images: Path | None = None
    validation: Path | None = None
    teacher: Path | None = None
    resume: bool = False


@dataclass(frozen=True)
class TrainingResult:
    """What a run ended with: PSNR on the crops of the last report, and of the mean weights on other photographs."""

    weights: Path
    steps: int
    seconds: float
    train_psnr_db: float | None
    validation_psnr_db: float | None
    photographs: int
    leads: bool = True
    notes: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, object]:
        """The result as JSON types."""
        return {
            "weights": str(self.weights), "steps": self.steps, "seconds": self.seconds,
            "train_psnr_db": self.train_psnr_db, "validation_psnr_db": self.validation_psnr_db,
            "photographs": self.photographs, "notes": list(self.notes),
        }  # fmt: skip


def train(request: TrainingRequest, progress: Progress = silent, report: Report = report_nothing) -> TrainingResult:
    """Train to the end of the last stage; every save and the end write the files that `RunFiles` names.

    Raises:
        TrainingError: the configuration does not fit, the loss is not finite, or a resumption has other settings.
        ImageError: no photograph can be used.
        CheckpointError: the teacher, or the state to go on from, cannot be read.
        ExportError: a file cannot be written; the files of the last save stay.
        KeyboardInterrupt: a signal came; the run was saved first.

    """
    config, files = _settle(request), RunFiles(request.output)
    plan = plan_network(config)
    teacher = load_teacher(config.teacher, config) if config.teacher else None
    group = from_environment()
    for stage in config.stages:
        group.share(stage.batch)
    if group.leads and not request.resume:
        files.refuse_old()
    device = choose_device(config.run.device, group.local_rank)
    threads = config.run.threads or torch.get_num_threads()
    with torch_threads(threads), joined_processes(device) as joined:
        return _run(config, files, plan, teacher, device, joined, request.resume, progress, report)


def choose_device(wanted: Device, local_rank: int) -> torch.device:
    """The device of this process; raises `TrainingError` where a GPU was asked for and there is none."""
    available = torch.cuda.is_available()
    if wanted is Device.CUDA and not available:
        raise TrainingError("run.device is cuda, and PyTorch sees no GPU here; choose cpu, or install its CUDA build")
    if wanted is Device.CPU or not available:
        return torch.device("cpu")
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)


def _settle(request: TrainingRequest) -> TrainingConfig:
    """The configuration with the request's own folders in it; raises `TrainingError` where there are no photographs."""
    config = request.config if isinstance(request.config, TrainingConfig) else load_config(request.config)
    if request.teacher is not None:
        shares = config.teacher or TeacherConfig(request.teacher)
        config = replace(config, teacher=replace(shares, weights=request.teacher))
    images, validation = request.images or config.images, request.validation or config.validation
    if images is None:
        raise TrainingError("no photographs to train on; give their folder by --images, or images in the configuration")
    return replace(config, images=images, validation=validation)


def _run(
    config: TrainingConfig, files: RunFiles, plan: NetworkPlan, teacher: SRModel | None, device: torch.device,
    group: ProcessGroup, resume: bool, progress: Progress, report: Report,
) -> TrainingResult:  # fmt: skip
    """Load, train and write."""
    assert config.images is not None
    multiple = plan.architecture.size_multiple
    photographs = load_photographs(config.images, config.scale, config.largest_crop, multiple, progress)
    validation = _load_validation(config, multiple, progress)
    source = CropSource(photographs.pairs, config.scale, config.seed, config.noise)
    state = new_state(plan, config, device)
    settings = _settings(config, photographs, teacher)
    if resume:
        state.load(files.state, settings)
    notes = (*photographs.notes, *_ignored(config, device))
    facts = _facts(config, plan, state, photographs, validation, teacher, device, group, notes)
    validate = _validation(config, validation, device) if validation is not None and group.leads else None
    recording = Recording(state, files, facts, settings, _both(report, progress, config), validate, group.leads)
    module = teacher.module.to(device) if teacher is not None else None
    if group.leads:
        recording.log.begin(state.position.step)
    with stop_on_signals() as stop:
        try:
            run_stages(Optimization(state, config, device, group, module), source, recording, stop)
        except DivergedStepError as error:
            raise recording.diverged(error, source) from error
    recording.finish()
    return TrainingResult(
        files.weights, state.position.step, state.position.elapsed_s, recording.train_psnr_db,
        recording.psnr_db, len(photographs.pairs), group.leads, notes,
    )  # fmt: skip


def _load_validation(config: TrainingConfig, multiple: int, progress: Progress) -> Photographs | None:
    if config.validation is None:
        return None
    smallest = max(MIN_VALIDATION_SIDE, multiple)
    return load_photographs(config.validation, config.scale, smallest, multiple, progress)


def _settings(config: TrainingConfig, photographs: Photographs, teacher: SRModel | None) -> dict[str, str]:
    """All that decides the result: what a resumption must share."""
    data = f"{len(photographs.pairs)} photographs, sha256 {photographs.digest[:16]}"
    taught = {"teacher.sha256": teacher.sha256} if teacher is not None else {}
    return {**flatten(config), **taught, "images": data}


def _ignored(config: TrainingConfig, device: torch.device) -> tuple[str, ...]:
    """What was asked for and is of no use here."""
    if device.type == "cuda":
        return ()
    asked = [f"precision {config.precision.value}"] if config.precision is not Precision.FLOAT32 else []
    asked += ["run.compile"] if config.run.compile else []
    return (f"{' and '.join(asked)} left out: they are for a GPU, and this is a CPU",) if asked else ()


def _facts(
    config: TrainingConfig, plan: NetworkPlan, state: TrainingState, photographs: Photographs,
    validation: Photographs | None, teacher: SRModel | None, device: torch.device, group: ProcessGroup,
    notes: tuple[str, ...],
) -> CardFacts:  # fmt: skip
    measured = None if validation is None else f"{len(validation.pairs)} photographs of {validation.folder.name}"
    taught = None
    if teacher is not None and config.teacher is not None:
        shares = f"{config.teacher.hr_weight:g} photograph : {config.teacher.teacher_weight:g} teacher"
        taught = f"{teacher.name} (sha256 {teacher.sha256[:16]}), loss {shares}"
    return CardFacts(
        config=config, name=f"{config.architecture}_x{config.scale}", hyperparameters=plan.hyperparameters,
        parameters=sum(p.numel() for p in state.module.parameters()),
        data=f"{len(photographs.pairs)} photographs of {photographs.folder.name}", steps=0, minutes=0.0,
        processes=group.size, machine=_machine(device), teacher=taught, validation=measured, notes=notes,
    )  # fmt: skip


def _machine(device: torch.device) -> str:
    """The processor or GPU that a run computes on."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"{threads} thread{'s' if threads > 1 else ''} of {environment()['processor']}"


def _validation(config: TrainingConfig, photographs: Photographs, device: torch.device) -> Validate:
    """The mean RGB PSNR of a network over the photographs, in dB; noise is the same at every measurement."""
    crop = config.scale if config.scale > 1 else 0

    def validate(module: nn.Module) -> float:
        measured = [
            psnr_db(_restored(module, lr, device), hr, crop) for lr, hr in _validation_inputs(config, photographs)
        ]
        return sum(measured) / len(measured)

    return validate


def _validation_inputs(config: TrainingConfig, photographs: Photographs) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for index, pair in enumerate(photographs.pairs):
        generator = np.random.default_rng((config.seed, index))
        yield (pair.lr if config.noise is None else add_noise(pair.lr, config.noise, generator)), pair.hr


def _restored(module: nn.Module, lr: np.ndarray, device: torch.device) -> np.ndarray:
    """What a network makes of a uint8 image (H, W, 3)."""
    image = torch.from_numpy(lr.transpose(2, 0, 1)[None].astype(np.float32) / 255).to(device)
    with torch.inference_mode():
        output = module(image)[0].float().cpu().numpy()
    if not np.isfinite(output).all():
        return np.zeros((*output.shape[1:], output.shape[0]), np.uint8)
    return to_uint8(output.transpose(1, 2, 0), 1.0)


def _both(report: Report, progress: Progress, config: TrainingConfig) -> Report:
    """Reports go to the progress bar, too."""

    def tell(record: LogRecord) -> None:
        report(record)
        progress("training", record.step, config.total_steps)

    return tell
