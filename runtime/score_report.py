"""What `edgesr score` finds: quality, cost and the challenge's score of several networks, measured in one run.

Quality is there where images were given, runtime where runs were made, and the score where beside runtime a baseline is
known: None stands for what was not measured. Runtimes, and so scores, hold for the machine that is recorded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from edgesr.runtime.bench import Benchmark
from edgesr.runtime.challenge_score import ChallengeScore, Cost, challenge_score
from edgesr.runtime.complexity import Complexity
from edgesr.runtime.quality import QualityReport


@dataclass(frozen=True)
class ScoredModel:
    """One network: `label` tells it from the others, `network` is what it was recognised as."""

    label: str
    network: str
    sha256: str
    scale: int
    complexity: Complexity
    quality: QualityReport | None = None
    timing: Benchmark | None = None

    @property
    def cost(self) -> Cost | None:
        """What the score is made of; None where no run was timed."""
        if self.timing is None:
            return None
        return Cost(self.timing.median_ms, self.complexity.macs, self.complexity.parameters)


@dataclass(frozen=True)
class ScoreReport:
    """All networks in the order given; `baseline` is the label of one of them, None where none is known.

    `size` is the input (H, W) of the timed runs, in `threads` threads.
    """

    models: tuple[ScoredModel, ...]
    baseline: str | None
    size: tuple[int, int]
    threads: int
    started: str
    environment: Mapping[str, object]
    notes: tuple[str, ...] = ()
    load_warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse networks that cannot be told apart, and a baseline that is none of them or costs nothing."""
        labels = [model.label for model in self.models]
        if not labels or len(set(labels)) < len(labels):
            raise ValueError(f"no networks, or two of one label: {labels}")
        if self.baseline is not None and self.baseline not in labels:
            raise ValueError(f"the baseline {self.baseline} is none of {labels}")

    @property
    def has_quality(self) -> bool:
        """Whether images were given."""
        return self.models[0].quality is not None

    @property
    def has_timing(self) -> bool:
        """Whether runs were timed."""
        return self.models[0].timing is not None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader should doubt about the runtimes."""
        own = [warning for model in self.models if model.timing is not None for warning in model.timing.warnings()]
        return (*own, *self.load_warnings)

    def score(self, model: ScoredModel) -> ChallengeScore | None:
        """A network's score; None without a baseline or runs."""
        yardstick = self._yardstick
        if yardstick is None or model.cost is None:
            return None
        return challenge_score(model.cost, yardstick)

    def runtime_ratio(self, model: ScoredModel) -> float | None:
        """Median over the baseline's median, in the same interleaved runs; None without a baseline or runs."""
        yardstick = self._yardstick
        if yardstick is None or model.cost is None:
            return None
        return model.cost.runtime / yardstick.runtime

    @property
    def _yardstick(self) -> Cost | None:
        return next((model.cost for model in self.models if model.label == self.baseline), None)

    def to_json(self) -> dict[str, object]:
        """Plain values; an infinite score is the string "inf"."""
        return {
            "baseline": self.baseline,
            "size": list(self.size),
            "threads": self.threads,
            "started": self.started,
            "environment": dict(self.environment),
            "notes": list(self.notes),
            "warnings": list(self.warnings),
            "models": [self._model_json(model) for model in self.models],
        }

    def _model_json(self, model: ScoredModel) -> dict[str, object]:
        score = self.score(model)
        scores = {} if score is None else score.to_json()
        finite = {name: "inf" if value == math.inf else value for name, value in scores.items()}
        return {
            "label": model.label,
            "network": model.network,
            "sha256": model.sha256,
            "scale": model.scale,
            "complexity": model.complexity.to_json(),
            "quality": None if model.quality is None else model.quality.to_json(),
            "timing": None if model.timing is None else model.timing.to_json(),
            "runtime_ratio": self.runtime_ratio(model),
            "score": finite or None,
        }
