"""The page of `edgesr verify parity`: is every file what PyTorch computes, in every runtime, and where errors start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgesr.report.export_page import int8_verdict
from edgesr.report.html import Child, element, fold_away, paragraph, table
from edgesr.report.page import Page, Section, State, Tile, Verdict, section
from edgesr.report.parity_sections import case_parts, failures, natural_db, operator_parts, source_parts
from edgesr.report.pictures import picture_parts
from edgesr.report.values import NONE, Plain, count, entry, number, share

SHOWN_FAILURES = 3


def parity_page(
    parity: Plain, subject: str, pictures: Sequence[Plain] = (), limits: Mapping[str, Sequence[str]] | None = None
) -> Page:
    """The page of a parity report's JSON; `limits` are words by file, `pictures` described ones with a `file`."""
    files = list(dict.fromkeys(row["file"] for row in parity["end_to_end"]))
    runners = list(dict.fromkeys(row["runner"] for row in parity["end_to_end"]))
    checks = len(parity["end_to_end"]) + len(parity["operators"])
    return Page(
        kind="verify parity",
        title=f"{subject}: {count(len(files), 'file')} against PyTorch",
        about=f"Against the float64 PyTorch network; in {', '.join(runners)}; {count(checks, 'check')}",
        verdicts=_verdicts(parity, files, checks),
        tiles=tuple(_tile(parity, file) for file in files),
        sections=(
            section("End to end", *_cases(parity, files, limits or {})),
            *_pictures(pictures),
            *_operators(parity, files),
            *_sources(parity),
        ),
    )


def _verdicts(parity: Plain, files: Sequence[str], checks: int) -> tuple[Verdict, ...]:
    failed = failures(parity)
    found = [
        Verdict(State.BAD, f"{row['file']} in {row['runner']}, {row.get('case') or row.get('operator')}: {row['why']}.")
        for row in failed[:SHOWN_FAILURES]
    ]
    if failed:
        found.insert(0, Verdict(State.BAD, f"Not proven: {len(failed)} of {checks} checks exceed their limits."))
    else:
        found.append(Verdict(State.GOOD, f"Proven: all {checks} checks are within their limits."))
    integers = {row["file"] for row in parity["end_to_end"] if row.get("exact_integer_psnr_db") is not None}
    known = [(db, file) for file in files if file in integers and (db := natural_db(parity, file)) is not None]
    found += [int8_verdict(known)] if known else []
    words = [f"{run['runner']} is emulated, no phone: {run['emulated']} ({run['file']})." for run in parity["emulated"]]
    return (*found, *(Verdict(State.DOUBTFUL, text) for text in words))


def _tile(parity: Plain, file: str) -> Tile:
    failed, db = failures(parity, file), natural_db(parity, file)
    value = NONE if db is None else f"{db:.1f} dB"
    note = f"{count(len(failed), 'check')} failed" if failed else "worst photograph, from PyTorch"
    return Tile(file, value, note, State.BAD if failed else State.GOOD)


def _cases(parity: Plain, files: Sequence[str], limits: Mapping[str, Sequence[str]]) -> list[Child]:
    parts: list[Child] = []
    for file in files:
        parts += [element("h3", file), *case_parts(parity, file, limits.get(file, ()))]
    return parts


def _pictures(pictures: Sequence[Plain]) -> tuple[Section, ...]:
    parts = [part for picture in pictures for part in picture_parts([picture], picture["file"])]
    return (section("What INT8 does to a picture", *parts),) if parts else ()


def _operators(parity: Plain, files: Sequence[str]) -> tuple[Section, ...]:
    parts: list[Child] = []
    for file in files:
        if any(row["file"] == file for row in parity["operators"]):
            parts.append(
                fold_away(file, *operator_parts(parity, file))
                if parts
                else element("div", element("h3", file), operator_parts(parity, file))
            )
    return (section("Operator by operator", *parts),) if parts else ()


def _sources(parity: Plain) -> tuple[Section, ...]:
    parts = source_parts(parity["error_sources"])
    rows = [
        (f"{row['first_file']} {row['first_runner']}", f"{row['second_file']} {row['second_runner']}",
         *_divergence(row["at_all"]), entry(row, "beyond_limit", "operator") or "nowhere")
        for row in parity["first_divergences"]
    ]  # fmt: skip
    if rows:
        header = ("Run", "And", "Differ first at", "Values", "Most", "First beyond one operator's limit")
        parts += [paragraph("Runs of one network, tensor by tensor:"),
                  table("Where two runs part first", header, rows, (3, 4))]  # fmt: skip
    return (section("Where errors come from", *parts),) if parts else ()


def _divergence(found: Plain | None) -> tuple[str, str, str]:
    if found is None:
        return "nowhere", NONE, NONE
    most = number(found["largest"])
    return found["operator"], share(found["differing_share"]), NONE if most is None else f"{most:.3g}"
