"""Overlays for Model Explorer: an operator's figures in a parity check as colours of the file's own graph.

Model Explorer (github.com/google-ai-edge/model-explorer) opens a .tflite, or with its ONNX adapter an .onnx file, and
colours its nodes by "custom node data": one JSON for each figure, `results` by the name of a node or of one of its
output tensors, which in edgesr's files are the operators' names. Each artifact, runner and figure has a file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from edgesr.report.values import Plain, entry, number
from edgesr.runtime.operator_parity import INPUT_EDGE, OUTPUT_EDGE

EDGES = (INPUT_EDGE, OUTPUT_EDGE)
"""The rows of a parity check that are no operators."""
BAD, MIDDLING, GOOD = "#d73027", "#fee08b", "#1a9850"


@dataclass(frozen=True)
class Figure:
    """One figure of an operator: its name in files, the name people read, and whether more of it is better."""

    slug: str
    name: str
    more_is_better: bool
    read: Callable[[Plain], object]
    factor: float = 1.0


FIGURES = (
    Figure("sqnr", "SQNR, dB", True, lambda row: row["sqnr_db"]),
    Figure("own-sqnr", "SQNR of its own, dB", True, lambda row: row["own_sqnr_db"]),
    Figure("clipped", "clipped, %", False, lambda row: entry(row, "span", "integers", "clipped_share"), 100),
)
SHARE = Figure("share", "share of the error, %", False, lambda source: source["share"], 100)


def overlays(parity: Plain) -> Iterator[tuple[str, Plain]]:
    """File names and contents for the JSON of a parity check; a figure that a file does not have has no overlay."""
    rows: dict[tuple[str, str], list[Plain]] = {}
    for row in parity["operators"]:
        if row["operator"] not in EDGES:
            rows.setdefault((row["file"], row["runner"]), []).append(row)
    for (file, runner), operators in rows.items():
        for figure in FIGURES:
            yield from _overlay(file, runner, figure, {row["operator"]: figure.read(row) for row in operators})
    for found in parity["error_sources"]:
        shares = {source["operator"]: SHARE.read(source) for source in found["sources"]}
        yield from _overlay(found["file"], found["runner"], SHARE, shares)


def _overlay(file: str, runner: str, figure: Figure, values: Mapping[str, object]) -> Iterator[tuple[str, Plain]]:
    numbers = {name: number(value) for name, value in values.items()}
    results = {
        name: {"value": round(figure.factor * value, 4)}
        for name, value in numbers.items()
        if value is not None and abs(value) < float("inf")
    }
    if results:
        colours = (BAD, MIDDLING, GOOD) if figure.more_is_better else (GOOD, MIDDLING, BAD)
        gradient = [{"stop": stop, "bgColor": colour} for stop, colour in zip((0, 0.5, 1), colours, strict=True)]
        content = {"name": f"{figure.name} ({runner})", "results": results, "gradient": gradient}
        yield f"{file.replace('/', '-')}.{runner}.{figure.slug}.json", content
