"""Building the files of a manifest again, and saying whether the same bytes come out."""

from __future__ import annotations

import contextlib
import platform
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgesr.api.exporting import export
from edgesr.api.facts import describe_versions
from edgesr.api.lock import Lock, describe_machine
from edgesr.api.rebuild_plan import LockedFile, RebuildPlan, RebuildRequest, plan_rebuild
from edgesr.artifact import Artifact
from edgesr.progress import Progress, silent


@dataclass(frozen=True)
class RebuiltFile:
    """A file's sha256 in the manifest and now; `differences` are what its lock and this machine differ in."""

    file: str
    target: str
    sha256: str
    rebuilt_sha256: str
    companions_same: bool
    differences: tuple[str, ...]

    @property
    def is_same(self) -> bool:
        """Whether the same bytes came out, in the file and in what it needs beside it."""
        return self.sha256 == self.rebuilt_sha256 and self.companions_same

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return {
            "file": self.file,
            "target": self.target,
            "same": self.is_same,
            "sha256": self.sha256,
            "rebuilt_sha256": self.rebuilt_sha256,
            "differences": list(self.differences),
        }


@dataclass(frozen=True)
class RebuildResult:
    """Every file that was built again, in the manifest's order; `out` is where they are, None where none was kept."""

    manifest: Path
    out: Path | None
    files: tuple[RebuiltFile, ...]

    @property
    def different(self) -> tuple[RebuiltFile, ...]:
        """The files of which other bytes came out."""
        return tuple(file for file in self.files if not file.is_same)

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return {
            "manifest": str(self.manifest),
            "out": None if self.out is None else str(self.out),
            "same": not self.different,
            "files": [file.to_json() for file in self.files],
        }


def _ignore(warning: str) -> None:
    pass


def rebuild(
    request: RebuildRequest, progress: Progress = silent, warn: Callable[[str], None] = _ignore
) -> RebuildResult:
    """Build files of a manifest again from its locks, prove them as any export is, and compare their sha256.

    `warn` hears, before anything is built, of versions and machines that differ from the locks. Raises what
    `plan_rebuild` does for what is missing or changed, and what `export` does. Executes the file of a user's own class.
    """
    with _folder(request.out) as out:
        plan = plan_rebuild(request, out)
        for warning in dict.fromkeys(x for file in plan.files for x in _differences_from_here(file)):
            warn(warning)
        return RebuildResult(request.manifest_file, request.out, _build(plan, progress))


@contextlib.contextmanager
def _folder(out: Path | None) -> Iterator[Path]:
    if out is not None:
        yield out
        return
    with tempfile.TemporaryDirectory(prefix="edgesr-rebuild-") as folder:
        yield Path(folder)


def _build(plan: RebuildPlan, progress: Progress) -> tuple[RebuiltFile, ...]:
    built: dict[str, Artifact] = {}
    for request in plan.exports:
        built |= {artifact.file: artifact for artifact in export(request, progress).artifacts}
    return tuple(_compared(file, built[file.artifact.file]) for file in plan.files)


def _compared(file: LockedFile, built: Artifact) -> RebuiltFile:
    old = file.artifact
    return RebuiltFile(
        file=old.file,
        target=old.target,
        sha256=old.sha256,
        rebuilt_sha256=built.sha256,
        companions_same=sorted(old.companions.values()) == sorted(built.companions.values()),
        differences=(*_differences_from_here(file), *_differences_of_tools(old.facts, built.facts)),
    )


def _differences_from_here(file: LockedFile) -> tuple[str, ...]:
    """What this installation and machine differ in from those that wrote a file."""
    return (
        *_changes(_table(file.artifact.facts, "versions"), describe_versions()),
        *_changes({"python": file.lock.python}, {"python": platform.python_version()}),
        *_changes(file.lock.machine, describe_machine("gpu" in file.lock.machine or _learned(file.lock))),
    )


def _learned(lock: Lock) -> bool:
    return "patches" in lock.seeds


def _differences_of_tools(old: Mapping[str, object], new: Mapping[str, object]) -> tuple[str, ...]:
    """What other tools' versions differ in, which are known once they ran."""
    before, after = _table(old, "converter", "packages"), _table(new, "converter", "packages")
    compilers = ({"compiler": str(_table(facts, "compiled").get("compiler"))} for facts in (old, new))
    return (*_changes(before, after), *_changes(*compilers))


def _table(facts: Mapping[str, object], *keys: str) -> Mapping[str, object]:
    found: object = facts
    for key in keys:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _changes(before: Mapping[str, object], now: Mapping[str, object]) -> Iterator[str]:
    for name in dict.fromkeys((*before, *now)):
        if before.get(name) != now.get(name):
            yield f"{name} {now.get(name, 'missing')}, was {before.get(name, 'not recorded')}"
