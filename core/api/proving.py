"""The parity check of one file, as export runs it on what it is about to write and verify on what it finds."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgesr.architecture import SRModel
from edgesr.artifact import IOContract
from edgesr.compared_picture import ComparedPicture, as_rgb
from edgesr.export.folds.host_shuffle import ending_before_shuffle
from edgesr.graph import Graph
from edgesr.progress import Progress, silent
from edgesr.quantized import QuantizedGraph
from edgesr.runtime.cases import ParityCase, parity_cases
from edgesr.runtime.metrics import to_uint8
from edgesr.runtime.operator_parity import compare_operators
from edgesr.runtime.parity import EmulatedRun, ParityReport, compare_end_to_end
from edgesr.runtime.runner import Runner
from edgesr.runtime.runners import open_other_signatures, open_runner
from edgesr.target import Target

OPERATOR_PIXELS = 1024
"""Operators are compared value by value: some thousand positions suffice, a single one proves little."""


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

    `reference` runs the model's module in float64. A thorough check takes every case, a quick one the smallest natural
    image and one of noise. Every further signature of a file for several sizes is compared on one natural image.
    """
    cases = all_cases(contract, images)
    traced = operator_case(cases)
    chosen = cases if thorough else [traced, cases[-1]]
    names = runners or target.runners[:1]
    opened = [open_runner(name, target, path, contract) for name in names]
    end_to_end = (file, target.precision, network, model, reference)
    kept = _KeptPicture(file, model.value_range) if target.precision.is_integer else None
    rows = compare_end_to_end(*end_to_end, opened, chosen, progress, contract, kept)
    held, held_contract = held_by_file(network, contract)
    shown = opened if held is network else [open_runner(name, target, path, held_contract) for name in names]
    operators = [
        row
        for runner in shown
        for row in compare_operators(file, target.precision, held, runner, runner.name, traced, held_contract)
    ]
    for name in names:
        for size, runner in open_other_signatures(name, target, path, contract).items():
            case = traced if contract.any_size else operator_case([case for case in cases if _size(case) == size])
            measured = compare_end_to_end(*end_to_end, [runner], [case], contract=contract)
            rows += [row for row in measured if row.runner == runner.name]
            runner = runner if held is network else open_other_signatures(name, target, path, held_contract)[size]
            operators += compare_operators(file, target.precision, held, runner, runner.name, case, held_contract)
    emulated = tuple(EmulatedRun(file, run.name, run.emulated) for run in opened if run.emulated is not None)
    pictures = () if kept is None else kept.pictures
    return ParityReport(tuple(rows), tuple(operators), emulated=emulated, pictures=pictures)


class _KeptPicture:
    """Keeps what the first runner makes of the first photograph, for reports: what the check computed anyway."""

    def __init__(self, file: str, value_range: float) -> None:
        self.pictures: tuple[ComparedPicture, ...] = ()
        self._file, self._value_range = file, value_range

    def __call__(self, runner: str, case: ParityCase, found: np.ndarray, expected: np.ndarray) -> None:
        """Look at a case; images that are no RGB or grey pictures are left out."""
        if self.pictures or not case.natural or found.shape != expected.shape or np.isnan(found).any():
            return
        small, network, picture = (
            as_rgb(to_uint8(image[0], self._value_range)) for image in (case.image, expected, found)
        )
        if small is not None and network is not None and picture is not None:
            self.pictures = (ComparedPicture(self._file, runner, case.name, small, network, picture),)


def held_by_file(network: Graph | QuantizedGraph, contract: IOContract) -> tuple[Graph | QuantizedGraph, IOContract]:
    """What of a network the file itself computes, and its contract: without the shuffle that is left to the host."""
    if contract.host_shuffle == 1:
        return network, contract
    return ending_before_shuffle(network), dataclasses.replace(contract, host_shuffle=1)


def all_cases(contract: IOContract, images: Sequence[np.ndarray]) -> list[ParityCase]:
    """The cases of a thorough check, from natural RGB images (H, W, 3)."""
    return parity_cases(contract, [with_channels(image, contract.channels) for image in images])


def with_channels(image: np.ndarray, channels: int) -> np.ndarray:
    """An RGB image (H, W, 3) for a network of that many channels: its mean for one, else its channels in turn."""
    mean = np.rint(image.mean(axis=2, keepdims=True)).astype(np.uint8)
    turns: np.ndarray = image[:, :, np.arange(channels) % image.shape[2]]
    return mean if channels == 1 else turns


def _size(case: ParityCase) -> tuple[int, int]:
    return case.image.shape[1], case.image.shape[2]


def _pixels(case: ParityCase) -> int:
    height, width = _size(case)
    return height * width


def operator_case(cases: Sequence[ParityCase]) -> ParityCase:
    """The smallest natural image of enough pixels, the largest where none has them, whose tensors are its own size."""
    natural = [case for case in cases if case.natural and not case.is_padded]
    enough = [case for case in natural if _pixels(case) >= OPERATOR_PIXELS]
    return min(enough, key=_pixels) if enough else max(natural, key=_pixels)
