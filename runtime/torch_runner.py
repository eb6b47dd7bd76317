"""The reference runners: the PyTorch network, the graph, and the quantized graph's exact integer arithmetic.

Each pads images to the network's size multiple and cuts the output back, as `edgesr.padding` says.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from edgesr.architecture import SRModel
from edgesr.graph import Graph
from edgesr.padding import cut_back, pad_image
from edgesr.quantized import QuantizedGraph
from edgesr.runtime.runner import Runner


class TorchRunner:
    """The PyTorch network in float64, or in another dtype; `stored` rounds its weights to a narrower one first."""

    def __init__(self, model: SRModel, dtype: torch.dtype = torch.float64, stored: torch.dtype | None = None) -> None:
        self.name = "torch" if dtype is torch.float64 else f"torch-{str(stored or dtype).removeprefix('torch.')}"
        self._module = copy.deepcopy(model.module).to(stored or dtype).to(dtype)
        self._dtype = dtype
        self._multiple, self._scale = model.size_multiple, model.scale
        self._size = (0, 0)
        self._image: Tensor | None = None
        self._prepared: Tensor | None = None
        self._output: Tensor | None = None

    def run(self, image: np.ndarray) -> np.ndarray:
        """The output of the module's forward."""
        with torch.no_grad():
            output = self._module(to_nchw(pad_image(image, self._multiple), self._dtype))
        return cut_back(to_nhwc(output), image.shape[1:3], self._scale)

    def prepare(self, image: np.ndarray) -> None:
        """Convert the image, so that `invoke` can be timed alone."""
        self._image, self._size = to_nchw(pad_image(image, self._multiple), self._dtype), image.shape[1:3]
        self._prepared = self._image.clone()

    def invoke(self) -> None:
        """Run the module's forward on what `prepare` set; a network that changes its input pays for a new copy."""
        if self._prepared is None or self._image is None:
            raise ValueError("invoke comes after prepare")
        if self._prepared._version > 0:
            self._prepared = self._image.clone()
        with torch.no_grad():
            self._output = self._module(self._prepared)

    def result(self) -> np.ndarray:
        """The image that the last `invoke` computed."""
        if self._output is None:
            raise ValueError("result comes after invoke")
        return cut_back(to_nhwc(self._output), self._size, self._scale)


class RememberingRunner:
    """Another runner, asked once for each image: the same reference serves every file of a folder."""

    def __init__(self, runner: Runner) -> None:
        self.name = runner.name
        self._runner = runner
        self._outputs: dict[tuple[tuple[int, ...], bytes], np.ndarray] = {}

    def run(self, image: np.ndarray) -> np.ndarray:
        """The other runner's output."""
        key = (image.shape, image.tobytes())
        if key not in self._outputs:
            self._outputs[key] = self._runner.run(image)
        return self._outputs[key]


class GraphRunner:
    """The folded graph in float64; traces show the tensors of the padded image."""

    name = "graph"

    def __init__(self, graph: Graph, size_multiple: int = 1) -> None:
        self._graph = graph
        self._multiple = size_multiple

    def run(self, image: np.ndarray) -> np.ndarray:
        """The output of the graph."""
        with torch.no_grad():
            output = self._graph.execute(to_nchw(pad_image(image, self._multiple), torch.float64))
        return cut_back(to_nhwc(output), image.shape[1:3], int(self._graph.scale))

    def trace(self, image: np.ndarray) -> Mapping[str, np.ndarray]:
        """Every tensor of the graph."""
        padded = to_nchw(pad_image(image, self._multiple), torch.float64)
        with torch.no_grad():
            return {name: to_nhwc(t) for name, t in self._graph.trace(padded).items()}


class IntegerRunner:
    """The quantized graph, each operator computed exactly and rounded once; traces are of the padded image."""

    name = "graph-int8"

    def __init__(self, network: QuantizedGraph, size_multiple: int = 1) -> None:
        self._network = network
        self._multiple = size_multiple

    def run(self, image: np.ndarray) -> np.ndarray:
        """The output of the quantized graph."""
        with torch.no_grad():
            output = self._network.execute(to_nchw(pad_image(image, self._multiple), torch.float64))
        return cut_back(to_nhwc(output), image.shape[1:3], int(self._network.graph.scale))

    def trace(self, image: np.ndarray) -> Mapping[str, np.ndarray]:
        """Every tensor's integers."""
        integers: dict[str, np.ndarray] = {}

        def rounded(name: str, y: Tensor) -> Tensor:
            params = self._network.activations[name]
            q = params.quantize(y)
            integers[name] = to_nhwc(q).astype(np.min_scalar_type(params.lowest))
            return params.dequantize(q)

        with torch.no_grad():
            self._network.dequantized.execute(to_nchw(pad_image(image, self._multiple), torch.float64), rounded)
        return integers


def to_nchw(image: np.ndarray, dtype: torch.dtype) -> Tensor:
    """(N, H, W, C) as a torch tensor (N, C, H, W) of its own, which a network may change in place."""
    return torch.from_numpy(np.ascontiguousarray(image.transpose(0, 3, 1, 2))).to(dtype, copy=True)


def to_nhwc(tensor: Tensor) -> np.ndarray:
    """(N, C, H, W) as an array (N, H, W, C)."""
    return np.ascontiguousarray(tensor.permute(0, 2, 3, 1).numpy())
