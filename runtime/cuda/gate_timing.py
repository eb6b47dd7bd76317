"""SPANV2's gate alone on a GPU in FP16 channels_last: native operators, torch.compile and the Triton kernel."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from edgesr.runtime.bench import Benchmark, Subject, run_interleaved
from edgesr.runtime.cuda.backend import EAGER, FUSED
from edgesr.runtime.cuda.contenders import COMPILED, compiled
from edgesr.runtime.cuda.replay import TimedReplay, replay_of
from edgesr.span_gate import span_gate

CHANNELS = 32
TENSORS = 3
"""x and f are read, the output is written."""


def time_gate(
    size: tuple[int, int], device: torch.device, runs: int, warmups: int, with_compile: bool = True
) -> list[Benchmark]:
    """Milliseconds of CUDA-graph replays of the gate at (H, W), without torch.compile where `with_compile` is off.

    Raises `MissingBackendError` without Triton.
    """
    from edgesr.runtime.cuda.gate_kernel import fused_gate

    generator = torch.Generator().manual_seed(0)
    x, f = (_features(size, device, generator) for _ in range(2))
    w, b = (
        torch.randn(*shape, generator=generator).half().to(device)
        for shape in ((CHANNELS, CHANNELS, 1, 1), (CHANNELS,))
    )
    gates: dict[str, Callable[..., object]] = {EAGER: span_gate, FUSED: fused_gate}
    if with_compile:
        gates[COMPILED] = compiled(span_gate)
    moved = TENSORS * x.numel() * x.element_size()
    with torch.no_grad():
        subjects = [_subject(name, functools.partial(gate, x, f, w, b), device) for name, gate in gates.items()]
        results = run_interleaved(subjects, runs, warmups)
    return [replace(one, moved_bytes=moved if one.runner == FUSED else None) for one in results]


def _subject(runner: str, call: Callable[[], object], device: torch.device) -> Subject:
    timed = TimedReplay(replay_of(call, device))
    return Subject("gate fp16", runner, timed.replay, measure=timed.measure)


def _features(size: tuple[int, int], device: torch.device, generator: torch.Generator) -> Tensor:
    x = torch.randn(1, CHANNELS, *size, generator=generator).half()
    return x.to(device, memory_format=torch.channels_last)
