"""Several exports and what was measured of them, brought together: one row for each file, found by its name and bytes.

Outputs of commands name files without their folders, and say their sha256; an audit names the folder. Where neither is
known, a figure belongs to the one folder that holds a file of that name. What belongs to no folder, because the file
was written anew since, or to several, stands in a row of its own, under the output's name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import PurePath

from edgesr.report.audit_sections import decisive, off_npu
from edgesr.report.documents import Document, Kind
from edgesr.report.parity_sections import failures, natural_db
from edgesr.report.values import Plain, entry, image_size, number


@dataclass(frozen=True)
class Folder:
    """One export folder: what its manifest lists, and the details of its files that are known."""

    name: str
    artifacts: tuple[Plain, ...]
    details: Mapping[str, Plain]


@dataclass(frozen=True)
class Quality:
    """PSNR in dB on one set of images, and what it lost against the float network."""

    psnr_db: float | None
    drop_db: float


@dataclass(frozen=True)
class Latency:
    """A median in one runner on one device at one size, over PyTorch eager's of the same run, None where unknown."""

    runner: str
    median_ms: float
    ratio: float | None


@dataclass
class Row:
    """One file, and all that is known of it; keys are the sets of images, the devices with their sizes, and the NPUs.

    `is_proven` is None where no parity is known. `off_npu` counts operators on the CPU, None for those unknown in part.
    """

    file: str
    place: str
    artifact: Plain | None = None
    is_proven: bool | None = None
    photograph_db: float | None = None
    checks: int = 0
    quality: dict[str, Quality] = field(default_factory=dict)
    latency: dict[str, Latency] = field(default_factory=dict)
    off_npu: dict[str, int | None] = field(default_factory=dict)

    @property
    def model(self) -> str | None:
        """The network's name."""
        name = entry(self.artifact, "facts", "model", "name")
        return name if isinstance(name, str) else None

    @property
    def is_integer(self) -> bool:
        """Whether the file computes in integers."""
        return isinstance(entry(self.artifact, "facts", "quantization"), Mapping)


class Joined:
    """The rows in the order of the folders; `notes` say what could not be attributed.

    Raises KeyError, TypeError or ValueError where an output lacks a part.
    """

    def __init__(self, folders: Sequence[Folder], documents: Sequence[Document]) -> None:
        self.rows = [_from_folder(folder, artifact) for folder in folders for artifact in folder.artifacts]
        self.notes: list[str] = []
        self._runs: dict[str, str] = {}
        for document in documents:
            for value in document.values:
                _ADDERS[document.kind](self, value, document.name)

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return {"files": [_row_json(row) for row in self.rows], "notes": list(self.notes)}

    def device(self, label: str, document: str) -> str:
        """A device's key: of one benchmark alone, since milliseconds of different runs do not compare."""
        own = self._runs.setdefault(label, document) == document
        return label if own else f"{label} ({PurePath(document).name})"

    def row(self, file: str, document: str, sha256: str | None = None, folder: str | None = None) -> Row:
        """The row of a file that an output names; a new one where it is none of the folders', or of several."""
        named = [row for row in self.rows if row.file == file and row.artifact is not None]
        found = named
        if sha256 is not None:
            found = [row for row in named if entry(row.artifact, "sha256") == sha256]
        elif folder is not None and any(PurePath(row.place) == PurePath(folder) for row in named):
            found = [row for row in named if PurePath(row.place) == PurePath(folder)]
        own = [row for row in self.rows if (row.file, row.place) == (file, document)]
        if len(found) == 1:
            return found[0]
        if not own:
            if len(found) > 1:
                places = ", ".join(row.place for row in found)
                self.notes.append(f"{document}: {file} lies in {places}; its figures stand in a row of their own.")
            elif named:
                self.notes.append(f"{document}: {file} is not the one in {named[0].place}, its bytes differ.")
            self.rows.append(Row(file, document))
            return self.rows[-1]
        return own[0]


def _row_json(row: Row) -> dict[str, object]:
    return {
        "file": row.file,
        "place": row.place,
        "model": row.model,
        "target": entry(row.artifact, "target"),
        "size_bytes": entry(row.artifact, "size_bytes"),
        "sha256": entry(row.artifact, "sha256"),
        "proven": row.is_proven,
        "worst_photograph_db": row.photograph_db,
        "quality": {name: asdict(quality) for name, quality in row.quality.items()},
        "latency": {device: asdict(latency) for device, latency in row.latency.items()},
        "operators_on_cpu": dict(row.off_npu),
    }


def _from_folder(folder: Folder, artifact: Plain) -> Row:
    row = Row(artifact["file"], folder.name, artifact, entry(artifact, "facts", "parity", "passed") is True)
    details = folder.details.get(row.file)
    parity = entry(details, "parity")
    if parity is not None:
        row.photograph_db, row.checks = natural_db(parity, row.file), _checks(parity, row.file)
    _add_npus(row, entry(details, "audit"), None)
    return row


def _checks(parity: Plain, file: str) -> int:
    return sum(row["file"] == file for row in (*parity["end_to_end"], *parity["operators"]))


def _add_parity(joined: Joined, value: Plain, document: str) -> None:
    for file in dict.fromkeys(row["file"] for row in value["end_to_end"]):
        row = joined.row(file, document, entry(value, "sha256", file))
        row.is_proven, row.checks = not failures(value, file), _checks(value, file)
        row.photograph_db = natural_db(value, file)


def _add_quality(joined: Joined, value: Plain, document: str) -> None:
    for result in value["results"]:
        quality = result["quality"]
        images = f"{quality['n']} images of {'/'.join(PurePath(quality['lr_folder']).parts[-2:])}"
        drop = number(result["drop_db"]) or 0.0
        row = joined.row(result["file"], document, result.get("sha256"))
        row.quality[images] = Quality(number(quality["psnr_db"]), drop)


def _add_bench(joined: Joined, value: Plain, document: str) -> None:
    for result in value["results"]:
        if "median_ms" not in result:
            joined.notes.append(f"{document}: {result['name']} was emulated; instructions are no time.")
            continue
        known = {entry(row.artifact, "sha256") for row in joined.rows}
        digest = result.get("sha256")
        if digest not in known and not str(result["name"]).endswith((".tflite", ".onnx")):
            continue  # PyTorch eager, which ratios are to
        row = joined.row(str(result["name"]), document, digest)
        threads = result.get("threads") or value["threads"]
        device = f"{value['device']}, {image_size(value['size'])}" + (f", {threads} threads" if threads > 1 else "")
        device = joined.device(device, document)
        latency = Latency(str(result["runner"]), float(result["median_ms"]), number(result.get("ratio_to_torch")))
        if device not in row.latency or latency.median_ms < row.latency[device].median_ms:
            row.latency[device] = latency


def _add_audit(joined: Joined, value: Plain, document: str) -> None:
    for subject in value["subjects"]:
        name = PurePath(subject["name"]).name
        if name.endswith((".tflite", ".onnx")):
            folder = str(PurePath(subject["name"]).parent)
            _add_npus(joined.row(name, document, folder=folder), value, subject["name"])
        else:
            joined.notes.append(f"{document}: {subject['name']} is a network, no file; its own report shows it.")


def _add_npus(row: Row, audit: Plain | None, name: str | None) -> None:
    for subject in (audit or {"subjects": []})["subjects"]:
        if name in (None, subject["name"]):
            off = dict(off_npu(audit, subject["name"]))
            for one in subject["npus"]:
                unknown = decisive(one)["counts"]["unknown"]
                row.off_npu[one["npu"]] = off.get(one["npu"]) or (None if unknown else 0)


_ADDERS = {
    Kind.PARITY: _add_parity, Kind.QUALITY: _add_quality, Kind.BENCH: _add_bench, Kind.AUDIT: _add_audit,
}  # fmt: skip
