"""Does a deployed file compute what the PyTorch network computes? End to end, on every runner and case.

Float files are compared with the float64 network by largest error, relative L2 error and PSNR. On inputs where PyTorch
itself, in float32, errs by more than a third of a limit, the limit is three times that error: no conversion can be
better than the arithmetic. On noise that PyTorch holds its weights as the file stores them; on natural images, whose
errors a user sees, nothing excuses the rounding of weights; and no limit is widened beyond a fixed one (see tolerance:
`WIDEST_ON_NATURAL`, `WIDEST_ON_NOISE`). A float file that gives bytes may be off by what rounding
the float64 network's own image to bytes costs, besides. INT8 files are compared with the network by PSNR,
against the PSNR that exact integer arithmetic on the same integers has, over the image and over its border alone:
rounding is amplified by gates, so single steps prove nothing end to end; operator by operator they do (see
operator_parity). On natural images each row also says what a user would see of the error (see picture_error).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from edgesr.architecture import SRModel
from edgesr.artifact import IOContract
from edgesr.compared_picture import ComparedPicture
from edgesr.graph import Graph
from edgesr.progress import Progress, silent
from edgesr.quantized import QuantizedGraph
from edgesr.runtime.cases import ParityCase
from edgesr.runtime.divergence import DivergenceRow
from edgesr.runtime.error_sources import ErrorSources
from edgesr.runtime.metrics import to_uint8
from edgesr.runtime.operator_parity import OperatorRow, norm
from edgesr.runtime.picture_error import PictureError, compare_pictures
from edgesr.runtime.runner import Runner
from edgesr.runtime.tolerance import (
    FLOAT_TOLERANCES,
    INTEGER_TOLERANCE,
    WIDEST_ON_NATURAL,
    WIDEST_ON_NOISE,
    FloatTolerance,
)
from edgesr.runtime.torch_runner import GraphRunner, IntegerRunner, TorchRunner
from edgesr.target import IODtype, Precision

Spectator = Callable[[str, ParityCase, np.ndarray, np.ndarray], None]
"""Sees a runner's name, a case, the runner's output and the float64 network's, both (1, H, W, C)."""
PSNR_CEILING_DB = 200.0
STORED_WEIGHTS = {
    Precision.FP32: torch.float32,
    Precision.FP16: torch.float16,
    Precision.INT8: torch.float32,
    Precision.A16W8: torch.float32,
}


@dataclass(frozen=True)
class ParityRow:
    """One file on one runner and case, against the float64 network; `why` says what a failed row exceeded.

    `picture` is there for natural images whose output is one.
    """

    file: str
    runner: str
    case: str
    max_abs: float
    relative_l2: float
    psnr_db: float
    exact_integer_psnr_db: float | None
    why: str | None
    picture: PictureError | None = None

    @property
    def passed(self) -> bool:
        """Whether every limit holds."""
        return self.why is None

    def describe(self) -> str:
        """The row as a phrase, for errors."""
        return f"{self.runner} on {self.case}: {self.why or 'passed'}"


@dataclass(frozen=True)
class EmulatedRun:
    """A file on a runner that is no device but emulates one, and what it emulates."""

    file: str
    runner: str
    emulated: str


@dataclass(frozen=True)
class ParityReport:
    """End-to-end and operator-by-operator rows of one or more files, which are judged, and where their errors start.

    `emulated` names every run that an emulator did, so that nobody takes it for a phone's. `pictures` show what INT8
    files make of a photograph; they are no part of the JSON. `hashes` are the files' sha256, where a run knows them.
    """

    rows: tuple[ParityRow, ...]
    operators: tuple[OperatorRow, ...]
    divergences: tuple[DivergenceRow, ...] = ()
    sources: tuple[ErrorSources, ...] = ()
    emulated: tuple[EmulatedRun, ...] = ()
    pictures: tuple[ComparedPicture, ...] = field(default=(), repr=False, compare=False)
    hashes: Mapping[str, str] = field(default_factory=dict)

    @property
    def failures(self) -> tuple[ParityRow | OperatorRow, ...]:
        """The rows that exceed a limit."""
        failed_rows = tuple(row for row in self.rows if not row.passed)
        return failed_rows + tuple(row for row in self.operators if not row.passed)

    def joined(self, other: ParityReport) -> ParityReport:
        """Both reports' rows."""
        return ParityReport(
            self.rows + other.rows, self.operators + other.operators,
            self.divergences + other.divergences, self.sources + other.sources, self.emulated + other.emulated,
            self.pictures + other.pictures, {**self.hashes, **other.hashes},
        )  # fmt: skip

    def summary(self) -> dict[str, object]:
        """The worst of each runner, for a manifest."""
        worst: dict[str, object] = {}
        for runner in dict.fromkeys(row.runner for row in self.rows):
            rows = [row for row in self.rows if row.runner == runner]
            pictures = [row.picture for row in rows if row.picture is not None]
            worst[runner] = {
                "cases": len(rows),
                "max_abs": max(row.max_abs for row in rows),
                "relative_l2": max(row.relative_l2 for row in rows),
                "psnr_db": min(row.psnr_db for row in rows),
                "colour_shift_levels": max((picture.worst_shift_levels for picture in pictures), default=None),
                "wrongly_clipped_share": max((picture.clipped_share for picture in pictures), default=None),
            }
        clipped = max((row.span.unwanted_clipped_share for row in self.operators if row.span), default=0.0)
        summary = {"passed": not self.failures, "worst": worst, "operators": len(self.operators)}
        return summary | {"tensor_clipped_share": clipped}

    def to_json(self) -> dict[str, object]:
        """Plain values; a PSNR may be infinite."""
        return {
            "passed": not self.failures,
            "sha256": dict(self.hashes),
            "emulated": [dataclasses.asdict(run) for run in self.emulated],
            "end_to_end": [dataclasses.asdict(row) | {"passed": row.passed} for row in self.rows],
            "operators": [dataclasses.asdict(row) | {"passed": row.passed} for row in self.operators],
            "first_divergences": [dataclasses.asdict(row) for row in self.divergences],
            "error_sources": [dataclasses.asdict(sources) for sources in self.sources],
        }


def compare_end_to_end(
    file: str,
    precision: Precision,
    network: Graph | QuantizedGraph,
    model: SRModel,
    reference: Runner,
    runners: Sequence[Runner],
    cases: Sequence[ParityCase],
    progress: Progress = silent,
    contract: IOContract | None = None,
    spectator: Spectator | None = None,
) -> list[ParityRow]:
    """The graph and every runner on every case against `reference`, the model's module in float64.

    `contract` says what the file's image is made of; None means floats. `spectator` sees every runner's output.
    """
    yardstick = None if isinstance(network, QuantizedGraph) else FloatYardstick(model, precision, contract)
    multiple = model.size_multiple
    witness: Runner = (
        IntegerRunner(network, multiple) if isinstance(network, QuantizedGraph) else GraphRunner(network, multiple)
    )
    rows: list[ParityRow] = []
    for done, case in enumerate(cases):
        progress(f"parity {file}", done, len(cases))
        expected, exact = reference.run(case.image), witness.run(case.image)
        limits = yardstick.limits(case, expected) if yardstick is not None else None
        for runner in (witness, *runners):
            found = exact if runner is witness else runner.run(case.image)
            row = measured_row(file, runner.name, case, found, expected, model)
            rows.append(_judged(row, found, expected, exact, limits, model))
            if spectator is not None and runner is not witness:
                spectator(runner.name, case, found, expected)
    progress(f"parity {file}", len(cases), len(cases))
    return rows


class FloatYardstick:
    """How far a float file may be from the float64 network, by what PyTorch itself errs in float32.

    `contract` says what the file's image is made of; None means floats.
    """

    def __init__(self, model: SRModel, precision: Precision, contract: IOContract | None = None) -> None:
        self._rounded = TorchRunner(model, torch.float32, STORED_WEIGHTS[precision])
        self._unrounded = TorchRunner(model, torch.float32)
        self._contract = contract
        self._peak = model.value_range
        self._limits = FLOAT_TOLERANCES[precision].scaled(model.value_range)
        self._widest_on_natural = WIDEST_ON_NATURAL[precision].scaled(model.value_range)
        self._widest_on_noise = WIDEST_ON_NOISE[precision].scaled(model.value_range)

    def limits(self, case: ParityCase, expected: np.ndarray) -> FloatTolerance:
        """The limits for a case that the float64 network answers with `expected`."""
        rough = (self._unrounded if case.natural else self._rounded).run(case.image)
        widest = self._widest_on_natural if case.natural else self._widest_on_noise
        limits = self._limits.at_least(*_errors(rough, expected), psnr_db(rough, expected, self._peak), widest)
        if self._contract is None or self._contract.dtype is IODtype.FLOAT32:
            return limits
        stored = self._contract.rounded(expected)
        return limits.beside(*_errors(stored, expected), psnr_db(stored, expected, self._peak))


def measured_row(
    file: str, runner: str, case: ParityCase, found: np.ndarray, expected: np.ndarray, model: SRModel
) -> ParityRow:
    """What was measured, not yet judged but for an output of another shape."""
    picture = _picture_error(found, expected, model) if case.natural else None
    row = ParityRow(file, runner, case.name, float("inf"), float("inf"), 0.0, None, None, picture)
    if found.shape != expected.shape:
        return dataclasses.replace(row, why=f"shape {found.shape}, expected {expected.shape}")
    max_abs, l2 = _errors(found, expected)
    psnr = psnr_db(found, expected, model.value_range)
    return dataclasses.replace(row, max_abs=max_abs, relative_l2=l2, psnr_db=psnr)


def _judged(
    row: ParityRow, found: np.ndarray, expected: np.ndarray, exact: np.ndarray, limits: FloatTolerance | None,
    model: SRModel,
) -> ParityRow:  # fmt: skip
    """The row with its verdict; `limits` None means INT8, which `exact` is the yardstick of."""
    if row.why is not None:
        return row
    if limits is not None:
        return dataclasses.replace(row, why=float_excess(row, limits))
    if exact.shape != expected.shape:
        return dataclasses.replace(row, why=f"exact integer arithmetic has shape {exact.shape}")
    row = dataclasses.replace(row, exact_integer_psnr_db=psnr_db(exact, expected, model.value_range))
    ring = border(found, model.scale), border(expected, model.scale), border(exact, model.scale)
    why = _integer_excess(found, expected, exact, "", model) or _integer_excess(*ring, " at the border", model)
    return dataclasses.replace(row, why=why)


def _picture_error(found: np.ndarray, expected: np.ndarray, model: SRModel) -> PictureError | None:
    if found.shape != expected.shape or np.isnan(found).any():
        return None
    picture, network = (to_uint8(image[0], model.value_range) for image in (found, expected))
    return compare_pictures(picture, network, model.scale)


def border(image: np.ndarray, width: int) -> np.ndarray:
    """The outermost `width` pixels of (N, H, W, C), as one row of values; all of a smaller image."""
    inside = np.zeros(image.shape, bool)
    inside[:, width:-width, width:-width] = True
    return image[~inside]


def _errors(found: np.ndarray, expected: np.ndarray) -> tuple[float, float]:
    """Largest absolute error and relative L2 error; a value that is not finite counts as infinitely wrong."""
    difference = np.abs(found - expected)
    if not np.isfinite(difference).all():
        return float("inf"), float("inf")
    return float(difference.max()), norm(difference) / max(norm(expected), 1e-30)


def float_excess(row: ParityRow, limit: FloatTolerance) -> str | None:
    """The first limit that a row exceeds, None where all hold."""
    if not row.max_abs <= limit.max_abs:
        return f"max abs {row.max_abs:.2g} > {limit.max_abs:.2g}{limit.cap}"
    if not row.relative_l2 <= limit.relative_l2:
        return f"relative L2 {row.relative_l2:.2g} > {limit.relative_l2:.2g}{limit.cap}"
    if not row.psnr_db >= limit.psnr_db:
        return f"PSNR {row.psnr_db:.1f} < {limit.psnr_db:.1f} dB{limit.cap}"
    return None


def _integer_excess(
    found: np.ndarray, expected: np.ndarray, exact: np.ndarray, where: str, model: SRModel
) -> str | None:
    reachable, reached = (psnr_db(image, expected, model.value_range) for image in (exact, found))
    loss, limit = reachable - reached, INTEGER_TOLERANCE.loss_limit_db(expected.size)
    return None if loss <= limit else f"{loss:.2f} dB below exact integer arithmetic{where}, limit {limit:.2f} dB"


def psnr_db(found: np.ndarray, expected: np.ndarray, peak: float) -> float:
    """PSNR of two float images clipped to [0, peak], at most 200 dB (where equal), 0 where a value is no number."""
    difference = np.clip(found, 0.0, peak) - np.clip(expected, 0.0, peak)
    if np.isnan(difference).any():
        return 0.0
    error = float(np.mean(difference**2)) / peak**2
    return min(PSNR_CEILING_DB, -10 * float(np.log10(max(error, 1e-30))))
