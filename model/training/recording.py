"""What a run leaves: weights, state, log, plot and card, written at every save, and the reports in between.

Beside OUTPUT.safetensors: OUTPUT.state (to go on from, gone when the run is finished), OUTPUT.jsonl, OUTPUT.svg and
OUTPUT.md. Only the leading process writes.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from safetensors.torch import save
from torch import nn

from edgesr.atomic import write_atomically
from edgesr.errors import ExportError, TrainingError
from edgesr.model.training.batches import CropSource
from edgesr.model.training.loop import DivergedStepError, StepFigures
from edgesr.model.training.model_card import CardFacts, write_card
from edgesr.model.training.state import TrainingState
from edgesr.model.training.training_log import LogRecord, TrainingLog
from edgesr.model.training.training_plot import draw_training

METADATA_KEY = "edgesr_training"
Report = Callable[[LogRecord], None]
Validate = Callable[[nn.Module], float]


@dataclass(frozen=True)
class RunFiles:
    """The files of a run, by the name of its weights."""

    weights: Path

    def __post_init__(self) -> None:
        """Refuse names that say another format."""
        if self.weights.suffix != ".safetensors":
            raise TrainingError(
                f"--output {self.weights}: weights are written as .safetensors; give a name that ends so"
            )

    @property
    def state(self) -> Path:
        """What `--resume` goes on from."""
        return self.weights.with_suffix(".state")

    @property
    def log(self) -> Path:
        """JSON lines."""
        return self.weights.with_suffix(".jsonl")

    @property
    def plot(self) -> Path:
        """SVG."""
        return self.weights.with_suffix(".svg")

    @property
    def card(self) -> Path:
        """Markdown."""
        return self.weights.with_suffix(".md")

    @property
    def diverged(self) -> Path:
        """The batch of a step whose loss was not finite."""
        return self.weights.with_suffix(".diverged.safetensors")

    def refuse_old(self) -> None:
        """Raise TrainingError where a new run would write over another one."""
        if self.state.exists():
            raise TrainingError(
                f"{self.state} holds an unfinished run; go on with --resume, or choose another --output"
            )
        if self.weights.exists():
            raise TrainingError(f"{self.weights} exists; remove it, or choose another --output")


class Recording:
    """Observes a run and writes its files; `facts` is the card's start, `settings` what a resumption must share."""

    def __init__(
        self, state: TrainingState, files: RunFiles, facts: CardFacts, settings: Mapping[str, str], report: Report,
        validate: Validate | None = None, leads: bool = True,
    ) -> None:  # fmt: skip
        self.state = state
        self.files = files
        self.facts = facts
        self.settings = settings
        self.report = report
        self.validate = validate
        self.leads = leads
        self.log = TrainingLog(files.log)
        self.psnr_db: float | None = None
        self.train_psnr_db: float | None = None
        self._since: list[StepFigures] = []
        self._saved_at = time.monotonic()

    def due(self) -> bool:
        """Whether a report, a measurement or a save is due."""
        run, step = self.facts.config.run, self.state.position.step
        return step % run.report_every == 0 or self._measures() or self._save_is_due()

    def settled(self, figures: tuple[StepFigures, ...]) -> None:
        """Log and report where it is time, and save."""
        self._since += figures
        run, step = self.facts.config.run, self.state.position.step
        if not self.leads or not figures:
            return
        if step % run.report_every == 0 or self._measures():
            self._log(self._measure() if self._measures() else None)
        if self._save_is_due():
            self.save()

    def stopped(self) -> None:
        """Save and end in a line that says how to go on."""
        if self.leads:
            self.save()
        done, total = self.state.position.step, self.facts.config.total_steps
        raise KeyboardInterrupt(
            f"stopped at step {done:,} of at most {total:,}; the same command with --resume goes on"
        )

    def finish(self) -> None:
        """Measure once more and write everything; the state, which nothing can go on from, is removed."""
        if not self.leads:
            return
        self._log(self._measure() if self.validate else None)
        self.save()
        self.files.state.unlink(missing_ok=True)

    def diverged(self, error: DivergedStepError, source: CropSource) -> TrainingError:
        """Save the whole batch of the step that failed, and say where it is."""
        step = error.step - 1
        place = self.state.position
        stage = self.facts.config.stages[place.stage]
        batch = source.batch(step, range(stage.batch), stage.crop)
        if self.leads:
            with write_atomically(self.files.diverged) as temporary:
                temporary.write_bytes(save({"lr": batch.lr, "hr": batch.hr}, {"step": str(error.step)}))
        kept = (
            f"{self.files.state} holds the run before it" if self.files.state.exists() else "nothing was saved before"
        )
        return TrainingError(
            f"{error}; its batch is in {self.files.diverged}, {kept}: lower the learning rate, or look at those crops"
        )

    def save(self) -> None:
        """Write state, weights, card and plot; on a full disk the files of the last save stay."""
        try:
            self.state.save(self.files.state, self.settings)
            self._write_weights()
            self._write_text(self.files.card, write_card(self._facts_now()))
            self._write_text(self.files.plot, draw_training(self.log.records(), self.facts.name))
        except ExportError as error:
            kept = "; the last save that succeeded stays, and --resume goes on from it"
            raise ExportError(f"{error}{kept if self.files.state.exists() else ''}") from error
        self._saved_at = time.monotonic()

    def _measures(self) -> bool:
        return self.validate is not None and self.state.position.step % self.facts.config.run.validate_every == 0

    def _save_is_due(self) -> bool:
        return self.leads and time.monotonic() - self._saved_at >= self.facts.config.run.save_every_s

    def _measure(self) -> float | None:
        if self.validate is not None:
            self.psnr_db = self.validate(self.state.mean)
        return self.psnr_db

    def _log(self, psnr_db: float | None) -> None:
        """One line on the steps since the last one."""
        if not self._since:
            return
        position, last = self.state.position, self._since[-1]
        loss = sum(figures.loss for figures in self._since) / len(self._since)
        mse = sum(figures.mse for figures in self._since) / len(self._since)
        self._since = []
        self.train_psnr_db = -10 * math.log10(max(mse, 1e-12))
        record = LogRecord(
            step=position.step, stage=min(position.stage, len(self.facts.config.stages) - 1) + 1,
            learning_rate=last.taken.learning_rate, loss=loss, train_psnr_db=self.train_psnr_db,
            batch=last.taken.batch.checksum, elapsed_s=round(position.elapsed_s, 3),
            seconds_left=round(position.seconds_left(self.facts.config), 1), validation_psnr_db=psnr_db,
        )  # fmt: skip
        self.log.append(record)
        self.report(record)

    def _facts_now(self) -> CardFacts:
        position = self.state.position
        return replace(self.facts, steps=position.step, minutes=position.elapsed_s / 60, psnr_db=self.psnr_db)

    def _write_weights(self) -> None:
        """The mean weights and, in one entry of metadata, their story: several entries have no order in safetensors."""
        story = {
            "architecture": self.facts.config.architecture,
            "hyperparameters": dict(self.facts.hyperparameters),
            "settings": dict(self.settings),
            "data": self.facts.data,
            "steps": self.state.position.step,
        }
        weights = {key: value.cpu().contiguous() for key, value in self.state.mean.state_dict().items()}
        with write_atomically(self.files.weights) as temporary:
            temporary.write_bytes(save(weights, {METADATA_KEY: json.dumps(story)}))

    def _write_text(self, path: Path, words: str) -> None:
        with write_atomically(path) as temporary:
            temporary.write_text(words, encoding="utf-8")
