"""What a report shows of a file beyond its manifest: every row of its check, both graphs, pictures, NPUs by tables.

It stays beside the proof as `reference/<file>.report.json`, so that a later export into the same folder and
`edgesr report` still show it. Where it is missing or belongs to other bytes, a report shows what the manifest knows.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

from edgesr.api.auditing import audit
from edgesr.api.staging import REFERENCE_FOLDER
from edgesr.api.verifying import proof_graph
from edgesr.artifact import Artifact, Manifest
from edgesr.convolution import Convolution
from edgesr.errors import EdgeSRError
from edgesr.graph import Graph
from edgesr.json_numbers import finite
from edgesr.operator import Activation, Op
from edgesr.ops import Constant, DepthToSpace
from edgesr.quantized import float_graph
from edgesr.report.crops import describe_picture
from edgesr.report.values import Plain
from edgesr.runtime.parity import ParityReport
from edgesr.runtime.tolerance import FLOAT_TOLERANCES, INTEGER_TOLERANCE, WIDE_TOLERANCE, YARDSTICK_FACTOR
from edgesr.target import Target

VERSION = 1


def details_name(file: str) -> str:
    """Where the details of a file lie in its export folder."""
    return f"{REFERENCE_FOLDER}/{file}.report.json"


def describe_file(manifest: Manifest, artifact: Artifact, parity: ParityReport, captured: Graph | None) -> Plain:
    """The details of a file that stands in its place; `captured` is the graph before any fold, None without one."""
    return {
        "version": VERSION,
        "sha256": artifact.sha256,
        "limits": limits_in_words(artifact.find_target()),
        "parity": finite(parity.to_json()),
        "pictures": [describe_picture(picture) for picture in parity.pictures],
        "graphs": _graphs(manifest, artifact, captured),
        "audit": _audit(manifest.folder / artifact.file, artifact.file),
    }


def serialize_details(details: Plain) -> bytes:
    """The bytes that `load_details` reads."""
    return json.dumps(details, allow_nan=False, separators=(",", ":")).encode()


def load_details(manifest: Manifest) -> dict[str, Plain]:
    """The details of a folder's artifacts by file, of those that have some about the bytes that the manifest lists."""
    found: dict[str, Plain] = {}
    for artifact in manifest.artifacts:
        with suppress(OSError, ValueError, RecursionError):  # what cannot be read is not shown
            details = json.loads((manifest.folder / details_name(artifact.file)).read_text(encoding="utf-8"))
            known = (details.get("version"), details.get("sha256")) if isinstance(details, dict) else ()
            if known == (VERSION, artifact.sha256):
                found[artifact.file] = details
    return found


def limits_in_words(target: Target) -> list[str]:
    """What a file of this target must keep to; docs/numerics.md derives each number."""
    if target.precision.is_integer:
        loss, steps, wide = INTEGER_TOLERANCE.psnr_loss_db, INTEGER_TOLERANCE.max_lsb, WIDE_TOLERANCE.max_lsb
        return [
            f"end to end: PSNR at most {loss:g} dB below that of exact integer arithmetic, and a margin for few pixels",
            f"each operator: within {steps} step of exact arithmetic on its own inputs, {wide} where it has 16 bits",
        ]
    limits = FLOAT_TOLERANCES[target.precision]
    return [
        f"largest error {limits.max_abs:g} of the value range, relative L2 {limits.relative_l2:g}, "
        f"PSNR {limits.psnr_db:g} dB",
        f"where PyTorch's own float32 errs by more than a third of that: {YARDSTICK_FACTOR:g} times its error",
    ]


def _graphs(manifest: Manifest, artifact: Artifact, captured: Graph | None) -> Plain | None:
    network = proof_graph(manifest, artifact)
    if network is None or captured is None:
        return None
    return {"captured": _operators(captured), "folded": _operators(float_graph(network))}


def _operators(graph: Graph) -> list[Plain]:
    return [
        {"name": op.name, "kind": type(op).__name__, "inputs": list(op.inputs), "detail": _detail(graph, op)}
        for op in graph
        if not isinstance(op, Constant)
    ]


def _detail(graph: Graph, op: Op) -> str:
    """Kernel, channels in and out, scale and fused activation, in a few signs."""
    spec, first = graph.specs[op.name], graph.specs[op.inputs[0]]
    words = ["x".join(map(str, op.kernel))] if isinstance(op, Convolution) else []
    words += [f"block {op.block}"] if isinstance(op, DepthToSpace) else []
    words.append(f"{first.channels}\N{RIGHTWARDS ARROW}{spec.channels}" if first.channels != spec.channels
                 else f"{spec.channels}")  # fmt: skip
    if isinstance(op, Convolution) and op.group_count > 1:
        words.append(f"groups {op.group_count}")
    words += [f"at {spec.scale}x"] if spec.scale not in (None, 1) else []
    activation = getattr(op, "activation", Activation.NONE)
    return ", ".join(words) + (f" + {activation.value}" if activation is not Activation.NONE else "")


def _audit(path: Path, name: str) -> Plain | None:
    """Where the file's operators run by the tables, which takes no compiler; None where they cannot be read."""
    try:
        plain = audit(path, compilers=()).to_json()
    except EdgeSRError:
        return None
    subjects = plain["subjects"]
    assert isinstance(subjects, list)  # AuditReport.to_json makes one
    return {"subjects": [{**subject, "name": name} for subject in subjects]}
