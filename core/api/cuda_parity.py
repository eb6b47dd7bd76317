"""Does the network compute on CUDA what PyTorch computes in float64? Rows beside those of the exported files.

What runs is the network that the files came from, captured and folded again from its reference weights, in FP32 and
FP16, on a GPU also in TF32. Without a GPU the fused kernels run in Triton's interpreter, some tenths of a second for
each tile, so the images are small: a piece of a photograph, noise, a single pixel. The report lists these runs as
emulated.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from edgesr.api.proving import all_cases, with_channels
from edgesr.architecture import SRModel
from edgesr.artifact import IOContract
from edgesr.errors import UnsupportedOpError
from edgesr.export.capture import capture
from edgesr.export.pipeline import NATIVE_FOLDS, run_folds
from edgesr.model.aten_program import PROGRAM
from edgesr.progress import Progress, silent
from edgesr.runtime.cases import NATURAL, ParityCase, as_batch, cut, fitting, label
from edgesr.runtime.cuda.backend import EAGER, fused_backend
from edgesr.runtime.cuda.fused_precision import FusedPrecision
from edgesr.runtime.cuda_runner import NETWORK_RUNNERS
from edgesr.runtime.parity import EmulatedRun, ParityReport, compare_end_to_end
from edgesr.runtime.runner import Runner
from edgesr.target import IODtype, Layout, Precision

SMALL_NATURAL, SMALL_NOISE = (13, 21), ((9, 17), (1, 1))
SEED = 0
LIMITS = {
    FusedPrecision.FP32: Precision.FP32,
    FusedPrecision.FP16: Precision.FP16,
    FusedPrecision.TF32: Precision.FP16,
}
"""Whose tolerances hold: TF32 keeps as many bits of a factor as FP16."""


def compare_on_cuda(
    model: SRModel, reference: Runner, contract: IOContract, names: Sequence[str], images: Sequence[np.ndarray],
    progress: Progress = silent,
) -> ParityReport:  # fmt: skip
    """The network on each named runner of `NETWORK_RUNNERS` against `reference`, its module in float64.

    Raises `DeviceError` where there is no GPU, `MissingBackendError` without Triton, and `UnsupportedOpError` for a
    network that is no SPANV2.
    """
    if not names:
        return ParityReport((), ())
    if model.architecture == PROGRAM:
        raise UnsupportedOpError(
            f"{model.name} went the general route, and '{names[0]}' runs networks of edgesr's own graph alone; "
            "choose onnxruntime, litert-xnnpack or litert-torch"
        )
    graph, _ = run_folds(capture(model, contract.channels), NATIVE_FOLDS)
    floats = dataclasses.replace(
        contract, dtype=IODtype.FLOAT32, layout=Layout.NCHW, sizes=(), any_size=True, host_shuffle=1
    )
    report = ParityReport((), ())
    for name in names:
        for precision in _precisions(name):
            runner = NETWORK_RUNNERS[name](model, graph, precision)
            network = f"{model.name} ({precision.value})"
            cases = small_cases(floats, images) if runner.backend.interpreted else all_cases(floats, images)
            rows = compare_end_to_end(network, LIMITS[precision], graph, model, reference, [runner], cases, progress)
            own = tuple(row for row in rows if row.runner == runner.name)
            emulated = (EmulatedRun(network, name, runner.backend.name),) if runner.backend.interpreted else ()
            report = report.joined(ParityReport(own, (), emulated=emulated))
    return report


def _precisions(name: str) -> tuple[FusedPrecision, ...]:
    """TF32 where it is computed: it is off in PyTorch eager, and the interpreter does not round to it."""
    both = FusedPrecision.FP32, FusedPrecision.FP16
    return both if name == EAGER or fused_backend().interpreted else (*both, FusedPrecision.TF32)


def small_cases(contract: IOContract, images: Sequence[np.ndarray]) -> list[ParityCase]:
    """A piece of a photograph, noise, and a pixel, small enough for an interpreter."""
    size = fitting(SMALL_NATURAL, contract.size_multiple)
    piece = cut(with_channels(images[0], contract.channels), size)
    generator = np.random.default_rng(SEED)
    cases = [ParityCase(label(NATURAL, size), as_batch(piece, contract))]
    for wanted in SMALL_NOISE:
        size = fitting(wanted, contract.size_multiple)
        noise = generator.integers(64, 191, (*size, contract.channels), dtype=np.uint8, endpoint=True)
        cases.append(ParityCase(label("noise", size), as_batch(noise, contract)))
    return cases
