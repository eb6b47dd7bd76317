"""CUDA graphs and the time of their replays: work that is launched once as a whole, timed by the GPU's own events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

COPIED_BYTES = 1 << 30
COPIES = 20


def capture_graph(call: Callable[[], object], device: torch.device) -> torch.cuda.CUDAGraph:
    """The launches of `call` as a CUDA graph, after a run that compiles what is not compiled yet."""
    with torch.cuda.device(device):
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch left it untyped
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            call()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            call()
    return graph


def replay_of(call: Callable[[], object], device: torch.device) -> Callable[[], object]:
    """What runs `call` again: a CUDA graph's replay on a GPU, elsewhere `call` itself.

    It runs once before, since what is compiled and chosen on a first run cannot be captured.
    """
    call()
    return capture_graph(call, device).replay if device.type == "cuda" else call


@dataclass(frozen=True, eq=False)
class TimedReplay:
    """Work on a GPU, and how long it takes there: from the end of what was queued before to its own end."""

    replay: Callable[[], object]

    def measure(self) -> float:
        """Milliseconds of one replay by CUDA events, the host's part of a launch left out."""
        start, end = _event(), _event()
        start.record()
        self.replay()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end))


def copy_bandwidth(device: torch.device) -> float:
    """Bytes per second of the device's own memory while it copies: those read and those written."""
    source = torch.empty(COPIED_BYTES, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copy = TimedReplay(lambda: target.copy_(source))
    copy.measure()
    fastest = min(copy.measure() for _ in range(COPIES))
    return 2 * COPIED_BYTES / (fastest / 1e3)


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]  # torch left it untyped
