"""Is what a device computed right? Asked where its bytes are not those of LiteRT on this machine.

Other processors have other kernels: a device may round otherwise and still be right. Then the limits decide that hold
for every runtime (runtime/parity.py): against the float64 PyTorch network, border included, on the image of the timed
run.
"""

from __future__ import annotations

import numpy as np

from edgesr.api.verifying import proof_file, proof_graph
from edgesr.artifact import Artifact, Manifest
from edgesr.model.reference import load_reference
from edgesr.runtime.cases import ParityCase
from edgesr.runtime.parity import ParityRow, compare_end_to_end
from edgesr.runtime.torch_runner import TorchRunner
from edgesr.runtime.whole_parity import compare_whole


class RecordedRunner:
    """A runner whose one answer is known: what a device gave."""

    def __init__(self, name: str, answer: np.ndarray) -> None:
        self.name = name
        self._answer = answer

    def run(self, image: np.ndarray) -> np.ndarray:
        """The answer."""
        return self._answer


def judge_output(
    manifest: Manifest, artifact: Artifact, device: str, image: np.ndarray, output: np.ndarray
) -> ParityRow:
    """A device's output tensor for a float image (1, H, W, C), judged by the limits of the artifact's precision."""
    model = load_reference(proof_file(manifest, artifact, artifact.reference))
    network = proof_graph(manifest, artifact)
    runner = RecordedRunner(device, artifact.contract.decode(output))
    file, precision, contract = artifact.file, artifact.find_target().precision, artifact.contract
    given = model, TorchRunner(model), (runner,), (ParityCase("natural, the timed run's", image),)
    if network is None:
        return compare_whole(file, precision, *given, contract=contract)[0]
    rows = compare_end_to_end(file, precision, network, *given, contract=contract)
    return next(row for row in rows if row.runner == device)
