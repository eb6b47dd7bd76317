"""Runners of a network, not of a file: PyTorch eager on a GPU, and the fused kernels from the folded graph.

Their names say what computed: the GPU and its generation, or Triton's interpreter. PyTorch's own TF32 is off in both; a
fused network in TF32 rounds in its own kernels.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
import torch

from edgesr.architecture import SRModel
from edgesr.errors import DeviceError
from edgesr.graph import Graph
from edgesr.padding import cut_back, pad_image
from edgesr.runtime.cuda.backend import EAGER, FUSED, Backend, eager_backend, fused_backend, tf32_off
from edgesr.runtime.cuda.fused_precision import FusedPrecision
from edgesr.runtime.cuda.spanv2_layers import SpanV2Layers
from edgesr.runtime.runner import Runner
from edgesr.runtime.torch_runner import to_nchw, to_nhwc


class NetworkRunner(Runner, Protocol):
    """A runner that also says where it runs."""

    @property
    def backend(self) -> Backend:
        """What computes."""


class EagerRunner:
    """The PyTorch network, layer by layer, on a GPU."""

    def __init__(self, model: SRModel, graph: Graph, precision: FusedPrecision) -> None:
        self.backend = eager_backend()
        if precision is FusedPrecision.TF32:
            raise DeviceError(f"{EAGER} runs fp32 and fp16; TF32 is off in every parity run")
        self.name = f"{EAGER} ({self.backend.name})"
        self._dtype = precision.stored
        self._multiple, self._scale = model.size_multiple, model.scale
        self._module = copy.deepcopy(model.module).to(self.backend.device, self._dtype)

    def run(self, image: np.ndarray) -> np.ndarray:
        """The output of the module's forward."""
        with torch.no_grad(), tf32_off():
            output = self._module(to_nchw(pad_image(image, self._multiple), self._dtype).to(self.backend.device))
        return cut_back(to_nhwc(output.float().cpu()), image.shape[1:3], self._scale)


class FusedRunner:
    """The folded graph by the Triton kernels; raises `UnsupportedOpError` where it is no SPANV2."""

    def __init__(self, model: SRModel, graph: Graph, precision: FusedPrecision) -> None:
        self.backend = fused_backend()
        from edgesr.runtime.cuda.network import FusedNetwork

        self.name = f"{FUSED} ({self.backend.name})"
        self._network = FusedNetwork(SpanV2Layers.from_graph(graph), precision, self.backend.device)

    def run(self, image: np.ndarray) -> np.ndarray:
        """The output of the kernels."""
        output = self._network(to_nchw(image, torch.float32).to(self.backend.device))
        return to_nhwc(output.float().cpu())


NETWORK_RUNNERS: Mapping[str, Callable[[SRModel, Graph, FusedPrecision], NetworkRunner]] = {
    EAGER: EagerRunner,
    FUSED: FusedRunner,
}
"""Run when they are named: they prove the network that files came from, and need a GPU or Triton."""
