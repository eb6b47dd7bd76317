"""Where operators run on NPUs, as parts of a page: operators by NPU, then each reason once with its remedy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from edgesr.report.html import Child, bullet_list, element, join, paragraph, table
from edgesr.report.page import State, badge
from edgesr.report.values import NONE, Plain

NOT_COMPILED = "not compiled"
SHOWN_NAMES = 3
PLACES = {"npu": State.GOOD, "cpu": State.BAD, "unknown": State.OPEN}
WORDS = {"npu": "NPU", "cpu": "CPU", "unknown": "unknown"}


def decisive(audit: Plain) -> Plain:
    """The compiler's answer where there is one, else the table's: the first placement."""
    placement: Plain = audit["placements"][0]
    return placement


def off_npu(report: Plain | None, name: str | None = None) -> list[tuple[str, int]]:
    """The NPUs that leave operators to the CPU, and how many, of the subjects that count (of one by its name)."""
    found: list[tuple[str, int]] = []
    for subject in (report or {"subjects": []})["subjects"]:
        if subject["gated"] and name in (None, subject["name"]):
            counts = [(audit["npu"], _cpu_count(audit)) for audit in subject["npus"]]
            found += [(npu, n) for npu, n in counts if n]
    return found


def _cpu_count(audit: Plain) -> int:
    placement = decisive(audit)
    return len(placement["operators"]) if audit["compiler_failure"] else int(placement["counts"]["cpu"])


def audit_parts(report: Plain, name: str | None) -> list[Child]:
    """The subjects of an audit (of one by its name): table, reasons and remarks."""
    parts: list[Child] = []
    for subject in report["subjects"]:
        if name in (None, subject["name"]):
            parts += subject_parts(subject)
    return parts


def subject_parts(subject: Plain) -> list[Child]:
    """One network: which NPU takes how many operators, operators by kind and NPU, why not, and what else was said."""
    return [_summary(subject), _by_kind(subject), *_reasons(subject["npus"]), bullet_list(_remarks(subject))]


def _summary(subject: Plain) -> Child:
    rows = [
        (audit["npu"], _whole(audit, placement), str(placement["counts"]["npu"]), str(placement["counts"]["cpu"]),
         str(placement["counts"]["unknown"]), placement["evidence"], placement["source"])
        for audit in subject["npus"]
        for placement in audit["placements"]
    ]  # fmt: skip
    header = ("NPU", "Verdict", "On NPU", "CPU", "Unknown", "Evidence", "Who says so")
    return table(f"{subject['name']}: where its operators run", header, rows, (2, 3, 4))


def _whole(audit: Plain, placement: Plain) -> Child:
    if audit["compiler_failure"]:
        return badge(State.BAD, NOT_COMPILED)
    if placement["whole"]:
        return badge(State.GOOD, "whole on the NPU")
    if placement["counts"]["cpu"]:
        return badge(State.BAD, f"{placement['counts']['cpu']} on the CPU")
    return badge(State.OPEN, f"{placement['counts']['unknown']} unknown")


def _by_kind(subject: Plain) -> Child:
    audits = subject["npus"]
    kinds = list(dict.fromkeys(op["kind"] for audit in audits for op in decisive(audit)["operators"]))
    rows = []
    for kind in kinds:
        total = max(sum(op["kind"] == kind for op in decisive(audit)["operators"]) for audit in audits)
        rows.append((f"{kind} \N{MULTIPLICATION SIGN}{total}", *(_cell(audit, kind) for audit in audits)))
    return table("Operators by kind and NPU", ("Operator", *(audit["npu"] for audit in audits)), rows)


def _cell(audit: Plain, kind: str) -> Child:
    places = Counter(op["place"] for op in decisive(audit)["operators"] if op["kind"] == kind)
    if not places:
        return NONE
    if audit["compiler_failure"]:
        return badge(State.BAD, NOT_COMPILED)
    shown = [badge(PLACES[place], WORDS[place] if len(places) == 1 else f"{n} {WORDS[place]}")
             for place, n in places.items()]  # fmt: skip
    return join(shown)


def _reasons(audits: Sequence[Plain]) -> list[Child]:
    """Each reason once, with the NPUs and operators that it holds for; what a table does not know stands last."""
    found: dict[tuple[str, str, str, tuple[tuple[str, str], ...]], list[str]] = {}
    rows = [
        (audit["npu"], badge(State.BAD, NOT_COMPILED), "all", str(audit["compiler_failure"]), NONE)
        for audit in audits
        if audit["compiler_failure"]
    ]
    for audit in audits:
        if audit["compiler_failure"]:
            continue
        grouped: dict[tuple[str, str, str], list[tuple[str, str]]] = {}
        for op in decisive(audit)["operators"]:
            if op["place"] != "npu":
                key = op["place"], op["reason"], op["remedy"]
                grouped.setdefault(key, []).append((op["kind"], op["name"]))
        for (place, reason, remedy), names in grouped.items():
            found.setdefault((place, reason, remedy, tuple(names)), []).append(audit["npu"])
    rows += [
        (", ".join(npus), badge(PLACES[place], WORDS[place]), _names(names), reason, remedy or NONE)
        for (place, reason, remedy, names), npus in sorted(found.items(), key=lambda item: item[0][0])
    ]
    if not rows:
        return [paragraph("Every NPU above takes every operator.")]
    return [table("Why an operator is not on the NPU", ("NPU", "Place", "Operators", "Reason", "Remedy"), rows)]


def _names(operators: Sequence[tuple[str, str]]) -> str:
    kinds = Counter(kind for kind, _ in operators)
    counted = ", ".join(kind if n == 1 else f"{n} {kind}" for kind, n in kinds.most_common())
    more = ", \N{HORIZONTAL ELLIPSIS}" if len(operators) > SHOWN_NAMES else ""
    return f"{counted}: {', '.join(name for _, name in operators[:SHOWN_NAMES])}{more}"


def _remarks(subject: Plain) -> list[Child]:
    found: dict[str, list[str]] = {str(note): [] for note in subject["notes"]}
    for audit in subject["npus"]:
        for words in (*audit["warnings"], *audit["notes"]):
            found.setdefault(str(words), []).append(audit["npu"])
    return [join([f"{', '.join(npus)}: " if npus else "", element("span", words)]) for words, npus in found.items()]
