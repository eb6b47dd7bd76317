"""The card of trained weights, as markdown: what they are, how good, of what data, by which run, and their limits."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import torch

from edgesr.model.training.config import LossWeights, Stage, TrainingConfig

BICUBIC = "MATLAB's antialiased bicubic kernel"


@dataclass(frozen=True)
class CardFacts:
    """What a card states; `psnr_db` is on `validation_images` photographs, None where none were given."""

    config: TrainingConfig
    name: str
    parameters: int
    hyperparameters: Mapping[str, int]
    data: str
    steps: int
    minutes: float
    processes: int
    machine: str
    teacher: str | None = None
    psnr_db: float | None = None
    validation: str | None = None
    notes: Sequence[str] = ()


def write_card(facts: CardFacts) -> str:
    """The markdown text."""
    config = facts.config
    return "\n".join(
        [
            f"# {facts.name}",
            "",
            f"{config.architecture} {_task(config)}: {_settings(facts.hyperparameters)}; {facts.parameters:,} "
            "parameters. Trained by `edgesr train`.",
            "",
            _quality(facts),
            "",
            f"- Data: {facts.data}, {_degradation(config)}. The photographs are not part of the weights.",
            f"- Run: {_run(facts)}, torch {torch.__version__}, seed {config.seed}, "
            f"{datetime.datetime.now(datetime.UTC).date().isoformat()}.",
            *[f"- Stage {i}: {_stage(stage)}." for i, stage in enumerate(config.stages, start=1)],
            f"- Optimizer: AdamW, {_settings(vars(config.optimizer))}; precision {config.precision.value}.",
            *([f"- Teacher: {facts.teacher}."] if facts.teacher else []),
            *[f"- Note: {note}." for note in facts.notes],
            "",
            f"Limits: {_limits(config)}",
            "",
        ]
    )


def _task(config: TrainingConfig) -> str:
    return f"for x{config.scale} super-resolution" if config.scale > 1 else "for denoising"


def _quality(facts: CardFacts) -> str:
    if facts.psnr_db is None:
        return "PSNR: not measured; give a folder of other photographs as `validation`, or run `edgesr score`."
    cut = f", {facts.config.scale} pixels cut at each border" if facts.config.scale > 1 else ""
    return (
        f"RGB PSNR: {facts.psnr_db:.2f} dB on {facts.validation}, by the NTIRE protocol (uint8{cut}, mean over the "
        "images). They were only measured: nothing was chosen by them."
    )


def _degradation(config: TrainingConfig) -> str:
    if config.noise is not None:
        return f"with Gaussian noise of {config.noise.low:g} to {config.noise.high:g} levels"
    return f"reduced x{config.scale} by {BICUBIC}"


def _run(facts: CardFacts) -> str:
    many = f", {facts.processes} processes" if facts.processes > 1 else ""
    return (
        f"{facts.steps:,} of {facts.config.total_steps:,} steps, {facts.minutes:.1f} minutes on {facts.machine}{many}"
    )


def _stage(stage: Stage) -> str:
    terms = [term.name for term in fields(LossWeights) if getattr(stage.losses, term.name)]
    losses = " + ".join(f"{getattr(stage.losses, term):g} {term}" for term in terms)
    bound = f", at most {stage.minutes:g} minutes" if stage.minutes else ""
    return (
        f"{stage.steps:,} steps of {stage.batch} LR crops of {stage.crop}x{stage.crop}{bound}; loss {losses}; "
        f"learning rate {stage.learning_rate:g} to {stage.final_learning_rate:g} by a cosine"
    )


def _limits(config: TrainingConfig) -> str:
    if config.noise is not None:
        return (
            f"it removes white Gaussian noise of {config.noise.low:g} to {config.noise.high:g} levels; a camera's own "
            "noise, which depends on light and neighbours, is another."
        )
    return (
        f"it undoes clean bicubic x{config.scale} reduction of photographs, and sharpens noise and JPEG artefacts "
        "along with detail."
    )


def _settings(values: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())
