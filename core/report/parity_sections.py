"""What a parity check found, as parts of a page: worst cases with their limits, and every operator of a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgesr.report.figures import bar
from edgesr.report.html import Child, Html, bullet_list, fold_away, join, paragraph, table
from edgesr.report.page import State, badge
from edgesr.report.values import NONE, Plain, count, decibels, entry, number, scientific, share

FULL_BAR_DB = 100.0
"""An SQNR that fills a bar."""
EXACT_DB = 200.0
"""The ceiling of what parity calls an SQNR: nothing differs."""
WITNESSES = ("graph", "graph-int8")
SOURCES = 5


def natural_db(parity: Plain, file: str) -> float | None:
    """The PSNR to the float64 network on the worst photograph, over all runners but the witnesses; None: no rows."""
    rows = [row for row in _files_rows(parity, file) if row["runner"] not in WITNESSES]
    found = [number(row["psnr_db"]) for row in rows if row["case"].startswith("natural")]
    return min((value for value in found if value is not None), default=None)


def failures(parity: Plain, file: str | None = None) -> list[Plain]:
    """The rows that exceed a limit, of one file or of all."""
    rows: list[Plain] = [*parity["end_to_end"], *parity["operators"]]
    return [row for row in rows if not row["passed"] and file in (None, row["file"])]


def _files_rows(parity: Plain, file: str) -> list[Plain]:
    return [row for row in parity["end_to_end"] if row["file"] == file]


def verdict_badge(row: Plain) -> Html:
    """How a row reads."""
    return badge(State.GOOD, "ok") if row["passed"] else badge(State.BAD, str(row["why"] or "failed"))


def case_parts(parity: Plain, file: str, limits: Sequence[str] = ()) -> list[Child]:
    """Every runner and image of a file, the worst first, and the limits that they had to keep."""
    rows = sorted(_files_rows(parity, file), key=lambda row: (row["runner"] in WITNESSES, _order(row["psnr_db"])))
    lines = [
        (f"{row['case']}", row["runner"], scientific(row["max_abs"]), scientific(row["relative_l2"]),
         decibels(row["psnr_db"]), decibels(row.get("exact_integer_psnr_db")), verdict_badge(row))
        for row in rows
    ]  # fmt: skip
    header = ("Image", "Runner", "Max. error", "Rel. L2", "PSNR dB", "Exact integers dB", "Verdict")
    caption = f"{file} against the float64 PyTorch network, the worst first"
    return [bullet_list(limits), table(caption, header, lines, numeric=(2, 3, 4, 5))]


def _order(value: object) -> float:
    found = number(value)
    return float("-inf") if found is None or found != found else found


def operator_parts(parity: Plain, file: str) -> list[Child]:
    """Every operator of a file in its first runner: its own error, what has accumulated, and its range."""
    rows = [row for row in parity["operators"] if row["file"] == file]
    runners = list(dict.fromkeys(row["runner"] for row in rows))
    if not rows:
        return [paragraph("No graph stands behind this file, so no operator was compared by itself.")]
    first = [row for row in rows if row["runner"] == runners[0]]
    in_steps = any(row["max_lsb"] is not None for row in first)
    parts: list[Child] = [_operator_table(first, file, runners[0], in_steps)]
    parts += [
        fold_away(f"The same in {runner}", _operator_table([r for r in rows if r["runner"] == runner], file, runner,
                                                           in_steps))
        for runner in runners[1:]
    ]  # fmt: skip
    return parts


def _operator_table(rows: Sequence[Plain], file: str, runner: str, in_steps: bool) -> Html:
    lines = [_operator_line(row, in_steps) for row in rows]
    header: tuple[str, ...]
    if in_steps:
        header = ("Operator", "Kind", "Own SQNR dB", "SQNR so far dB", "Steps off", "Values", "Its integers hold",
                  "Cut off", "Verdict")  # fmt: skip
        numeric: tuple[int, ...] = (4, 5, 6, 7)
    else:
        header = ("Operator", "Kind", "SQNR so far dB", "Max. rel. error", "Values", "Verdict")
        numeric = (3, 4)
    return table(f"{file} in {runner}, in the order of its graph", header, lines, numeric)


def _operator_line(row: Plain, in_steps: bool) -> tuple[Child, ...]:
    values = _range(entry(row, "span", "low"), entry(row, "span", "high"))
    if not in_steps:
        return (row["operator"], row["kind"], _level(row["sqnr_db"]), scientific(row["max_relative"]), values,
                verdict_badge(row))  # fmt: skip
    integers = entry(row, "span", "integers")
    held = _range(entry(integers, "lowest"), entry(integers, "highest"))
    cut = NONE if integers is None else "image's clip" if integers["clips_image"] else share(integers["clipped_share"])
    steps = NONE if row["max_lsb"] is None else str(row["max_lsb"])
    levels = _level(row["own_sqnr_db"]), _level(row["sqnr_db"])
    return row["operator"], row["kind"], *levels, steps, values, held, cut, verdict_badge(row)


def _level(value: object) -> Html:
    found = number(value) or 0.0
    return join([bar(found / FULL_BAR_DB), "exact" if found >= EXACT_DB else decibels(value, 1)])


def _range(low: object, high: object) -> str:
    a, b = number(low), number(high)
    return NONE if a is None or b is None else f"{a:.3g} to {b:.3g}"


def source_parts(sources: Sequence[dict[str, Any]]) -> list[Child]:
    """Which operators an INT8 error comes from."""
    parts: list[Child] = []
    for found in sources:
        lines = [
            (one["operator"], one["kind"], join([bar(number(one["share"]) or 0.0), share(one["share"])]),
             decibels(one["alone_psnr_db"], 1))
            for one in found["sources"][:SOURCES]
        ]  # fmt: skip
        caption = f"{found['file']} in {found['runner']} on {found['case']}: {count(len(lines), 'operator')} of "
        parts.append(
            table(f"{caption}{len(found['sources'])}", ("Operator", "Kind", "Share of the error", "Alone, PSNR dB"),
                  lines, (3,))
        )  # fmt: skip
    return parts
