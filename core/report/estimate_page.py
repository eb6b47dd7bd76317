"""The page of an estimate, `edgesr bench --device` with the name of an NPU: a compiler's words, nothing ran."""

from __future__ import annotations

from collections.abc import Sequence

from edgesr.report.figures import bar
from edgesr.report.html import Html, join, table
from edgesr.report.page import Page, State, Tile, Verdict, section
from edgesr.report.values import Plain, count, image_size, integer, milliseconds, share, size


def estimate_page(device: str, results: Sequence[Plain], subject: str) -> Page:
    """The page of the estimates' JSON."""
    labels = dict.fromkeys(str(result["estimate"]["label"]) for result in results)
    return Page(
        kind="bench",
        title=f"{subject}: estimates for {device}",
        about=f"{count(len(results), 'file')}; cycles at the NPU's clock",
        verdicts=tuple(Verdict(State.DOUBTFUL, f"{label[0].upper()}{label[1:]}.") for label in labels),
        tiles=tuple(_tile(result) for result in results),
        sections=tuple(
            section(f"{result['file']} at {image_size(result['size'])}", _layers(result["estimate"]))
            for result in results
        ),
    )


def _tile(result: Plain) -> Tile:
    estimate = result["estimate"]
    note = f"{integer(estimate['estimated_cycles'])} cycles, estimated; peak SRAM {size(estimate['peak_sram_bytes'])}"
    return Tile(
        f"{result['file']} at {image_size(result['size'])}", f"{milliseconds(estimate['estimated_ms'])} ms", note
    )


def _layers(estimate: Plain) -> Html:
    cycles = estimate["estimated_cycles"]
    rows = [
        (layer["name"], layer["operator"], _share(layer["cycles"] / max(cycles, 1)), integer(layer["cycles"]),
         integer(layer["macs"]), share(layer["utilisation"]), layer["bound_by"], size(layer["peak_sram_bytes"]))
        for layer in estimate["layers"]
    ]  # fmt: skip
    header = (
        "Operator",
        "Kind",
        "Share of the cycles",
        "Cycles",
        "MACs",
        "Array filled",
        "Bound by",
        "SRAM at its time",
    )
    return table("Operators as the compiler estimates them", header, rows, (3, 4, 5, 7))


def _share(part: float) -> Html:
    return join([bar(part), share(part)])
