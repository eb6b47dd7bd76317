"""litert-torch as a witness: its own conversion of the network against the float64 reference, in LiteRT.

It shares neither edgesr's graph nor its emitters with the files, so it shows whether network, reference and runtime
mean the same by it. It converts anew for the one size that is checked, which takes seconds.
"""

from __future__ import annotations

import copy
import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgesr.api.peer_output import without_noise
from edgesr.api.proving import all_cases
from edgesr.architecture import SRModel
from edgesr.artifact import IOContract
from edgesr.errors import ArtifactError, EdgeSRError, first_line
from edgesr.export.peers.litert_torch import LiteRTTorch, convert
from edgesr.export.peers.peer import tool_of
from edgesr.progress import Progress, silent
from edgesr.runtime.cases import ODD_SIZE, fitting
from edgesr.runtime.litert_runner import LiteRTRunner
from edgesr.runtime.parity import ParityReport
from edgesr.runtime.runner import Runner
from edgesr.runtime.whole_parity import compare_whole
from edgesr.target import IODtype, Layout, Precision

CONVERTER = LiteRTTorch.name


def compare_converted(
    model: SRModel, reference: Runner, contract: IOContract, images: Sequence[np.ndarray], progress: Progress = silent
) -> ParityReport:
    """The network by litert-torch, in float32, on every case of one size: the file's own, or an odd one.

    Raises `MissingBackendError` without the extra, and `ArtifactError` where litert-torch cannot convert the network.
    """
    tool_of(LiteRTTorch())
    size = fitting(ODD_SIZE, model.size_multiple) if contract.any_size else contract.sizes[0]
    floats = dataclasses.replace(
        contract, dtype=IODtype.FLOAT32, layout=Layout.NHWC, sizes=(size,), any_size=False, host_shuffle=1
    )
    with tempfile.TemporaryDirectory(prefix="edgesr-") as folder:
        try:
            with without_noise(progress) as shown:
                shown(f"converting with {CONVERTER}", 0, 1)
                narrow = dataclasses.replace(model, module=copy.deepcopy(model.module).float())
                path = convert(narrow, size, Path(folder))
        except EdgeSRError:
            raise
        except Exception as error:  # another tool's failure is what there is to say of it, whatever it raises
            why = f"{type(error).__name__}: {first_line(error)}"
            raise ArtifactError(
                f"{CONVERTER} cannot convert {model.name}: {why}; leave out --runner {CONVERTER}"
            ) from error
        runner = LiteRTRunner(path, floats)
    runner.name = CONVERTER
    given = model, reference, [runner], all_cases(floats, images)
    return ParityReport(tuple(compare_whole(f"{model.name} (fp32)", Precision.FP32, *given, progress)), ())
