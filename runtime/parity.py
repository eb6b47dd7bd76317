"""Does a deployed file compute what the PyTorch network computes? End to end, on every runner and case.

Float files are compared with the float64 network by largest error, relative L2 error and PSNR. INT8 files are compared
with it by PSNR, against the PSNR that exact integer arithmetic on the same integers has: rounding is amplified by gates,
so single steps prove nothing end to end; operator by operator they do (see operator_parity).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgesr.graph import Graph
from edgesr.progress import Progress, silent
from edgesr.quantized import QuantizedGraph
from edgesr.runtime.cases import ParityCase
from edgesr.runtime.operator_parity import OperatorRow
from edgesr.runtime.runner import Runner
from edgesr.runtime.tolerance import FLOAT_TOLERANCES, INTEGER_TOLERANCE, FloatTolerance
from edgesr.runtime.torch_runner import IntegerRunner
from edgesr.target import Precision

PSNR_CEILING_DB = 200.0


@dataclass(frozen=True)
class ParityRow:
    """One file on one runner and case, against the float64 network; `why` says what a failed row exceeded."""

    file: str
    runner: str
    case: str
    max_abs: float
    relative_l2: float
    psnr_db: float
    exact_integer_psnr_db: float | None
    why: str | None

    @property
    def passed(self) -> bool:
        """Whether every limit holds."""
        return self.why is None


@dataclass(frozen=True)
class ParityReport:
    """End-to-end and operator-by-operator rows of one or more files."""

    rows: tuple[ParityRow, ...]
    operators: tuple[OperatorRow, ...]

    @property
    def failures(self) -> tuple[ParityRow | OperatorRow, ...]:
        """The rows that exceed a limit."""
        return tuple(row for row in (*self.rows, *self.operators) if not row.passed)

    def joined(self, other: ParityReport) -> ParityReport:
        """Both reports' rows."""
        return ParityReport(self.rows + other.rows, self.operators + other.operators)

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return {
            "passed": not self.failures,
            "end_to_end": [dataclasses.asdict(row) | {"passed": row.passed} for row in self.rows],
            "operators": [dataclasses.asdict(row) | {"passed": row.passed} for row in self.operators],
        }


def compare_end_to_end(
    file: str,
    precision: Precision,
    network: Graph | QuantizedGraph,
    reference: Runner,
    runners: Sequence[Runner],
    cases: Sequence[ParityCase],
    value_range: float = 1.0,
    progress: Progress = silent,
) -> list[ParityRow]:
    """Every runner on every case against `reference`, the float64 PyTorch network."""
    rows: list[ParityRow] = []
    for done, case in enumerate(cases):
        progress(f"parity {file}", done, len(cases))
        expected = reference.run(case.image)
        exact = None
        if isinstance(network, QuantizedGraph):
            exact = psnr_db(IntegerRunner(network).run(case.image), expected, value_range)
        rows += [_row(file, precision, runner, case, expected, exact, value_range) for runner in runners]
    progress(f"parity {file}", len(cases), len(cases))
    return rows


def _row(
    file: str,
    precision: Precision,
    runner: Runner,
    case: ParityCase,
    expected: np.ndarray,
    exact: float | None,
    value_range: float,
) -> ParityRow:
    found = runner.run(case.image)
    if found.shape != expected.shape:
        why = f"shape {found.shape}, expected {expected.shape}"
        return ParityRow(file, runner.name, case.name, float("inf"), float("inf"), 0.0, exact, why)
    difference = np.abs(found - expected)
    l2 = float(np.linalg.norm(difference) / max(np.linalg.norm(expected), 1e-30))
    row = ParityRow(
        file, runner.name, case.name, float(difference.max()), l2, psnr_db(found, expected, value_range), exact, None
    )
    if exact is not None:
        why = _integer_excess(row, exact)
    else:
        why = _float_excess(row, FLOAT_TOLERANCES[precision], value_range)
    return dataclasses.replace(row, why=why)


def _float_excess(row: ParityRow, limit: FloatTolerance, value_range: float) -> str | None:
    if not row.max_abs <= limit.max_relative * value_range:
        return f"max abs {row.max_abs:.2g} > {limit.max_relative * value_range:.2g}"
    if not row.relative_l2 <= limit.relative_l2:
        return f"relative L2 {row.relative_l2:.2g} > {limit.relative_l2:.2g}"
    if not row.psnr_db >= limit.psnr_db:
        return f"PSNR {row.psnr_db:.1f} < {limit.psnr_db:.1f} dB"
    return None


def _integer_excess(row: ParityRow, exact: float) -> str | None:
    loss = exact - row.psnr_db
    if not loss <= INTEGER_TOLERANCE.psnr_loss_db:
        return f"{loss:.2f} dB below exact integer arithmetic, limit {INTEGER_TOLERANCE.psnr_loss_db} dB"
    return None


def psnr_db(found: np.ndarray, expected: np.ndarray, peak: float) -> float:
    """PSNR of two float images clipped to [0, peak], at most 200 dB (where they are equal)."""
    error = float(np.mean((np.clip(found, 0, peak) - np.clip(expected, 0, peak)) ** 2)) / peak**2
    return min(PSNR_CEILING_DB, -10 * float(np.log10(max(error, 1e-30))))
