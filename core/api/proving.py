"""The parity check of one file, as export runs it on what it is about to write and verify on what it finds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgesr.architecture import SRModel
from edgesr.artifact import IOContract
from edgesr.graph import Graph
from edgesr.progress import Progress, silent
from edgesr.quantized import QuantizedGraph
from edgesr.runtime.cases import ParityCase, parity_cases
from edgesr.runtime.operator_parity import compare_operators
from edgesr.runtime.parity import ParityReport, compare_end_to_end
from edgesr.runtime.runner import Runner
from edgesr.runtime.runners import open_runner
from edgesr.target import Target


def check_file(
    path: Path,
    file: str,
    target: Target,
    contract: IOContract,
    model: SRModel,
    reference: Runner,
    network: Graph | QuantizedGraph,
    images: Sequence[np.ndarray],
    runners: Sequence[str] | None = None,
    thorough: bool = False,
    progress: Progress = silent,
) -> ParityReport:
    """Compare a file on some runners (None: the target's first) with the float64 network and operator by operator.

    `reference` runs the model's module in float64.

    A thorough check takes every case, a quick one the smallest natural image and one of noise.
    """
    cases = parity_cases(contract, images)
    traced = _operator_case(cases)
    if not thorough:
        cases = [traced, cases[-1]]
    opened = [open_runner(name, target, path, contract) for name in runners or target.runners[:1]]
    rows = compare_end_to_end(file, target.precision, network, model, reference, opened, cases, progress)
    operators = [
        row
        for runner in opened
        for row in compare_operators(file, target.precision, network, runner, runner.name, traced)
    ]
    return ParityReport(tuple(rows), tuple(operators))


def _pixels(case: ParityCase) -> int:
    return int(case.image.shape[1] * case.image.shape[2])


def _operator_case(cases: Sequence[ParityCase]) -> ParityCase:
    """The smallest natural image: operators are compared value by value, a few thousand pixels suffice."""
    return min((case for case in cases if case.name.startswith("natural")), key=_pixels)
