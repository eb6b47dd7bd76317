"""What TensorFlow Lite's and LiteRT's benchmark_model print, in three generations.

1. TensorFlow 1.x: `Average inference timings in us: Warmup: 27917.4, Init: 21528106, no stats: 23313.5`.
2. TensorFlow 2.x: `Inference timings in us: Init: 18777, First inference: 64791, Warmup (avg): 57758.2, Inference
   (avg): 55043.2`, after lines `count=50 first=58154 curr=53809 min=53077 max=60727 avg=55043.2 std=1562`, the last of
   which tells of the timed runs; newer ones end in `p5=.. median=.. p95=..`. In microseconds, at times as 1.24e+06.
3. LiteRT's benchmark_litert_model: `Model initialization: 23744.73 ms`, `Inference (avg): 7430.20 ms (10 runs)`,
   `Inference (min): ..`, in milliseconds.

None prints single runs: a block's sample is its mean (its median, where printed, stands in the summary).

A delegate that was asked for and did not take the network is an error here. benchmark_model goes on without a word in
its result, on the CPU.
"""

from __future__ import annotations

import re

from edgesr.android_bench.block import Block, Placement, Summary
from edgesr.errors import DeviceError

MICROSECONDS = 1e-3
NUMBER = r"([0-9][0-9.]*(?:[eE][+-]?[0-9]+)?)"
STATISTICS = re.compile(rf"(?:^|\s)count=(\d+)((?:\s+\w+={NUMBER})+)", re.MULTILINE)
NOT_DELEGATED = re.compile(r"Though (.+?) delegate is explicitly applied, the model graph will not be executed")
NOT_MADE = re.compile(
    r"(?P<what>[^\n]*(?:acceleration is unsupported on this platform|delegate (?:is )?not supported|"
    r"[Ff]ailed to (?:create|apply|load|initialize)[^\n]*delegate|[Cc]ould not create[^\n]*delegate|"
    r"Failed to load library|No usable Dispatch runtime found|Unable to load external delegate|"
    r"external delegate creation failed|No usable OpenCL)[^\n]*)"
)
REPLACED = re.compile(r"Replacing (\d+) out of (\d+) node\(s\) with delegate \(([^)]+)\)")
PARTLY = re.compile(r"Explicitly applied (.+?) delegate, and the model graph will be (completely|partially) executed")
UNCONSUMED = re.compile(r"Unconsumed cmdline flags: (.*)")
CPU_DELEGATES = ("XNNPACK", "TfLiteXNNPackDelegate")
"""Delegates that compute on the CPU."""


def read_output(text: str, accelerated: bool) -> Block:
    """The block that benchmark_model's output tells of; `accelerated` where something other than the CPU was asked for.

    Raises `DeviceError` where it tells of no timing, or of a delegate that was asked for and runs nothing.
    """
    refusal = fallback(text) if accelerated else None
    if refusal is not None:
        raise DeviceError(refusal)
    try:
        summary, init_ms, warmups = _litert(text) or _tensorflow_2(text) or _tensorflow_1(text) or (None, None, 0)
        memory = _peak_memory(text)
    except (ValueError, OverflowError) as error:
        raise DeviceError(f"benchmark_model printed garbage in its timings ({error}); see its log") from error
    if summary is None:
        raise DeviceError("benchmark_model printed no timing that edgesr knows; see its log")
    placement = read_placement(text, accelerated)
    return Block(
        (summary.mean_ms,), warmups, init_ms, memory, placement, summary,
        warnings=_warnings(text, accelerated, placement),
    )  # fmt: skip


def fallback(text: str) -> str | None:
    """What says that the delegate which was asked for does not run the network; None where nothing says so."""
    left = NOT_DELEGATED.search(text)
    if left is not None and not left[1].startswith(CPU_DELEGATES):
        return (
            f"the {left[1]} delegate took no operator: all would have run on the CPU; audit the file, or choose another"
        )
    taken = [name for _, _, name in REPLACED.findall(text)]
    if taken and all(name.startswith(CPU_DELEGATES) for name in taken):
        return "no operator went to the delegate, XNNPACK took them on the CPU; give its libraries with --library"
    failed = NOT_MADE.search(text)
    if failed is not None:
        return f"the delegate does not start: {failed['what'].strip()}; give its libraries with --library"
    return None


def read_placement(text: str, accelerated: bool) -> Placement | None:
    """Where the operators ran, by what the runtime printed."""
    taken = [(int(n), int(m), name) for n, m, name in REPLACED.findall(text)]
    others = [entry for entry in taken if not entry[2].startswith(CPU_DELEGATES)]
    if others:
        count, total, name = sum(n for n, _, _ in others), others[0][1], others[0][2]
        rest = f", {total - count} on the CPU" if count < total else ""
        return Placement(f"{count} of {total} operators on {name}{rest}", count < total)
    said = [(name, how) for name, how in PARTLY.findall(text) if not name.startswith(CPU_DELEGATES)]
    if said:
        name, how = said[0]
        return Placement(f"{'all' if how == 'completely' else 'not all'} operators on {name}", how != "completely")
    return None if accelerated else Placement("CPU", True)


def _tensorflow_2(text: str) -> tuple[Summary, float | None, int] | None:
    timings = re.search(rf"Inference timings in us:.*?Inference(?: \(avg\))?: {NUMBER}", text)
    if timings is None:
        return None
    lines = [(int(count), _fields(rest)) for count, rest, _ in STATISTICS.findall(text[: timings.start()])]
    init = re.search(rf"Inference timings in us: Init: {NUMBER}", text)
    count, fields = lines[-1] if lines else (1, {})
    mean = float(timings[1])
    return _summary(count, mean, fields), _ms(init), lines[0][0] if len(lines) > 1 else 0


def _tensorflow_1(text: str) -> tuple[Summary, float | None, int] | None:
    timings = re.search(rf"Average inference timings in us:.*?no stats: {NUMBER}", text)
    if timings is None:
        return None
    lines = [(int(count), _fields(rest)) for count, rest, _ in STATISTICS.findall(text[: timings.start()])]
    count, fields = lines[-1] if lines else (1, {})
    init = re.search(rf"Average inference timings in us:.*?Init: {NUMBER}", text)
    return _summary(count, float(timings[1]), fields), _ms(init), lines[0][0] if len(lines) > 1 else 0


def _litert(text: str) -> tuple[Summary, float | None, int] | None:
    mean = re.search(rf"Inference \(avg\):\s+{NUMBER} ms \((\d+) runs?\)", text)
    if mean is None:
        return None
    parts = {
        key: re.search(rf"Inference \({key}\):\s+{NUMBER}", text) for key in ("min", "max", "std", "median", "p50")
    }
    values = {key: float(match[1]) for key, match in parts.items() if match is not None}
    init = re.search(rf"Model initialization:\s+{NUMBER} ms", text)
    warm = re.search(rf"Warmup \(avg\):\s+{NUMBER} ms \((\d+) runs?\)", text)
    summary = Summary(
        int(mean[2]), float(mean[1]), values.get("min"), values.get("max"), values.get("std"),
        values.get("median", values.get("p50")),
    )  # fmt: skip
    return summary, float(init[1]) if init else None, int(warm[2]) if warm else 0


def _summary(count: int, mean_us: float, fields: dict[str, float]) -> Summary:
    scaled = {key: value * MICROSECONDS for key, value in fields.items()}
    keys = ("min", "max", "std", "median")
    return Summary(count, mean_us * MICROSECONDS, *(scaled.get(key) for key in keys))


def _fields(text: str) -> dict[str, float]:
    return {key: float(value) for key, value in re.findall(rf"(\w+)={NUMBER}", text)}


def _ms(match: re.Match[str] | None) -> float | None:
    return None if match is None else float(match[1]) * MICROSECONDS


def _peak_memory(text: str) -> int | None:
    """The overall footprint, which benchmark_model gives in MB above what the tool itself holds."""
    match = re.search(rf"(?:footprint[^\n]*overall=|Overall footprint:\s+){NUMBER}", text)
    return None if match is None else int(float(match[1]) * (1 << 20))


def ignored_flags(text: str) -> list[str]:
    """The flags that benchmark_model was given and does not know, without their values."""
    ignored = UNCONSUMED.search(text)
    return [] if ignored is None else [word.partition("=")[0] for word in ignored[1].split()]


def _warnings(text: str, accelerated: bool, placement: Placement | None) -> tuple[str, ...]:
    found = [f"benchmark_model does not know {flag}" for flag in ignored_flags(text)]
    if accelerated and placement is None:
        found.append("nothing says that the delegate ran it: it may be the CPU's time; see the log")
    elif accelerated and placement is not None and placement.left_to_cpu:
        found.append(f"{placement.words}: no figure of the accelerator alone")
    return tuple(found)
