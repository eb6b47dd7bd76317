"""The page of an export folder: what was made and from what, how it is used, what is proven, what INT8 loses."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from edgesr.report.audit_sections import audit_parts, off_npu
from edgesr.report.graph_parts import fold_table, graph_parts
from edgesr.report.html import Child, Html, code, element, facts, fold_away, join, paragraph, table
from edgesr.report.page import Page, Section, State, Tile, Verdict, badge, section
from edgesr.report.parity_sections import case_parts, natural_db, operator_parts
from edgesr.report.pictures import picture_parts
from edgesr.report.use_section import use_parts
from edgesr.report.values import Plain, count, decibels, entry, integer, moment, scientific, size

NOTABLE_PSNR_DB = 40.0
"""PSNR to the float network below which an error may be seen: 2.6 levels of 1/255 (RMS)."""
Details = Mapping[str, Plain]
"""What is known of a file beyond its manifest, by the file's name; not all files have any."""


def export_page(artifacts: Sequence[Plain], details: Details) -> Page:
    """The page of a manifest's artifacts; `details` are those of `api.report_details`."""
    models = list(dict.fromkeys(str(entry(a, "facts", "model", "name")) for a in artifacts))
    first, written = artifacts[0], max(str(entry(artifact, "facts", "created")) for artifact in artifacts)
    source, version = entry(first, "facts", "model", "source"), entry(first, "facts", "versions", "edgesr")
    return Page(
        kind="export",
        title=f"{', '.join(models)}: {count(len(artifacts), 'file')}",
        about=f"x{first['contract']['upscale']} from {source}; last written {moment(written)}, edgesr {version}",
        verdicts=_verdicts(artifacts, details),
        tiles=_tiles(artifacts, details),
        sections=(
            section("Files", _files(artifacts)),
            section("How to use a file", *use_parts(artifacts)),
            *_pictures(artifacts, details),
            section("Parity with PyTorch", *_parity(artifacts, details)),
            *_layers(artifacts, details),
            section("The graph before and after folding", *_graph(artifacts, details)),
            *_npus(artifacts, details),
            section("Origin and versions", *_origin(artifacts)),
        ),
    )


def is_integer(artifact: Plain) -> bool:
    """Whether a file computes in integers."""
    return isinstance(entry(artifact, "facts", "quantization"), Mapping)


def is_proven(artifact: Plain) -> bool:
    """Whether a file's own check passed when it was exported."""
    return entry(artifact, "facts", "parity", "passed") is True


def photograph_db(artifact: Plain, details: Details) -> float | None:
    """PSNR to the float64 network on the worst photograph of a file's check."""
    parity = entry(details.get(artifact["file"]), "parity")
    return None if parity is None else natural_db(parity, artifact["file"])


def int8_verdict(known: Sequence[tuple[float, str]]) -> Verdict:
    """What INT8 does to the worst photograph, from PSNR to the float network and the file."""
    worst, file = min(known)
    if worst >= NOTABLE_PSNR_DB:
        return Verdict(
            State.GOOD, f"INT8 error hard to see: {file}, the worst, is {worst:.1f} dB from the float network."
        )
    words = f"INT8 error may be seen: {file} is {worst:.1f} dB from the float network, below {NOTABLE_PSNR_DB:g} dB."
    return Verdict(State.DOUBTFUL, words)


def _verdicts(artifacts: Sequence[Plain], details: Details) -> tuple[Verdict, ...]:
    failed = [artifact["file"] for artifact in artifacts if not is_proven(artifact)]
    proven = "Proven: every file computes what the float64 PyTorch network computes, within its limits."
    found = [Verdict(State.BAD, f"Not proven: {', '.join(failed)}.") if failed else Verdict(State.GOOD, proven)]
    integers = [artifact for artifact in artifacts if is_integer(artifact)]
    known = [(db, a["file"]) for a in integers if (db := photograph_db(a, details)) is not None]
    found += [int8_verdict(known)] if known else []
    found += [Verdict(State.DOUBTFUL, words) for words in _off_npu(integers or artifacts, details)]
    notes = dict.fromkeys(str(note) for a in integers for note in entry(a, "facts", "quantization", "notes") or ())
    found += [Verdict(State.DOUBTFUL, note) for note in notes]
    unknown = ["Not measured here: speed, by ", code("edgesr bench"), "; quality against true pictures, by "]
    return (*found, Verdict(State.OPEN, [*unknown, code("edgesr verify quality"), "."]))


def _off_npu(artifacts: Sequence[Plain], details: Details) -> list[str]:
    """One sentence for the files that leave the same operators to the CPU."""
    found: dict[tuple[tuple[str, int], ...], list[str]] = {}
    for artifact in artifacts:
        off = off_npu(entry(details.get(artifact["file"]), "audit"))
        if off:
            found.setdefault(tuple(off), []).append(artifact["file"])
    return [
        f"By dated tables, {', '.join(files)} leaves operators to the CPU on "
        f"{', '.join(f'{npu} ({n})' for npu, n in off)}."
        for off, files in found.items()
    ]


def _tiles(artifacts: Sequence[Plain], details: Details) -> tuple[Tile, ...]:
    tiles = [_tile(artifact, photograph_db(artifact, details)) for artifact in artifacts]
    graph = entry(artifacts[0], "facts", "graph")
    if isinstance(graph, Mapping):
        operators, macs = sum(graph["operators"].values()), graph["macs_per_input_pixel"]
        tiles.append(Tile("Graph", f"{operators} ops", f"{integer(graph['parameters'])} parameters"))
        tiles.append(Tile("Work", f"{macs / 1e3:,.0f} k", "multiply-accumulates for an input pixel"))
    return tuple(tiles)


def _tile(artifact: Plain, db: float | None) -> Tile:
    note = f"worst photograph {db:.1f} dB from PyTorch" if db is not None else ""
    doubtful = db is not None and is_integer(artifact) and db < NOTABLE_PSNR_DB
    state = State.BAD if not is_proven(artifact) else State.DOUBTFUL if doubtful else State.GOOD
    return Tile(artifact["target"], size(artifact["size_bytes"]), note, state)


def _files(artifacts: Sequence[Plain]) -> Html:
    rows = [
        (a["file"], a["target"], size(a["size_bytes"]), _proof(a), _worst(a), code(a["sha256"][:12])) for a in artifacts
    ]
    header = ("File", "Target", "Size", "Proof", "Worst case of its check", "sha256 begins")
    return table("What lies in this folder beside manifest.json", header, rows, (2,))


def _proof(artifact: Plain) -> Html:
    if not is_proven(artifact):
        return badge(State.BAD, "not within limits")
    small = entry(artifact, "facts", "parity", "on_small_copy")
    return badge(State.GOOD, "within limits, on a small copy" if small else "within limits")


def _worst(artifact: Plain) -> str:
    worst = entry(artifact, "facts", "parity", "worst") or {}
    rows = {runner: row for runner, row in worst.items() if not runner.startswith("graph")} or worst
    shown = [
        f"{runner}: {decibels(row['psnr_db'], 1)} dB, error {scientific(row['max_abs'])}"
        for runner, row in rows.items()
    ]
    return "; ".join(shown)


def _pictures(artifacts: Sequence[Plain], details: Details) -> tuple[Section, ...]:
    parts = [
        part
        for artifact in artifacts
        for part in picture_parts(entry(details.get(artifact["file"]), "pictures") or [], artifact["target"])
    ]
    if not parts:
        return ()
    intro = paragraph(
        "A photograph of the parity check. FP32 is the network in PyTorch; no true picture is known here."
    )
    return (section("What INT8 does to a picture", intro, *parts),)


def _parity(artifacts: Sequence[Plain], details: Details) -> list[Child]:
    parts: list[Child] = []
    for artifact in artifacts:
        detail = details.get(artifact["file"])
        parity = entry(detail, "parity")
        parts.append(element("h3", artifact["file"]))
        if parity is None:
            parts.append(paragraph(f"Only the worst figures of its check are known: {_worst(artifact)}."))
        else:
            parts += case_parts(parity, artifact["file"], entry(detail, "limits") or ())
    every = code("edgesr verify parity")
    return [*parts, paragraph("An export checks few images in one runtime; ", every, " checks all, in every runtime.")]


def _layers(artifacts: Sequence[Plain], details: Details) -> tuple[Section, ...]:
    parts: list[Child] = []
    for artifact in sorted(artifacts, key=lambda artifact: not is_integer(artifact)):
        parity = entry(details.get(artifact["file"]), "parity")
        if parity is not None and parity["operators"]:
            shown = operator_parts(parity, artifact["file"])
            parts += shown if not parts else [fold_away(artifact["file"], *shown)]
    if not parts:
        return ()
    intro = paragraph(
        "SQNR is the level of the signal over that of its error, in dB: an operator's own, on the inputs that the "
        "runtime gave it, and what has accumulated up to it. Steps are those of its integers."
    )
    return (section("Operator by operator", intro, *parts),)


def _graph(artifacts: Sequence[Plain], details: Details) -> list[Child]:
    alike: dict[str, list[Plain]] = {}
    for artifact in artifacts:
        graphs = entry(details.get(artifact["file"]), "graphs")
        key = json.dumps([graphs, entry(artifact, "facts", "folds")], sort_keys=True)
        alike.setdefault(key, []).append(artifact)
    parts: list[Child] = []
    for group in alike.values():
        graphs = entry(details.get(group[0]["file"]), "graphs")
        folds = entry(group[0], "facts", "folds") or []
        parts.append(element("h3", ", ".join(artifact["file"] for artifact in group)))
        parts.append(fold_table(folds) if folds else paragraph("No fold changed this network."))
        parts += graph_parts(graphs) if graphs else []
    return parts


def _npus(artifacts: Sequence[Plain], details: Details) -> tuple[Section, ...]:
    parts: list[Child] = []
    for artifact in sorted(artifacts, key=lambda artifact: not is_integer(artifact)):
        audit = entry(details.get(artifact["file"]), "audit")
        if audit is not None:
            shown = audit_parts(audit, name=None)
            parts += shown if not parts else [fold_away(artifact["file"], *shown)]
    if not parts:
        return ()
    asked = paragraph(
        "By dated tables, no compiler was asked; ", code("edgesr audit"), " asks those that are installed."
    )
    return (section("Operators on NPUs", asked, *parts),)


def _origin(artifacts: Sequence[Plain]) -> list[Child]:
    alike: dict[Html, list[str]] = {}
    for artifact in artifacts:
        alike.setdefault(_one_origin(artifact), []).append(artifact["file"])
    return [join([element("h3", ", ".join(files)), origin]) for origin, files in alike.items()]


def _one_origin(artifact: Plain) -> Html:
    made = artifact["facts"]
    model, quantization = made.get("model") or {}, made.get("quantization") or {}
    config = ", ".join(f"{key} {value}" for key, value in (model.get("config") or {}).items())
    versions = ", ".join(f"{name} {version}" for name, version in (made.get("versions") or {}).items())
    images = quantization.get("calibration_images")
    return facts([
        ("Network", f"{model.get('name')} ({model.get('architecture')})"),
        ("NPU profile", entry(made, "npu", "profile")),
        ("Recipe", _recipe(quantization)),
        ("Calibrated on", None if images is None else f"{images} images, {quantization.get('calibration_source')}"),
        ("Written", moment(made.get("created"))),
        ("Converter", None if "converter" not in made else json.dumps(made["converter"])),
        ("Configuration", config),
        ("Weights", str(model.get("source"))),
        ("Their sha256", code(str(model.get("sha256")))),
        ("Versions", versions),
    ])  # fmt: skip


def _recipe(quantization: Plain) -> str | None:
    if "recipe" not in quantization:
        return None
    named = {"gptq": "GPTQ", "bias_correction": "bias correction"}
    used = [words for name, words in named.items() if quantization.get(name)]
    ranges = f"{quantization.get('ranges')} ranges"
    return f"{quantization['recipe']}: {', '.join([ranges, *used])}"
