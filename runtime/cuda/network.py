"""SPANV2 in 3k + 1 launches for k blocks (16 for the released network), on NHWC tensors, captured in a CUDA graph.

    first                image -> features, near          1
    convolution + ReLU   block 1                           2
    convolution + ReLU, convolution + ReLU, convolution + gate   3 for each gated block
    head                 features, near -> image           1

Buffers belong to one input size; on a GPU the launches of a size are captured once and replayed afterwards. A replay
reads the buffer that the image was copied to and overwrites the one that the output is in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from edgesr.errors import DeviceError
from edgesr.runtime.cuda.convolution_kernels import CONVOLUTION, FIRST, GATE, RELU
from edgesr.runtime.cuda.fused_precision import FusedPrecision
from edgesr.runtime.cuda.head_kernel import HEAD
from edgesr.runtime.cuda.launches import NetworkLaunches
from edgesr.runtime.cuda.packed_weights import PackedWeights
from edgesr.runtime.cuda.replay import capture_graph
from edgesr.runtime.cuda.spanv2_layers import SpanV2Layers

LARGEST_TENSOR = 2**31 - 1
"""Values of one image's widest tensor that the kernels' 32-bit offsets reach."""
FEATURE_BUFFERS = 4
"""A block's input and output, and two in between."""


@dataclass(frozen=True, eq=False)
class Buffers:
    """Every tensor of one input size: the image, features to take turns, the near branch, the output."""

    image: Tensor
    features: tuple[Tensor, ...]
    near: Tensor
    output: Tensor


class FusedNetwork:
    """SPANV2 by the Triton kernels, on a CUDA device, or on the CPU in Triton's interpreter."""

    def __init__(self, layers: SpanV2Layers, precision: FusedPrecision, device: torch.device) -> None:
        self.precision, self.device = precision, device
        self._layers = layers
        self._weights = PackedWeights.from_layers(layers, precision.stored).moved(_as_stored(device))
        w = self._weights
        self._launches = NetworkLaunches(
            precision, layers.inputs, w.patch, w.channels, layers.near_channels, w.near_padded, layers.scale
        )
        self._sizes: dict[tuple[int, int, int], tuple[Buffers, torch.cuda.CUDAGraph | None]] = {}

    @property
    def launch_count(self) -> int:
        """Kernels for one image."""
        return 4 + 3 * len(self._layers.gated)

    def bytes_per_pixel(self) -> int:
        """Bytes that the kernels read and write for one input position, each tensor counted once for each kernel.

        A floor: what neighbouring tiles read twice and what caches save are left out, and so are weights.
        """
        inputs, channels, near = self._layers.inputs, self._weights.channels, self._layers.near_channels
        gated = len(self._layers.gated)
        first = inputs + channels + near
        convolutions = (2 + 3 * gated) * 2 * channels + gated * channels
        head = channels + near + near
        return (first + convolutions + head) * self.precision.stored.itemsize

    def prepare(self, image: Tensor) -> None:
        """Copy an image (N, C, H, W) in [0, value_range] to the input buffer of its size."""
        buffers, _ = self._for_size(image)
        buffers.image.copy_(image)

    def replay(self, size: tuple[int, int, int]) -> Tensor:
        """The output (N, C, sH, sW) for the prepared image of size (N, H, W); the next replay overwrites it."""
        buffers, graph = self._sizes[size]
        if graph is None:
            self._run(buffers)
        else:
            graph.replay()
        return buffers.output

    def __call__(self, image: Tensor) -> Tensor:
        """The output for an image; the next call overwrites it."""
        self.prepare(image)
        count, _, height, width = image.shape
        return self.replay((count, height, width))

    def _for_size(self, image: Tensor) -> tuple[Buffers, torch.cuda.CUDAGraph | None]:
        if image.dim() != 4 or image.shape[1] != self._layers.inputs:
            raise DeviceError(f"cuda-fused takes (N, {self._layers.inputs}, H, W), got {tuple(image.shape)}")
        count, _, height, width = image.shape
        size = count, height, width
        if size not in self._sizes:
            widest = max(self._weights.channels, self._layers.near_channels)
            if widest * height * width > LARGEST_TENSOR:
                raise DeviceError(f"cuda-fused: {height}x{width} has too many values for 32-bit offsets; cut it")
            buffers = self._allocate(size)
            self._sizes[size] = buffers, self._capture(buffers) if self.device.type == "cuda" else None
        return self._sizes[size]

    def _allocate(self, size: tuple[int, int, int]) -> Buffers:
        count, height, width = size
        layers, scale = self._layers, self._layers.scale

        def empty(*shape: int) -> Tensor:
            return torch.empty(shape, dtype=self.precision.stored, device=self.device)

        return Buffers(
            empty(count, layers.inputs, height, width),
            tuple(empty(count, height, width, self._weights.channels) for _ in range(FEATURE_BUFFERS)),
            empty(count, height, width, layers.near_channels),
            empty(count, layers.inputs, scale * height, scale * width),
        )

    def _capture(self, buffers: Buffers) -> torch.cuda.CUDAGraph:
        buffers.image.zero_()
        return capture_graph(lambda: self._run(buffers), self.device)

    def _run(self, buffers: Buffers) -> None:
        weights, image = self._weights, buffers.image
        count, _, height, width = image.shape
        size = count, height, width
        now, after, *spare = buffers.features
        tile, launch = self._launches.first
        FIRST(tile.grid(size), (image, weights.first, weights.near, spare[0], buffers.near, height, width), launch)
        self._convolve(spare[0], weights.plain[0], spare[1], size)
        self._convolve(spare[1], weights.plain[1], now, size)
        for block in weights.gated:
            c1, c2, c3 = block.convolutions
            self._convolve(now, c1, spare[0], size)
            self._convolve(spare[0], c2, spare[1], size)
            tile, launch = self._launches.convolution(GATE)
            gate = block.gate_weight, block.gate_bias
            CONVOLUTION(tile.grid(size), (spare[1], c3, now, *gate, after, height, width), launch)
            now, after = after, now
        tile, launch = self._launches.head
        head = (weights.depth_features, weights.depth_near, weights.point_features, weights.point_near)
        HEAD(tile.grid(size), (now, buffers.near, *head, buffers.output, height, width), launch)

    def _convolve(self, source: Tensor, weight: Tensor, target: Tensor, size: tuple[int, int, int]) -> None:
        tile, launch = self._launches.convolution(RELU)
        _, height, width = size
        unused = source, weight, weight  # the gate's operands, which a kernel without a gate never reads
        CONVOLUTION(tile.grid(size), (source, weight, *unused, target, height, width), launch)


def _as_stored(device: torch.device) -> Callable[[Tensor], Tensor]:
    def move(tensor: Tensor) -> Tensor:
        dtype = torch.float16 if tensor.dtype is torch.float16 else torch.float32
        return tensor.to(device, dtype).contiguous()

    return move
