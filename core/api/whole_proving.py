"""The parity check of a file that no graph stands behind: its whole output, on each runner and case."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgesr.api.proving import all_cases
from edgesr.architecture import SRModel
from edgesr.artifact import IOContract
from edgesr.progress import Progress, silent
from edgesr.runtime.ort_runner import UnfusedOrtRunner
from edgesr.runtime.parity import ParityReport
from edgesr.runtime.runner import Runner
from edgesr.runtime.runners import open_runner
from edgesr.runtime.whole_parity import compare_whole
from edgesr.target import Format, Target


def check_whole_file(
    path: Path,
    file: str,
    target: Target,
    contract: IOContract,
    model: SRModel,
    reference: Runner,
    images: Sequence[np.ndarray],
    runners: Sequence[str] | None = None,
    thorough: bool = False,
    progress: Progress = silent,
) -> ParityReport:
    """Compare a file on some runners (None: all of the target's) with `reference`, the model in float64.

    A thorough check takes every case, a quick one the natural images and one of noise. An INT8 file is judged beside
    its other runners, so a quick check, too, runs it in all of them, and ONNX unfused besides.
    """
    cases = all_cases(contract, images)
    chosen = cases if thorough else [*(case for case in cases if case.natural), cases[-1]]
    opened: list[Runner] = [open_runner(name, target, path, contract) for name in runners or target.runners]
    if target.format is Format.ONNX and target.precision.is_integer:
        opened.append(UnfusedOrtRunner(path, contract))
    rows = compare_whole(file, target.precision, model, reference, opened, chosen, progress, contract)
    return ParityReport(tuple(rows), ())
