"""The page of `edgesr report`: models, targets and devices in one table, with the differences that matter marked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from edgesr.report.documents import Document
from edgesr.report.export_page import NOTABLE_PSNR_DB
from edgesr.report.html import Child, Html, bullet_list, code, element, facts, paragraph, table
from edgesr.report.joined import Folder, Joined, Latency, Row
from edgesr.report.page import Page, Section, State, Tile, Verdict, badge, section
from edgesr.report.quality_page import NOTABLE_DROP_DB, drop_state
from edgesr.report.values import NONE, count, decibels, entry, milliseconds, moment, signed_decibels, size

FASTER = 1.05
"""How many times as long the next one must take for the fastest to be marked: less, another run may turn round."""


def joined_page(folders: Sequence[Folder], documents: Sequence[Document]) -> Page:
    """The page of some export folders and outputs of commands."""
    joined = Joined(folders, documents)
    models = list(dict.fromkeys(row.model for row in joined.rows if row.model))
    devices = _keys(row.latency for row in joined.rows)
    title = f"{', '.join(models) or 'Files'}: {count(len(joined.rows), 'file')} compared"
    return Page(
        kind="report",
        title=title,
        about=f"{count(len(folders), 'export folder')} and {count(len(documents), 'output')} of commands",
        verdicts=_verdicts(joined, devices),
        tiles=_tiles(joined, devices),
        sections=(
            section("Files side by side", _comparison(joined, devices), _rule(), bullet_list(joined.notes)),
            *_latencies(joined.rows, devices),
            *_npus(joined.rows),
            section("Where this comes from", *_sources(folders, documents)),
        ),
    )


def _keys(found: Iterable[Iterable[str]]) -> list[str]:
    return list(dict.fromkeys(key for one in found for key in one))


def _verdicts(joined: Joined, devices: Sequence[str]) -> tuple[Verdict, ...]:
    rows = joined.rows
    failed = [_named(row, rows) for row in rows if row.is_proven is False]
    unknown = [_named(row, rows) for row in rows if row.is_proven is None]
    found = [Verdict(State.BAD, f"Not proven: {', '.join(failed)}.")] if failed else []
    if unknown:
        found.append(Verdict(State.OPEN, f"No parity is known of {', '.join(unknown)}."))
    if not failed and not unknown:
        found.append(Verdict(State.GOOD, "Proven: every file computes what the float64 PyTorch network computes."))
    drops = [(quality.drop_db, _named(row, rows), images) for row in rows for images, quality in row.quality.items()]
    if drops:
        drop, name, images = max(drops)
        found.append(Verdict(drop_state(drop), f"The largest loss of PSNR is {drop:.3f} dB: {name} on {images}."))
    else:
        found.append(
            Verdict(State.OPEN, ["No quality was given: add an output of ", code("edgesr verify quality --json"), "."])
        )
    for device in devices:
        fastest = _fastest(rows, device)
        if fastest is not None:
            words = (
                f"Fastest on {device}: {_named(fastest, rows)}, {milliseconds(fastest.latency[device].median_ms)} ms."
            )
            found.append(Verdict(State.GOOD, words))
    if not devices:
        found.append(Verdict(State.OPEN, ["No speed was given: add an output of ", code("edgesr bench -o"), "."]))
    return tuple(found)


def _named(row: Row, rows: Sequence[Row]) -> str:
    """A file by its name, with its folder where several have one of that name."""
    return row.file if sum(one.file == row.file for one in rows) == 1 else f"{row.file} of {row.place}"


def _fastest(rows: Sequence[Row], device: str) -> Row | None:
    """The row that is faster than every other one on a device by more than noise; None where there is none."""
    timed = sorted((row for row in rows if device in row.latency), key=lambda row: row.latency[device].median_ms)
    if len(timed) < 2 or timed[1].latency[device].median_ms < FASTER * timed[0].latency[device].median_ms:
        return None
    return timed[0]


def _tiles(joined: Joined, devices: Sequence[str]) -> tuple[Tile, ...]:
    rows = joined.rows
    proven = sum(row.is_proven is True for row in rows)
    tiles = [
        Tile(
            "Proven",
            f"{proven} of {len(rows)}",
            "within limits of PyTorch",
            State.GOOD if proven == len(rows) else State.DOUBTFUL,
        )
    ]
    sized = [row for row in rows if row.artifact is not None]
    if sized:
        smallest = min(sized, key=lambda row: int(entry(row.artifact, "size_bytes")))
        tiles.append(Tile("Smallest", size(entry(smallest.artifact, "size_bytes")), _named(smallest, rows)))
    drops = [(q.drop_db, row) for row in rows for q in row.quality.values()]
    if drops:
        drop, row = max(drops, key=lambda pair: pair[0])
        tiles.append(Tile("Largest loss", f"{drop:+.3f} dB", _named(row, rows), drop_state(drop)))
    for device in devices:
        fastest = min((row for row in rows if device in row.latency), key=lambda row: row.latency[device].median_ms)
        words = f"Fastest on {device}"
        tiles.append(Tile(words, f"{milliseconds(fastest.latency[device].median_ms)} ms", _named(fastest, rows)))
    return tuple(tiles)


def _comparison(joined: Joined, devices: Sequence[str]) -> Html:
    rows = joined.rows
    images = _keys(row.quality for row in rows)
    header = ["File", "Folder", "Model", "Target", "Size", "Parity", "Worst photograph dB"]
    header += [f"{words}, {name}" for name in images for words in ("PSNR dB", "lost dB")]
    header += [f"ms, {device}" for device in devices]
    header += ["Operators on CPU"] if any(row.off_npu for row in rows) else []
    lines = [_line(row, images, devices, rows) for row in rows]
    numeric = (4, *range(6, 7 + 2 * len(images) + len(devices)))
    return table("Models, targets and devices", header, [line[: len(header)] for line in lines], numeric)


def _line(row: Row, images: Sequence[str], devices: Sequence[str], rows: Sequence[Row]) -> list[Child]:
    cells: list[Child] = [row.file, row.place, _model(row, rows), entry(row.artifact, "target") or NONE,
                          size(entry(row.artifact, "size_bytes")), _parity(row), _photograph(row)]  # fmt: skip
    for name in images:
        quality = row.quality.get(name)
        cells += [NONE, NONE] if quality is None else [
            decibels(quality.psnr_db, 3), badge(drop_state(quality.drop_db), signed_decibels(quality.drop_db))
        ]  # fmt: skip
    cells += [_latency(row.latency.get(device), _fastest(rows, device) is row) for device in devices]
    return [*cells, _off(row)]


def _model(row: Row, rows: Sequence[Row]) -> str:
    """A network's name, with the start of its weights' sha256 where others have that name."""
    digests = {entry(one.artifact, "facts", "model", "sha256") for one in rows if one.model == row.model}
    if row.model is None or len(digests) == 1:
        return row.model or NONE
    return f"{row.model} ({str(entry(row.artifact, 'facts', 'model', 'sha256'))[:6]})"


def _parity(row: Row) -> Html:
    if row.is_proven is None:
        return badge(State.OPEN, "not known")
    checks = f", {count(row.checks, 'check')}" if row.checks else ""
    return badge(State.GOOD, f"within limits{checks}") if row.is_proven else badge(State.BAD, "fails")


def _photograph(row: Row) -> Child:
    shown = decibels(row.photograph_db, 1)
    doubtful = row.is_integer and row.photograph_db is not None and row.photograph_db < NOTABLE_PSNR_DB
    return badge(State.DOUBTFUL, shown) if doubtful else shown


def _latency(latency: Latency | None, is_fastest: bool) -> Child:
    if latency is None:
        return NONE
    ratio = "" if latency.ratio is None else f" ({latency.ratio:.2f} of PyTorch)"
    words = f"{milliseconds(latency.median_ms)}{ratio}"
    if is_fastest:
        return badge(State.GOOD, words)
    return badge(State.DOUBTFUL, words) if latency.ratio is not None and latency.ratio > 1 else words


def _off(row: Row) -> Child:
    off = [npu for npu, n in row.off_npu.items() if n]
    if off:
        return badge(State.DOUBTFUL, f"on {len(off)} of {count(len(row.off_npu), 'NPU')}")
    return badge(State.GOOD, "none known") if row.off_npu else NONE


def _rule() -> Html:
    return paragraph(
        f"Marked: parity that fails; less than {NOTABLE_PSNR_DB:g} dB to the float network on a photograph, INT8; more "
        f"than {NOTABLE_DROP_DB:g} dB of PSNR lost; longer than PyTorch of that run; operators on an NPU's CPU; and "
        f"the fastest file, where the next one takes {FASTER:g} times as long or more.",
        class_="pale",
    )


def _latencies(rows: Sequence[Row], devices: Sequence[str]) -> tuple[Section, ...]:
    if not devices:
        return ()
    lines = [
        (_named(row, rows), *(_latency(row.latency.get(device), _fastest(rows, device) is row) for device in devices))
        for row in rows
        if row.latency
    ]
    caption = (
        "Median in ms, in the runner that was fastest there; each column is one run, others do not compare with it"
    )
    numeric = tuple(range(1, len(devices) + 1))
    return (section("Latency by device", table(caption, ("File", *devices), lines, numeric)),)


def _npus(rows: Sequence[Row]) -> tuple[Section, ...]:
    npus = _keys(row.off_npu for row in rows)
    if not npus:
        return ()
    lines = [(_named(row, rows), *(_place(row, npu) for npu in npus)) for row in rows if row.off_npu]
    return (section("Operators on NPUs", table("Operators on the CPU", ("File", *npus), lines)),)


def _place(row: Row, npu: str) -> Child:
    if npu not in row.off_npu:
        return NONE
    off = row.off_npu[npu]
    if off is None:
        return badge(State.OPEN, "unknown in part")
    return badge(State.BAD, f"{off} on the CPU") if off else badge(State.GOOD, "whole")


def _sources(folders: Sequence[Folder], documents: Sequence[Document]) -> list[Child]:
    parts: list[Child] = []
    for folder in folders:
        first = folder.artifacts[0]
        versions = ", ".join(f"{k} {v}" for k, v in (entry(first, "facts", "versions") or {}).items())
        digests = [(str(artifact["file"]), code(artifact["sha256"])) for artifact in folder.artifacts]
        parts += [element("h3", folder.name), facts([("Written", moment(entry(first, "facts", "created"))),
                                                     ("Versions", versions), *digests])]  # fmt: skip
    if documents:
        rows = [(document.name, document.kind.value, str(len(document.values))) for document in documents]
        parts.append(table("Outputs of commands", ("File", "Command", "Records"), rows, (2,)))
    return parts
