"""The parent's side of `qnn_worker`: start it, limit its time, keep its whole output, and check its answer.

Whatever the child does - fail, crash, hang, answer with garbage - becomes one `ExportError` that names the operator,
the cure and the saved log.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgesr.errors import ExportError
from edgesr.program import signal_name
from edgesr.qnn_log import OTHER_CURE, explain, last_operator
from edgesr.qnn_session import Subgraph
from edgesr.qualcomm import Soc

WORKER = (sys.executable, "-m", "edgesr.export.npu.qnn_worker")
TIME_LIMIT_S = 300.0
"""SPANV2 at 270x480 takes seconds; QNN has been seen to work for minutes on a graph that fits no memory."""
_SMALLER = "export a smaller --size and tile the image"


@dataclass(frozen=True)
class Job:
    """One graph for the worker; `label` is what errors call it, `log` where its output goes."""

    model: Path
    label: str
    soc: Soc
    whole: bool
    log: Path
    context: Path | None = None
    time_limit_s: float = TIME_LIMIT_S
    command: Sequence[str] = WORKER


@dataclass(frozen=True)
class Answer:
    """What the worker found: the seconds that QNN took, and which pieces each provider got."""

    seconds: float
    subgraphs: tuple[Subgraph, ...]


def run_worker(job: Job, scratch: Path) -> Answer:
    """The worker's answer; `scratch` is an empty folder for it. Raises `ExportError`."""
    request, answer = scratch / "request.json", scratch / "answer.json"
    plain = {
        "model": str(job.model.resolve()),
        "soc": job.soc.part,
        "whole": job.whole,
        "context": str(job.context) if job.context else None,
        "answer": str(answer),
    }
    request.write_text(json.dumps(plain), encoding="utf-8")
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with job.log.open("wb") as log:
        try:
            code = subprocess.run(
                [*job.command, str(request)], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                cwd=scratch, timeout=job.time_limit_s, check=False,
            ).returncode  # fmt: skip
        except subprocess.TimeoutExpired:
            raise _error(job, f"QNN was stopped after {job.time_limit_s:g} s", _SMALLER) from None
    return _read(job, answer, code)


def _read(job: Job, path: Path, code: int) -> Answer:
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _error(job, f"QNN's process {_ending(code)} without an answer", OTHER_CURE) from None
    except (OSError, ValueError):
        raise _error(job, "QNN's process answered with what is no JSON", OTHER_CURE) from None
    if isinstance(plain, dict) and "error" in plain:
        why, cure = explain(_text(job.log)) or (str(plain["error"]), OTHER_CURE)
        raise ExportError(_line(job, why, cure))
    try:
        pieces = tuple(
            Subgraph(str(piece["provider"]), tuple((str(name), str(kind)) for name, kind in piece["nodes"]))
            for piece in plain["subgraphs"]
        )
        return Answer(float(plain["seconds"]), pieces)
    except (KeyError, TypeError, ValueError):
        raise _error(job, "QNN's process answered with something else than was asked", OTHER_CURE) from None


def _error(job: Job, what: str, cure: str) -> ExportError:
    """An error of a child that said nothing of use: the operator it was last at may be the reason."""
    operator = last_operator(_text(job.log))
    return ExportError(_line(job, what + (f", last at {operator}" if operator else ""), cure))


def _line(job: Job, why: str, cure: str) -> str:
    return f"{job.label} does not compile for {job.soc.describe()}: {why}; {cure}; full log: {job.log}"


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with code {code}"
    return f"was killed by {signal_name(-code)}"


def _text(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")
