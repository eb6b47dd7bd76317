"""Parity of files that no graph stands behind: the whole output alone, on every runner and case.

Float files are judged as all others are (see `parity`), without the graph as a witness beside them.

INT8 files of others' making have no exact integer arithmetic to be held against. They are judged by two limits:

- On natural images, PSNR to the float64 network of `LEAST_PSNR_DB` at least, in the whole and along the border. Errors
  of a network and of its quantization are about independent, so a picture that the network restores to P dB drops by
  10 log10(1 + 10^((P - Q) / 10)) where Q is the PSNR to the network: 3.0 dB at P = Q. A file below the limit errs more
  than a network of 30 dB itself does; whatever it is, it is not that network.
- On every case, no runner's PSNR may lie further below that of the best one of the same run than `INTEGER_TOLERANCE`
  allows against exact arithmetic. For ONNX, the file unfused, its integers computed in floats, is one of them.

Both are weaker than what files of edgesr's own graph must meet: they show a wrong file, not a wrong operator.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from edgesr.architecture import SRModel
from edgesr.artifact import IOContract
from edgesr.progress import Progress, silent
from edgesr.runtime.cases import ParityCase
from edgesr.runtime.parity import FloatYardstick, ParityRow, border, float_excess, measured_row, psnr_db
from edgesr.runtime.runner import Runner
from edgesr.runtime.tolerance import INTEGER_TOLERANCE
from edgesr.target import Precision

LEAST_PSNR_DB = 30.0


def compare_whole(
    file: str,
    precision: Precision,
    model: SRModel,
    reference: Runner,
    runners: Sequence[Runner],
    cases: Sequence[ParityCase],
    progress: Progress = silent,
    contract: IOContract | None = None,
) -> list[ParityRow]:
    """Every runner on every case against `reference`, the model in float64."""
    yardstick = None if precision.is_integer else FloatYardstick(model, precision, contract)
    rows: list[ParityRow] = []
    for done, case in enumerate(cases):
        progress(f"parity {file}", done, len(cases))
        expected = reference.run(case.image)
        found = [runner.run(case.image) for runner in runners]
        measured = [
            measured_row(file, runner.name, case, image, expected, model)
            for runner, image in zip(runners, found, strict=True)
        ]
        if yardstick is not None:
            limits = yardstick.limits(case, expected)
            rows += [dataclasses.replace(r, why=r.why or float_excess(r, limits)) for r in measured]
            continue
        best = max(row.psnr_db for row in measured)
        rows += [
            dataclasses.replace(r, why=r.why or integer_excess(r, image, expected, best, case.natural, model))
            for r, image in zip(measured, found, strict=True)
        ]
    progress(f"parity {file}", len(cases), len(cases))
    return rows


def integer_excess(
    row: ParityRow, found: np.ndarray, expected: np.ndarray, best_db: float, natural: bool, model: SRModel
) -> str | None:
    """Why an INT8 output is not the network's, None where it is."""
    limit = INTEGER_TOLERANCE.loss_limit_db(expected.size)
    if best_db - row.psnr_db > limit:
        return f"{best_db - row.psnr_db:.2f} dB below the best runner of this file, limit {limit:.2f} dB"
    if not natural:
        return None
    if not row.psnr_db >= LEAST_PSNR_DB:
        return f"PSNR to the network {row.psnr_db:.1f} < {LEAST_PSNR_DB:.1f} dB"
    ring, ring_expected = border(found, model.scale), border(expected, model.scale)
    ring_db = psnr_db(ring, ring_expected, model.value_range)
    least = LEAST_PSNR_DB - (INTEGER_TOLERANCE.loss_limit_db(ring.size) - INTEGER_TOLERANCE.psnr_loss_db)
    return None if ring_db >= least else f"PSNR to the network at the border {ring_db:.1f} < {least:.1f} dB"


def change_db(to_network_db: float, picture_db: float = LEAST_PSNR_DB) -> float:
    """What a picture that the network restores to `picture_db` loses at that PSNR to the network."""
    return 10 * math.log10(1 + 10 ** ((picture_db - to_network_db) / 10))
