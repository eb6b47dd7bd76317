"""The ways to run one network on a GPU, side by side: PyTorch eager, torch.compile, and the fused kernels.

Each holds its image on the GPU, is compiled and captured in a CUDA graph, and is timed by replays alone: what Python
and the launches of eager cost on the host is in none of them. torch.compile tunes with `max-autotune`, its own CUDA
graphs off, since it is captured like the others. TF32 is off: FP32 is FP32 everywhere.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgesr.architecture import SRModel
from edgesr.errors import EdgeSRError
from edgesr.graph import Graph
from edgesr.runtime.cuda.backend import EAGER, FUSED, tf32_off
from edgesr.runtime.cuda.fused_precision import FusedPrecision
from edgesr.runtime.cuda.replay import TimedReplay, replay_of
from edgesr.runtime.cuda.spanv2_layers import SpanV2Layers
from edgesr.runtime.cuda.traffic import bytes_moved
from edgesr.runtime.torch_runner import to_nchw, to_nhwc

COMPILED = "torch-compile"
COMPILE_MODE = "max-autotune-no-cudagraphs"


@dataclass(frozen=True, eq=False)
class Contender:
    """One way, prepared: `runner` and `precision` name it, `output` is what the last replay computed, NHWC float32.

    `moved_bytes` is what its kernels move, None where nobody knows; `init_ms` what compiling and capturing took.
    """

    runner: str
    precision: FusedPrecision
    timed: TimedReplay
    output: Callable[[], np.ndarray]
    moved_bytes: int | None
    init_ms: float


@dataclass(frozen=True)
class Way:
    """A way by its names, before it is prepared."""

    runner: str
    precision: FusedPrecision


WAYS = (
    Way(EAGER, FusedPrecision.FP32),
    Way(EAGER, FusedPrecision.FP16),
    Way(COMPILED, FusedPrecision.FP16),
    Way(FUSED, FusedPrecision.FP16),
    Way(FUSED, FusedPrecision.FP32),
)
"""PyTorch eager in FP32 is what all others are a ratio to; FP16 in PyTorch is channels_last."""
RUNNERS = tuple(dict.fromkeys(way.runner for way in WAYS))


def chosen_ways(runners: Sequence[str]) -> tuple[Way, ...]:
    """Those of the named runners, and always the first; raises `EdgeSRError` for a name that is none."""
    for name in runners:
        if name not in RUNNERS:
            raise EdgeSRError(f"no runtime of --device cuda is called '{name}'; choose from {', '.join(RUNNERS)}")
    return tuple(way for way in WAYS if not runners or way is WAYS[0] or way.runner in runners)


def prepare(way: Way, model: SRModel, graph: Graph, image: np.ndarray, device: torch.device) -> Contender:
    """One way with `image` (1, H, W, C), compiled and captured; `graph` is the network's folded graph.

    Raises `UnsupportedOpError` for the fused kernels of a network that is no SPANV2.
    """
    started = time.perf_counter()
    with torch.no_grad(), tf32_off(), _cudnn_tuned():
        build = _fused if way.runner == FUSED else _torch
        replay, output, moved = build(way, model, graph, image, device)
        replay()
        _wait(device)
    return Contender(
        way.runner, way.precision, TimedReplay(replay), lambda: to_nhwc(output().float().cpu()), moved,
        (time.perf_counter() - started) * 1e3,
    )  # fmt: skip


Prepared = tuple[Callable[[], object], Callable[[], Tensor], int | None]


def _torch(way: Way, model: SRModel, graph: Graph, image: np.ndarray, device: torch.device) -> Prepared:
    memory = torch.channels_last if way.precision is FusedPrecision.FP16 else torch.contiguous_format
    module = copy.deepcopy(model.module).to(device, way.precision.stored)
    module = module.to(memory_format=memory)  # type: ignore[call-overload]  # torch's stub lacks its own keyword
    x = to_nchw(image, way.precision.stored).to(device, memory_format=memory)
    run = compiled(module) if way.runner == COMPILED else module
    outputs: list[Tensor] = []

    def call() -> None:
        outputs[:] = [run(x)]

    moved = bytes_moved(module, lambda: module(x)) if way.runner == EAGER else None
    return replay_of(call, device), lambda: outputs[0], moved


def _fused(way: Way, model: SRModel, graph: Graph, image: np.ndarray, device: torch.device) -> Prepared:
    from edgesr.runtime.cuda.network import FusedNetwork

    network = FusedNetwork(SpanV2Layers.from_graph(graph), way.precision, device)
    x = to_nchw(image, torch.float32).to(device)
    outputs = [network(x)]
    count, _, height, width = x.shape
    moved = network.bytes_per_pixel() * count * height * width

    def replay() -> None:
        outputs[:] = [network.replay((count, height, width))]

    return replay, lambda: outputs[0], moved


def compiled(call: Callable[..., Any]) -> Callable[..., Any]:
    """`call` by torch.compile, tuned for the one size it is given: a second one would make it compile for any."""
    return torch.compile(call, mode=COMPILE_MODE, dynamic=False)


@contextmanager
def _cudnn_tuned() -> Iterator[None]:
    """Let cuDNN try its algorithms on a first run and keep the fastest, as whoever wants speed does."""
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
