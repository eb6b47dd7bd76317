"""AIMET: cross-layer equalization, AdaRound, W8A8 with tf_enhanced ranges, written as a QDQ ONNX file.

The strongest public result on SPANV2 (without CLE and AdaRound it loses about as much as ONNX Runtime). AdaRound learns
which way to round each weight from the calibration images, layer by layer: 500 iterations for each of the layers, a few
minutes. The ranges of activations come last, on the rounded weights, as its documentation orders the steps.

AIMET measures in a simulation of its own; here its file runs in ONNX Runtime, with `session.x64quantprecision=1`, as a
deployed file would.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from edgesr.architecture import SRModel
from edgesr.artifact import INPUT_NAME
from edgesr.export.peers.peer import PeerFile, float_batch, float_contract
from edgesr.export.peers.torch_onnx import export_float_onnx
from edgesr.progress import Progress
from edgesr.target import Layout

ITERATIONS = 500
STEPS = 3
SEED = 0


class Aimet:
    """`aimet_onnx` on the graph that torch.onnx writes."""

    name = "aimet"
    distributions: tuple[str, ...] = ("aimet-onnx",)
    extra: str | None = "aimet"
    runner = "onnxruntime"
    settings = f"CLE, AdaRound with {ITERATIONS} iterations, W8A8, tf_enhanced ranges, x64quantprecision=1"

    def quantize(
        self,
        model: SRModel,
        images: Sequence[NDArray[np.uint8]],
        sizes: Sequence[tuple[int, int]],
        folder: Path,
        progress: Progress,
    ) -> tuple[PeerFile, ...]:
        """One file for every size."""
        from aimet_onnx import QuantizationSimModel, apply_adaround
        from aimet_onnx.common.defs import QuantScheme
        from aimet_onnx.cross_layer_equalization import equalize_model

        batches = [{INPUT_NAME: float_batch(image, model, Layout.NCHW)} for image in images]
        path = folder / "int8.onnx"
        network = export_float_onnx(model, folder)
        with seeded():
            progress("AIMET: equalizing", 0, STEPS)
            equalize_model(network)
            simulation = QuantizationSimModel(
                network,
                param_type="int8",
                activation_type="int8",
                quant_scheme=QuantScheme.post_training_tf_enhanced,
            )
            progress("AIMET: AdaRound, minutes", 1, STEPS)
            apply_adaround(simulation, batches, num_iterations=ITERATIONS)
            progress("AIMET: activation ranges", 2, STEPS)
            simulation.compute_encodings(batches)
            onnx.save(simulation.to_onnx_qdq(), path)
            progress("AIMET: activation ranges", STEPS, STEPS)
        return (PeerFile(path, float_contract(model, Layout.NCHW, None)),)


@contextmanager
def seeded() -> Iterator[None]:
    """Let AdaRound draw the same images each time, and others go on with the random numbers that they had."""
    state = np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(SEED)
            np.random.seed(SEED)
            yield
    finally:
        np.random.set_state(state)
