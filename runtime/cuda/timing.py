"""The gate's time on a GPU, by events around CUDA-graph replays: `make bench-cuda`. Refuses where there is no GPU.

Medians of replays after warm-ups, in milliseconds, of the gate at three input sizes: native operators and the Triton
kernel, both in channels_last FP16, with the bytes that must move. Written without a GPU at hand: never run on one.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable

import torch
from torch import Tensor

from edgesr.errors import EdgeSRError
from edgesr.runtime.cuda.backend import eager_backend, fused_backend
from edgesr.span_gate import span_gate

SIZES = ((339, 510), (540, 960), (1080, 1920))
CHANNELS, WARMUPS, RUNS = 32, 20, 100


def replay_ms(call: Callable[[], object]) -> float:
    """The median time of one replay of `call`, captured in a CUDA graph."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch left it untyped
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    samples: list[float] = []
    for turn in range(WARMUPS + RUNS):
        start, end = _event(), _event()
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        if turn >= WARMUPS:
            samples.append(start.elapsed_time(end))
    return statistics.median(samples)


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]  # torch left it untyped


def main() -> int:
    """Print one line for each size; 1 and one line on stderr where there is no GPU."""
    try:
        name = eager_backend().name
        device = fused_backend().device
    except EdgeSRError as error:
        print(f"bench-cuda: {error}", file=sys.stderr)
        return 1
    from edgesr.runtime.cuda.gate_kernel import fused_gate

    print(f"gate, FP16 channels_last, {CHANNELS} channels, medians of {RUNS} CUDA-graph replays on {name}")
    for height, width in SIZES:
        x, f = (_features(height, width, device) for _ in range(2))
        w = torch.randn(CHANNELS, CHANNELS, 1, 1, device=device).half()
        b = torch.randn(CHANNELS, device=device).half()
        eager = replay_ms(lambda x=x, f=f, w=w, b=b: span_gate(x, f, w, b))  # type: ignore[misc]  # bound now
        ours = replay_ms(lambda x=x, f=f, w=w, b=b: fused_gate(x, f, w, b))  # type: ignore[misc]  # bound now
        moved = 3 * x.numel() * x.element_size()
        print(f"{height}x{width}: eager {eager:.4f} ms, fused {ours:.4f} ms, {eager / ours:.2f}x, {moved} bytes")
    return 0


def _features(height: int, width: int, device: torch.device) -> Tensor:
    x = torch.randn(1, CHANNELS, height, width, device=device)
    return x.half().contiguous(memory_format=torch.channels_last)


if __name__ == "__main__":
    sys.exit(main())
