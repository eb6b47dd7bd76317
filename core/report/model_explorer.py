"""Overlays for Model Explorer: an operator's figures in a parity check as colours of the file's own graph.

Model Explorer (github.com/google-ai-edge/model-explorer) opens a .tflite, or with its ONNX adapter an .onnx file, and
colours its nodes by "custom node data": one JSON for each figure, `results` by the name of a node or of one of its
output tensors, which in edgesr's files are the operators' names. Each artifact, runner and figure has a file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edgesr.report.values import Plain, entry, number
from edgesr.runtime.operator_parity import INPUT_EDGE, OUTPUT_EDGE

EDGES = (INPUT_EDGE, OUTPUT_EDGE)
"""The rows of a parity check that are no operators."""
BAD, MIDDLING, GOOD = "#d73027", "#fee08b", "#1a9850"


@dataclass(frozen=True)
class Figure:
    """One figure of an operator: its name in files, the name people read, whether more is better, where it stands."""

    slug: str
    name: str
    more_is_better: bool
    path: tuple[str, ...]
    factor: float = 1.0


FIGURES = (
    Figure("sqnr", "SQNR, dB", True, ("sqnr_db",)),
    Figure("own-sqnr", "SQNR of its own, dB", True, ("own_sqnr_db",)),
    Figure("clipped", "clipped, %", False, ("span", "integers", "clipped_share"), 100),
)
SHARE = Figure("share", "share of the error, %", False, ("share",), 100)


def overlays(parity: Plain) -> Iterator[tuple[str, Plain]]:
    """File names and contents for the JSON of a parity check; a figure that a file does not have has no overlay."""
    rows: dict[tuple[str, str], list[Plain]] = {}
    for row in parity["operators"]:
        if row["operator"] not in EDGES:
            rows.setdefault((row["file"], row["runner"]), []).append(row)
    for (file, runner), operators in rows.items():
        for figure in FIGURES:
            yield from _overlay(file, runner, figure, operators)
    for found in parity["error_sources"]:
        yield from _overlay(found["file"], found["runner"], SHARE, found["sources"])


def _overlay(file: str, runner: str, figure: Figure, operators: Sequence[Plain]) -> Iterator[tuple[str, Plain]]:
    numbers = {row["operator"]: number(entry(row, *figure.path)) for row in operators}
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
