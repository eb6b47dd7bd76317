"""The page of `edgesr audit`: which NPU runs which operator, who says so, and what would change it."""

from __future__ import annotations

from collections.abc import Sequence

from edgesr.report.audit_sections import NOT_COMPILED, decisive, off_npu, subject_parts
from edgesr.report.page import Page, State, Tile, Verdict, section
from edgesr.report.values import Plain, count


def audit_page(audit: Plain, subject: str) -> Page:
    """The page of an audit's JSON."""
    subjects = audit["subjects"]
    npus = list(dict.fromkeys(one["npu"] for each in subjects for one in each["npus"]))
    return Page(
        kind="audit",
        title=f"{subject}: operators on {count(len(npus), 'NPU')}",
        about=", ".join(npus) + (f"; the figures are {subjects[0]['name']}'s" if len(subjects) > 1 else ""),
        verdicts=tuple(_verdict(audit, each) for each in subjects),
        tiles=_tiles(subjects[0]["npus"]),
        sections=tuple(section(each["name"], *subject_parts(each)) for each in subjects),
    )


def _verdict(audit: Plain, subject: Plain) -> Verdict:
    if not subject["gated"]:
        return Verdict(State.OPEN, f"{subject['name']}: for comparison.")
    failed = [one["npu"] for one in subject["npus"] if one["compiler_failure"]]
    off = [(npu, n) for npu, n in off_npu(audit, subject["name"]) if npu not in failed]
    unknown = [one["npu"] for one in subject["npus"] if decisive(one)["counts"]["unknown"]]
    open_words = f" Unknown in part: {', '.join(unknown)}." if unknown else ""
    found = [f"not compiled for {', '.join(failed)}"] if failed else []
    found += [f"operators on the CPU of {', '.join(f'{npu} ({n})' for npu, n in off)}"] if off else []
    if found:
        return Verdict(State.BAD, f"{subject['name']}: {'; '.join(found)}.{open_words}")
    return Verdict(State.OPEN if unknown else State.GOOD, f"{subject['name']}: no operator on a CPU.{open_words}")


def _tiles(audits: Sequence[Plain]) -> tuple[Tile, ...]:
    tiles = []
    for audit in audits:
        placement = decisive(audit)
        counts, total = placement["counts"], len(placement["operators"])
        figure = _figure(counts, total, placement["evidence"])
        state = State.GOOD if placement["whole"] else State.BAD if counts["cpu"] else State.OPEN
        if audit["compiler_failure"]:
            figure, state = (NOT_COMPILED, f"{count(total, 'operator')}, the reason is below"), State.BAD
        tiles.append(Tile(audit["npu"], *figure, state))
    return tuple(tiles)


def _figure(counts: Plain, total: int, evidence: str) -> tuple[str, str]:
    """How many operators run where, and what that rests on: what nobody knows is no refusal."""
    if not counts["unknown"]:
        return f"{counts['npu']} of {total}", f"on the NPU, {evidence}"
    known = f"{counts['cpu']} on the CPU" if counts["cpu"] else "unknown"
    return known, f"{counts['unknown']} of {total} unknown, {evidence}"
