"""The page of `edgesr bench`: every sample of every subject, its median and ratio, the machine, and what to doubt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgesr.report.figures import samples_plot
from edgesr.report.html import Child, Html, bullet_list, element, facts, paragraph, table
from edgesr.report.page import Page, Section, State, Tile, Verdict, section
from edgesr.report.values import (
    NONE,
    Plain,
    count,
    decibels,
    entry,
    image_size,
    integer,
    milliseconds,
    moment,
    number,
    size,
)

NEAR = 1.05
"""Up to this ratio of medians, a subject is called as fast as another one: less may turn round in the next run."""


def bench_page(records: Sequence[Plain], subject: str) -> Page:
    """The page of one or more records of benchmarks, as bench_schema.json describes them."""
    devices = list(dict.fromkeys(str(record["device"]) for record in records))
    first = records[0]
    return Page(
        kind="bench",
        title=f"{subject}: {'instructions' if first.get('emulated') else 'latency'} on {', '.join(devices)}",
        about=f"{_machine(first)}; input {image_size(first['size'])}; {moment(first['started'])}",
        verdicts=_verdicts(records),
        tiles=tuple(_tile(result) for record in records for result in record["results"]),
        sections=tuple(part for record in records for part in _sections(record, len(records) > 1)),
    )


def label(result: Plain, record: Plain) -> str:
    """A subject by its name, with the threads where they are more than one."""
    threads = result.get("threads") or record["threads"]
    return f"{result['name']}, {threads} threads" if threads > 1 else str(result["name"])


def ratio_words(ratio: float) -> str:
    """A ratio of latencies to PyTorch eager's."""
    return f"{1 / ratio:.2f} x as fast as PyTorch" if ratio <= 1 else f"{ratio:.2f} x as long as PyTorch"


def _machine(record: Plain) -> str:
    environment = record["environment"]
    return str(environment.get("processor") or environment.get("model") or record["device"])


def _verdicts(records: Sequence[Plain]) -> tuple[Verdict, ...]:
    found = [_fastest(record) for record in records if any("median_ms" in result for result in record["results"])]
    found += [
        Verdict(State.DOUBTFUL, f"Emulated: {record['emulated']}; instructions are counted, no time is known.")
        for record in records
        if record.get("emulated")
    ]
    warnings = [str(warning) for record in records for warning in record["warnings"]]
    if warnings:
        words = f"{count(len(warnings), 'warning')} about this measurement, below. The first: {warnings[0]}."
        found.append(Verdict(State.DOUBTFUL, words))
    else:
        found.append(Verdict(State.GOOD, "The measurement has no warning about itself."))
    return tuple(found)


def _fastest(record: Plain) -> Verdict:
    """The subject with the shortest median, and those that come near it."""
    timed = sorted((r for r in record["results"] if "median_ms" in r), key=lambda result: float(result["median_ms"]))
    best = timed[0]
    near = [r["name"] for r in timed[1:] if float(r["median_ms"]) <= NEAR * float(best["median_ms"])]
    ratio = number(best.get("ratio_to_torch"))
    words = f"Fastest on {record['device']}: {best['name']} in {best['runner']}"
    words += f", median {milliseconds(best['median_ms'])} ms"
    words += "" if ratio in (None, 1.0) else f", {ratio_words(ratio or 1.0)} in the same run"
    words += f"; {', '.join(near)} comes within 5 % of that" if near else ""
    return Verdict(State.GOOD, f"{words}.")


def _tile(result: Plain) -> Tile:
    if "median_ms" not in result:
        return Tile(str(result["name"]), integer(result["median_instructions"]), "instructions, emulated")
    ratio = number(result.get("ratio_to_torch"))
    note = "median" if ratio is None else "median, the yardstick" if ratio == 1 else f"median, {ratio_words(ratio)}"
    return Tile(f"{result['name']}, {result['runner']}", f"{milliseconds(result['median_ms'])} ms", note)


def _sections(record: Plain, several: bool) -> list[Section]:
    where = f" on {record['device']}" if several else ""
    warnings = bullet_list(str(warning) for warning in record["warnings"])
    return [
        section(f"Every run{where}", paragraph("Each plot has its own scale, which does not start at 0. Shades are "
                "blocks between which other subjects had their turn; the dashed line is the median; triangles lie "
                "beyond the scale.", class_="pale"), _plots(record)),
        section(f"Figures{where}", _figures(record)),
        *([section(f"Warnings{where}", warnings)] if warnings else []),
        section(f"Machine and versions{where}", _environment(record)),
    ]  # fmt: skip


def _plots(record: Plain) -> Html:
    return element("div", [_plot(result, record) for result in record["results"]], class_="plots")


def _plot(result: Plain, record: Plain) -> Html:
    timed = "latencies_ms" in result
    values = [float(value) for value in result["latencies_ms" if timed else "instructions"]]
    unit = "ms" if timed else "instr."
    median = f"{milliseconds(result['median_ms'])} ms" if timed else integer(result["median_instructions"])
    title = f"{label(result, record)}, {result['runner']}"
    described = f"{count(len(values), 'sample')} of {title}; median {median}"
    return element(
        "div",
        element("h3", title),
        samples_plot(values, unit, described, result.get("block_lengths") or ()),
        paragraph(f"median {median}, {count(len(values), 'sample')}", class_="pale"),
    )


def _figures(record: Plain) -> Html:
    header = ("Subject", "Runner", "Median ms", "p90 ms", "Min ms", "Runs", "Warm-ups", "To PyTorch", "Load ms",
              "Peak memory", "Its output", "sha256 begins")  # fmt: skip
    rows = [_row(result, record) for result in record["results"]]
    if any("median_ms" not in result for result in record["results"]):
        header = ("Subject", "Runner", "Instructions", "Runs", "Its output", "sha256 begins")  # type: ignore[assignment]  # fewer
        rows = [
            (label(r, record), r["runner"], integer(r.get("median_instructions")), str(r["n"]), _parity(r), _digest(r))
            for r in record["results"]
        ]
        return table("Counts", header, rows, (2, 3))
    return table("Latency in milliseconds", header, rows, (2, 3, 4, 5, 6, 7, 8, 9))


def _row(result: Plain, record: Plain) -> tuple[Child, ...]:
    ratio = number(result.get("ratio_to_torch"))
    return (
        label(result, record), result["runner"], milliseconds(result["median_ms"]), milliseconds(result["p90_ms"]),
        milliseconds(result["min_ms"]), str(result["n"]), str(result["warmups"]),
        NONE if ratio is None else f"{ratio:.3f}", milliseconds(result.get("init_ms")),
        size(result.get("peak_memory_bytes")), _parity(result), _digest(result),
    )  # fmt: skip


def _parity(result: Plain) -> str:
    parity = result.get("parity")
    if not isinstance(parity, Mapping):
        return NONE
    return f"{decibels(parity.get('psnr_db'), 1)} dB to {parity.get('reference')}"


def _digest(result: Plain) -> str:
    return str(result.get("sha256") or NONE)[:12]


def _environment(record: Plain) -> Html:
    environment = record["environment"]
    packages = entry(environment, "packages")
    shown = [(str(name), _words(value)) for name, value in environment.items() if name != "packages"]
    versions = ", ".join(f"{k} {v}" for k, v in packages.items() if v) if isinstance(packages, Mapping) else None
    return facts([("Device", str(record["device"])), *shown, ("Versions", versions)])


def _words(value: object) -> str | None:
    if value is None or value == [] or value == {}:
        return None
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_words(entry)}" for name, entry in value.items())
    if isinstance(value, list):
        return ", ".join(str(_words(entry)) for entry in value)
    return f"{value:.3g}" if isinstance(value, float) else str(value)
