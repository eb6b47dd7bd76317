"""What edgesr_runner prints: one JSON object a line, read even where the last of them never came.

    {"event": "ready", "init_ms": 12.5, "accelerator": "cpu", "fully_accelerated": true, ...}
    {"event": "warmup", "ns": [...]}        {"event": "runs", "ns": [...]}
    {"event": "done", "runs": 50, "peak_rss_bytes": 1234, "output_written": true, ...}
    {"event": "error", "what": "...", "where": "..."}

On a device without shell_v2 what the linker or LiteRT says comes on the same stream: lines that are no JSON are passed
over. A line that names an event and breaks its form is garbage, and refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from edgesr.android_bench.block import Block, Placement
from edgesr.errors import DeviceError

SCHEMA = 1
LONGEST_NS = 10**15
"""Eleven days: nothing that is measured here is as long, or as large."""


def read_events(text: str) -> Block:
    """The block that these lines tell of, with `problem` set where the program did not come to its end.

    Raises `DeviceError` where they tell of none: no line that is an event, or one that is broken.
    """
    ready: Mapping[str, Any] = {}
    done: Mapping[str, Any] | None = None
    error: str | None = None
    warmups: list[float] = []
    samples: list[float] = []
    seen = False
    for event in _events(text):
        seen = True
        kind = event["event"]
        if kind == "start" and event.get("schema") != SCHEMA:
            raise DeviceError(
                f"the runner writes schema {event.get('schema')}, this edgesr reads {SCHEMA}; build it again"
            )
        elif kind == "ready":
            ready = event
        elif kind in ("warmup", "runs"):
            (warmups if kind == "warmup" else samples).extend(_milliseconds(event))
        elif kind == "done":
            done = event
        elif kind == "error":
            error = f"{event.get('what')} ({event.get('where')})" if event.get("where") else str(event.get("what"))
    if not seen:
        raise DeviceError("the runner printed no result; see its log")
    ended = None if done is not None else "it ended before its last run"
    return Block(
        tuple(samples), len(warmups), _number(ready, "init_ms"), _integer(done or {}, "peak_rss_bytes"),
        _placement(ready), problem=error or ended,
    )  # fmt: skip


def _events(text: str) -> Iterator[Mapping[str, Any]]:
    for line in text.splitlines(keepends=True):
        if not line.startswith('{"event"') or not line.endswith("\n"):
            continue  # not ours, or cut off: the program or the connection ended there
        try:
            event = json.loads(line)
        except ValueError as error:
            raise DeviceError(f"the runner printed garbage: {line.strip()[:80]}") from error
        if isinstance(event, dict):
            yield event


def _milliseconds(event: Mapping[str, Any]) -> list[float]:
    nanoseconds = event.get("ns")
    if not isinstance(nanoseconds, list) or not all(type(ns) is int and 0 < ns < LONGEST_NS for ns in nanoseconds):
        raise DeviceError(f"the runner printed garbage: times {str(nanoseconds)[:60]}")
    return [ns / 1e6 for ns in nanoseconds]


def _placement(ready: Mapping[str, Any]) -> Placement | None:
    accelerator, whole = ready.get("accelerator"), ready.get("fully_accelerated")
    if accelerator is None or not isinstance(whole, bool):
        return None
    if accelerator == "cpu":
        return Placement(
            "all operators on the CPU (XNNPACK)" if whole else "CPU, in part by LiteRT's plain kernels", True
        )
    share = "all operators" if whole else "not all operators"
    return Placement(f"{share} on {accelerator}", not whole)


def _number(event: Mapping[str, Any], key: str) -> float | None:
    value = event.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < LONGEST_NS:
        return None
    return float(value)


def _integer(event: Mapping[str, Any], key: str) -> int | None:
    value = _number(event, key)
    return None if value is None else int(value)
