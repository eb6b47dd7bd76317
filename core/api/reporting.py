"""Reports that people read, from what commands found, from export folders, and from several of both together."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from edgesr.api.auditing import AuditReport
from edgesr.api.estimating import FileEstimate
from edgesr.api.report_details import limits_in_words, load_details
from edgesr.api.verifying import QualityComparison
from edgesr.artifact import MANIFEST_NAME, locate
from edgesr.atomic import write_atomically
from edgesr.compared_picture import ComparedPicture
from edgesr.errors import ArtifactError
from edgesr.json_numbers import finite
from edgesr.report.audit_page import audit_page
from edgesr.report.bench_page import bench_page
from edgesr.report.crops import describe_picture
from edgesr.report.documents import KEYS, Document, Kind, recognise
from edgesr.report.estimate_page import estimate_page
from edgesr.report.joined import Folder, Joined
from edgesr.report.joined_page import joined_page
from edgesr.report.model_explorer import overlays
from edgesr.report.page import Page, render
from edgesr.report.parity_page import parity_page
from edgesr.report.quality_page import quality_page
from edgesr.report.values import Plain
from edgesr.runtime.bench_record import BenchRecord
from edgesr.runtime.parity import ParityReport

TAKEN = f"give export folders, or what {', '.join(kind.value for kind in KEYS)} printed with --json"


def report(sources: Sequence[Path], out: Path) -> Joined:
    """Write one page that compares export folders and commands' JSON outputs; returns what it compares.

    Raises `ArtifactError` for a source that is missing, foreign, damaged or given twice, and for none, and
    `ExportError` where `out` cannot be written.
    """
    if not sources:
        raise ArtifactError(f"nothing to report on; {TAKEN}")
    folders: dict[Path, Folder] = {}
    documents: dict[Path, Document] = {}
    for source in sources:
        path = source.parent if source.name == MANIFEST_NAME else source
        if path.is_dir():
            folders[path.resolve()] = _read_folder(path)
        else:
            documents[path.resolve()] = _read_document(path)
    given = tuple(folders.values()), tuple(documents.values())
    _write(joined_page(*given), out)
    return Joined(*given)


def report_parity(parity: ParityReport, subject: Path, out: Path) -> None:
    """Write the page of a parity check of `subject`."""
    names = {row.file for row in parity.rows}
    _, artifacts = locate(subject)
    limits = {a.file: limits_in_words(a.find_target()) for a in artifacts if a.file in names}
    pictures = [_described(picture) for picture in parity.pictures]
    _write(parity_page(_plain(parity.to_json()), _name(subject), pictures, limits), out)


def write_overlays(parity: ParityReport, folder: Path) -> tuple[Path, ...]:
    """Write what Model Explorer colours files by, and return the paths; raises `ExportError` where it cannot."""
    paths = []
    for name, content in overlays(_plain(parity.to_json())):
        with write_atomically(folder / name) as temporary:
            temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
        paths.append(folder / name)
    return tuple(paths)


def report_quality(results: Sequence[QualityComparison], subject: Path, out: Path, peers: Plain | None = None) -> None:
    """Write the page of a quality measurement of `subject`; `peers` are the other tools' part of the JSON."""
    plain = _plain({"results": [result.to_json() for result in results], **(peers or {})})
    pictures = [_described(picture) for result in results for picture in result.pictures]
    _write(quality_page(plain, _name(subject), pictures), out)


def report_audit(audited: AuditReport, subject: str, out: Path) -> None:
    """Write the page of an audit of `subject`, a path or a model's name."""
    _write(audit_page(_plain(audited.to_json()), _name(Path(subject))), out)


def report_bench(records: Sequence[BenchRecord], subject: Path, out: Path) -> None:
    """Write the page of benchmarks of `subject`, at least one."""
    _write(bench_page([_plain(record.to_json()) for record in records], _name(subject)), out)


def report_estimates(device: str, estimates: Sequence[FileEstimate], subject: Path, out: Path) -> None:
    """Write the page of a compiler's estimates for `subject`."""
    _write(estimate_page(device, [_plain(one.to_json()) for one in estimates], _name(subject)), out)


def _name(path: Path) -> str:
    return path.name or path.resolve().name


def _described(picture: ComparedPicture) -> Plain:
    return {"file": picture.file, **describe_picture(picture)}


def _plain(value: Plain) -> Plain:
    """Values exactly as `--json` prints them."""
    plain: Plain = json.loads(json.dumps(finite(value), allow_nan=False))
    return plain


def _write(page: Page, out: Path) -> None:
    text = render(page)
    with write_atomically(out) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _read_folder(path: Path) -> Folder:
    manifest, artifacts = locate(path)
    folder = Folder(str(path), tuple(artifact.to_json() for artifact in artifacts), load_details(manifest))
    _try(lambda: Joined([folder], []), path, "a whole export")
    return folder


def _read_document(path: Path) -> Document:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtifactError(f"{path} does not exist; {TAKEN}") from error
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror or error}; check its permissions") from error
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path} is no JSON ({error}); {TAKEN}") from error
    document = recognise(value, str(path))
    if document is None:
        raise ArtifactError(f"{path} is none of edgesr's outputs; {TAKEN}")
    if document.kind is Kind.BENCH:
        records = tuple(_plain(BenchRecord.from_json(one, str(path)).to_json()) for one in document.values)
        return Document(document.name, document.kind, records)
    _try(lambda: Joined([], [document]), path, f"a whole output of {document.kind.value}")
    return document


def _try(build: Callable[[], object], path: Path, what: str) -> None:
    """Raise `ArtifactError` for values that lack what is needed."""
    try:
        build()
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ArtifactError(f"{path} is not {what} ({type(error).__name__}: {error}); run the command again") from error
