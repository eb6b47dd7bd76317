"""An audit's page where a compiler failed: it says so everywhere, and nowhere that the NPU takes anything."""

from __future__ import annotations

import re
from typing import Any

from edgesr.report.audit_page import audit_page
from edgesr.report.page import render

WHY = "the compiler ended with code 3 <out of memory>"


def placed(place: str) -> dict[str, Any]:
    operator = {"name": "c1", "kind": "Conv2d", "place": place, "reason": "too wide", "remedy": ""}
    counts = {"npu": 0, "cpu": 0, "unknown": 0} | {place: 1}
    return {"operators": [operator], "counts": counts, "whole": place == "npu", "evidence": "table", "source": "table"}


def page_of(*npus: tuple[str, str, str | None]) -> str:
    """The words of an audit of one file for NPUs, each with where the table puts its operator and the failure."""
    audits = [
        {"npu": npu, "placements": [placed(place)], "compiler_failure": why, "warnings": [], "notes": []}
        for npu, place, why in npus
    ]
    audit = {"subjects": [{"name": "x.tflite", "gated": True, "notes": [], "npus": audits}]}
    text = render(audit_page(audit, "out"))
    body = text[text.index("<body") :]
    return re.sub(r"<(script|style).*?</\1>", "", body, flags=re.DOTALL)


def test_a_failed_compiler_is_no_npu() -> None:
    page = page_of(("qnn", "npu", WHY))
    assert page.count("not compiled") == 5, "verdict, tile, summary, kinds and reasons"
    assert "x.tflite: not compiled for qnn." in page and WHY.replace("<", "&lt;").replace(">", "&gt;") in page
    assert "whole on the NPU" not in page and "takes every operator" not in page and "on the CPU" not in page


def test_each_npu_is_called_what_it_is() -> None:
    page = page_of(("qnn", "npu", WHY), ("ethos-u85", "cpu", None), ("tensor-g5", "npu", None))
    assert "x.tflite: not compiled for qnn; operators on the CPU of ethos-u85 (1)." in page
    assert page.count("whole on the NPU") == 1 and "too wide" in page
    assert "Every NPU above takes every operator." in page_of(("tensor-g5", "npu", None))
