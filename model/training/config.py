"""What a training run does, as frozen dataclasses: the network, its data, its teacher, its stages and how it is run.

`config_file` reads them from TOML. Sides of crops are LR pixels; HR crops are `scale` times as large. `RunConfig` holds
what may change between a run and its resumption: where and how fast it runs, not what it computes.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path

from edgesr.errors import TrainingError

MAX_SCALE = 4


class Precision(enum.Enum):
    """What a GPU multiplies in; weights, sums and losses are float32 throughout."""

    FLOAT32 = "float32"
    BF16 = "bf16"
    FP16 = "fp16"


class Device(enum.Enum):
    """Where a run computes; AUTO is a GPU where there is one."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


@dataclass(frozen=True)
class LossWeights:
    """The weight of each term of the loss (see losses); 0 leaves it out."""

    l1: float = 0.0
    charbonnier: float = 0.0
    mse: float = 0.0
    fft: float = 0.0
    gradient: float = 0.0

    def __post_init__(self) -> None:
        """Refuse losses of nothing, and terms that would be made worse."""
        values = [getattr(self, term.name) for term in fields(self)]
        _require(all(math.isfinite(value) and value >= 0 for value in values), "losses: weights are 0 or more")
        _require(any(values), "losses: all weights are 0; give one, like l1 = 1.0")


@dataclass(frozen=True)
class Stage:
    """One cosine from `learning_rate` to `final_learning_rate`, after `warmup_steps` of linear rise.

    `minutes` bounds the stage in wall-clock time (0: not at all): the schedule then follows whichever of steps and time
    is further on, so that the learning rate reaches its end. A run bound by time does not repeat bit for bit.
    """

    steps: int
    batch: int
    crop: int
    learning_rate: float
    losses: LossWeights
    final_learning_rate: float = 1e-6
    warmup_steps: int = 100
    minutes: float = 0.0

    def __post_init__(self) -> None:
        """Refuse stages that could not take a step."""
        _require(min(self.steps, self.batch, self.crop) >= 1, "stages: steps, batch and crop are at least 1")
        _require(0 <= self.final_learning_rate <= self.learning_rate < 10, "stages: 0 <= final <= learning_rate < 10")
        _require(self.learning_rate > 0, "stages: learning_rate is above 0")
        _require(self.warmup_steps >= 0 and self.minutes >= 0, "stages: warmup_steps and minutes are 0 or more")


@dataclass(frozen=True)
class NoiseConfig:
    """Gaussian noise of a scale-1 run, in levels of 255: each crop's standard deviation is drawn from low to high."""

    low: float = 5.0
    high: float = 50.0

    def __post_init__(self) -> None:
        """Refuse ranges that are none."""
        _require(0 < self.high <= 255 and 0 <= self.low <= self.high, "noise: 0 <= low <= high <= 255, high above 0")


@dataclass(frozen=True)
class TeacherConfig:
    """A checkpoint to learn from, and how the loss is shared between the photograph and the teacher's picture."""

    weights: Path
    hr_weight: float = 0.1
    teacher_weight: float = 0.9

    def __post_init__(self) -> None:
        """Refuse a teacher that is not listened to."""
        _require(self.hr_weight >= 0 and self.teacher_weight > 0, "teacher: hr_weight >= 0 and teacher_weight > 0")


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW, the largest norm of a gradient, and the exponential mean of the weights, which is the result."""

    weight_decay: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.99
    max_gradient_norm: float = 1.0
    mean_decay: float = 0.999

    def __post_init__(self) -> None:
        """Refuse decays that never forget."""
        decays = (self.beta1, self.beta2, self.mean_decay)
        _require(
            all(0 <= decay < 1 for decay in decays), "optimizer: beta1, beta2 and mean_decay lie in 0..1, 1 excluded"
        )
        _require(
            self.weight_decay >= 0 and self.max_gradient_norm > 0, "optimizer: weight_decay >= 0, gradient norm > 0"
        )


@dataclass(frozen=True)
class RunConfig:
    """How a run is run; `save_every_s` bounds what a kill can lose, 0 threads are torch's own choice."""

    device: Device = Device.AUTO
    channels_last: bool = True
    compile: bool = False
    threads: int = 0
    loaders: int = 4
    save_every_s: float = 45.0
    report_every: int = 100
    validate_every: int = 1000

    def __post_init__(self) -> None:
        """Refuse counts of nothing."""
        _require(
            min(self.loaders, self.report_every, self.validate_every) >= 1, "run: loaders and intervals are at least 1"
        )
        _require(self.threads >= 0 and self.save_every_s >= 0, "run: threads and save_every_s are 0 or more")


@dataclass(frozen=True)
class TrainingConfig:
    """A whole run. `network` holds hyperparameters that differ from the architecture's defaults.

    `images` is the folder of photographs, `validation` one of others that the run is measured on, and nothing more.
    """

    architecture: str
    scale: int
    stages: tuple[Stage, ...]
    images: Path | None = None
    validation: Path | None = None
    seed: int = 0
    precision: Precision = Precision.FLOAT32
    network: Mapping[str, int] = field(default_factory=dict)
    noise: NoiseConfig | None = None
    teacher: TeacherConfig | None = None
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        """Refuse runs of no stage, and noise where the task is another one."""
        _require(bool(self.stages), "stages: there is none; add a [[stages]] table")
        _require(1 <= self.scale <= MAX_SCALE, f"scale: {self.scale} is none of 1 to {MAX_SCALE}")
        _require(self.seed >= 0, "seed: 0 or more")
        _require(
            self.noise is None or self.scale == 1, f"noise: only scale 1 learns to remove noise, not x{self.scale}"
        )
        _require(
            self.noise is not None or self.scale > 1, "noise: scale 1 has nothing to learn without a [noise] table"
        )

    @property
    def total_steps(self) -> int:
        """The optimizer steps of all stages."""
        return sum(stage.steps for stage in self.stages)

    @property
    def largest_crop(self) -> int:
        """The largest side of an LR crop."""
        return max(stage.crop for stage in self.stages)


def _require(met: bool, message: str) -> None:
    if not met:
        raise TrainingError(message)
