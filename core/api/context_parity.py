"""Does a context binary compute what the file that it was compiled from computes? Byte for byte, on one emulator.

A context binary is what ships; parity with PyTorch is measured on its source, whose tensors can be seen. This closes
the gap between the two: both run on the emulated HTP of the SoC that was compiled for, at the file's own size, and not
a single byte may differ. The figures of these rows are against the direct session, not against PyTorch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgesr.api.proving import all_cases
from edgesr.artifact import Artifact
from edgesr.progress import Progress, silent
from edgesr.qnn_session import emulated_label
from edgesr.runtime.cases import ParityCase
from edgesr.runtime.operator_parity import norm
from edgesr.runtime.parity import EmulatedRun, ParityReport, ParityRow, psnr_db
from edgesr.runtime.qnn_runner import QnnRunner, soc_of

CONTEXT = f"{QnnRunner.name} context"
AGAINST = "against its source"


def compare_context(
    artifact: Artifact, wrapper: Path, source: Path, images: Sequence[np.ndarray], progress: Progress = silent
) -> ParityReport:
    """The context binary behind a wrapper beside the direct session on its source: one natural image, one of noise.

    Raises `MissingBackendError`, and `DeviceError` where one of the two does not open.
    """
    soc, contract = soc_of(source), artifact.contract
    direct, context = (QnnRunner(path, contract, soc) for path in (source, wrapper))
    cases = all_cases(contract, images)
    rows: list[ParityRow] = []
    for done, case in enumerate((cases[0], cases[-1])):
        progress(f"context binary of {artifact.file}", done, 2)
        found, expected = context.run(case.image), direct.run(case.image)
        rows.append(_compare(artifact, case, found.astype(np.float64), expected.astype(np.float64)))
    progress(f"context binary of {artifact.file}", 2, 2)
    return ParityReport(tuple(rows), (), emulated=(EmulatedRun(artifact.file, CONTEXT, emulated_label(soc)),))


def _compare(artifact: Artifact, case: ParityCase, found: np.ndarray, expected: np.ndarray) -> ParityRow:
    name = f"{case.name} {AGAINST}"
    if found.shape != expected.shape:
        shapes = f"gives shape {found.shape}, its source {expected.shape}"
        return ParityRow(artifact.file, CONTEXT, name, float("inf"), float("inf"), 0.0, None, shapes)
    difference = np.abs(found - expected)
    differing = int(np.count_nonzero(difference))  # values decode from bytes one to one
    why = f"{differing} of {found.size} bytes differ from the direct session" if differing else None
    relative = norm(difference) / max(norm(expected), 1e-30)
    psnr = psnr_db(found, expected, artifact.contract.value_range)
    return ParityRow(artifact.file, CONTEXT, name, float(difference.max()), relative, psnr, None, why)
