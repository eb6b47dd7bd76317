"""An export folder that is never half-written: files are made and checked in a hidden folder within, then renamed.

The hidden folder `.edgesr-<pid>-<random>` stands in the export folder, so each rename is one step on one file system.
A process that was killed leaves it behind; the next export removes it once that process is gone. Files take their
places in this order, under a lock that other exports wait for:

1. the reference network, the graph and what a compiled file was compiled from, whose names come from their content, so
   that no proof of another file changes;
2. where a file of that name is listed with other bytes, or others beside it, a manifest without it;
3. the artifact, after the files that it needs beside it;
4. the manifest with it;
5. what is read by people alone: the report, and what it shows of the file.

Killed between two of them, every file that the manifest lists is whole and has the listed sha256.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from edgesr.artifact import MANIFEST_NAME, Artifact, Manifest, load_manifest
from edgesr.atomic import write_atomically
from edgesr.errors import ArtifactError, EdgeSRError, ExportError

TEMPORARY = re.compile(r"\.edgesr-(\d+)-[0-9a-f]{8}(\.\w+)?")
"""What this module and `edgesr.atomic` call their temporary files and folders: the process in the middle."""
REFERENCE_FOLDER = "reference"
WITHOUT = "manifest-without"


class Staging:
    """The hidden folder of one export into `out`."""

    def __init__(self, out: Path, hidden: Path) -> None:
        self.out = out
        self.folder = hidden

    def write(self, relative: str, content: bytes) -> Path:
        """Write a file that `place` will put at `relative` in the export folder; returns where it is until then."""
        path = self.folder / relative
        with write_atomically(path) as temporary:
            temporary.write_bytes(content)
        return path

    def place(self, artifact: Artifact) -> Manifest:
        """Put an artifact's staged files and its manifest entry in place; returns the manifest now."""
        with _locked(self.out):
            before = existing_manifest(self.out)
            replaced = next((old for old in before.artifacts if old.file == artifact.file), None)
            after = before.with_artifact(artifact)
            steps = [(self.folder / name, self.out / name) for name in _proofs(artifact)]
            if replaced is not None and _bytes_of(replaced) != _bytes_of(artifact):
                rest = tuple(old for old in before.artifacts if old is not replaced)
                steps.append((self._stage_manifest(rest, WITHOUT), self.out / MANIFEST_NAME))
            beside = [name for name in artifact.companions if name != artifact.source]
            steps += [(self.folder / name, self.out / name) for name in (*beside, artifact.file)]
            steps.append((self._stage_manifest(after.artifacts, ""), self.out / MANIFEST_NAME))
            _make_way(steps)
            _rename_all(steps)
            if replaced is not None:
                _remove_unused(after, replaced)
        return after

    def publish(self, relative: str, content: bytes) -> None:
        """Put a file that no artifact depends on in its place; raises `ExportError` where a folder has its name."""
        steps = [(self.write(relative, content), self.out / relative)]
        with _locked(self.out):
            _make_way(steps)
            _rename_all(steps)

    def _stage_manifest(self, artifacts: tuple[Artifact, ...], subfolder: str) -> Path:
        Manifest(self.folder / subfolder, artifacts).save()
        return self.folder / subfolder / MANIFEST_NAME


@contextmanager
def staged_export(out: Path) -> Iterator[Staging]:
    """A staging folder in `out`, which is created; nothing that was not placed is left on leaving.

    Raises `ExportError` at once where `out` cannot be written or holds a manifest that cannot be added to.
    """
    created = [folder for folder in (out, *out.parents) if not os.path.lexists(folder)]
    hidden = out / f".edgesr-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        with _named_by_place(hidden, out):
            existing_manifest(out)
            with write_atomically(hidden / "probe") as temporary:
                temporary.touch()
            remove_stale(out)
            yield Staging(out, hidden)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
        with suppress(OSError):
            for folder in created:
                folder.rmdir()


def existing_manifest(out: Path) -> Manifest:
    """The folder's manifest, an empty one where there is none yet; `ExportError` for one that cannot be added to."""
    path = out / MANIFEST_NAME
    if not os.path.lexists(path):
        return Manifest(out)
    try:
        return load_manifest(out)
    except ArtifactError as error:
        why = str(error).rpartition(";")[0] or str(error)
        raise ExportError(f"{why}; move it away, or choose another folder with -o") from error


def remove_stale(out: Path) -> list[Path]:
    """Remove what exports left that were killed, known by the process in the name being gone; returns what went."""
    removed: list[Path] = []
    for folder in (out, out / REFERENCE_FOLDER):
        for path in sorted(folder.glob(".edgesr-*")):
            match = TEMPORARY.fullmatch(path.name)
            if match is None or _is_running(int(match[1])):
                continue
            with suppress(OSError):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
                removed.append(path)
    return removed


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True


def _make_way(steps: Sequence[tuple[Path, Path]]) -> None:
    """Create the folders that the renames need; raise `ExportError`, before the first, for one that cannot succeed."""
    for _, target in steps:
        try:
            target.parent.mkdir(exist_ok=True)
        except OSError as error:
            raise ExportError(f"cannot write {target.parent}: {error.strerror}; choose another folder") from error
        if target.is_dir():
            raise ExportError(f"cannot write {target}: a folder has that name; remove it or choose another with -o")


def _rename_all(steps: Sequence[tuple[Path, Path]]) -> None:
    """Rename one after the other; an interrupt in between waits until the last is done."""
    interrupt: KeyboardInterrupt | None = None
    for source, target in steps:
        done = False
        while not done:
            try:
                if source.exists():
                    source.replace(target)
                done = True
            except KeyboardInterrupt as error:
                interrupt = error
    if interrupt is not None:
        raise interrupt


def _bytes_of(artifact: Artifact) -> tuple[str, Mapping[str, str]]:
    return artifact.sha256, artifact.companions


def _proofs(artifact: Artifact) -> dict[str, None]:
    """The files that an artifact is proved by, each once; their names come from their content."""
    return dict.fromkeys(name for name in (artifact.reference, artifact.graph, artifact.source) if name)


def _remove_unused(manifest: Manifest, replaced: Artifact) -> None:
    """Remove what a replaced artifact was proved by, and had beside it, where no other artifact stands on it."""
    used = {name for artifact in manifest.artifacts for name in (*_proofs(artifact), *artifact.companions)}
    for name in {*_proofs(replaced), *replaced.companions} - used:
        with suppress(OSError):
            (manifest.folder / name).unlink(missing_ok=True)


@contextmanager
def _named_by_place(hidden: Path, out: Path) -> Iterator[None]:
    """Let errors name the place that a file was meant for, not the hidden one."""
    try:
        yield
    except EdgeSRError as error:
        message = str(error).replace(str(hidden / "probe"), str(out)).replace(str(hidden), str(out))
        raise type(error)(message) from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one process at a time put files into a folder, where the system has such locks."""
    if sys.platform == "win32":
        yield
        return
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network file systems have no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
