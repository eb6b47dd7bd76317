"""What a run reads and where it writes: one picture or a tree of them, whose output mirrors it.

Folders are walked to the bottom; hidden names and the output folder are left out, and so are links to folders, which
may lead in circles. A file that a link leads to is read. Names keep their place and format, but for TIFF, which is
written as PNG.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgesr.errors import ExportError, ImageError
from edgesr.images import FORMAT_NAMES, SUFFIXES
from edgesr.pictures.formats import PNG, PictureFormat, format_of

STREAM = Path("-")
"""Instead of a file: standard input or output."""


@dataclass(frozen=True)
class PictureTask:
    """One picture: where it is read and written (`STREAM`: standard input or output), and as what."""

    source: Path
    output: Path
    kind: PictureFormat


@dataclass(frozen=True)
class FolderPlan:
    """All tasks of a folder, and how many links to folders were not followed."""

    tasks: tuple[PictureTask, ...]
    links: int


def plan_file(source: Path, output: Path, kind: PictureFormat | None) -> PictureTask:
    """The task for one picture; an existing folder as `output` gets the picture under its own name.

    Raises `ExportError` for a name that says no format, another one than `kind`, or the picture's own.
    """
    if output == STREAM:
        return PictureTask(source, output, kind or PNG)
    if output.is_dir():
        if source == STREAM:
            raise ExportError(f"{output} is a folder, and standard input has no name; give the name of a file")
        output = output / written_name(Path(source.name), kind)
    named = format_of(output)
    if named is None:
        raise ExportError(f"cannot write {output}: its name says no format; end it in .png, .jpg, .webp or .bmp")
    if kind is not None and kind is not named:
        raise ExportError(f"cannot write {output} as {kind.name}: its name says {named.name}; leave out one of the two")
    if source != STREAM and output.exists() and source.exists() and output.samefile(source):
        raise ExportError(f"{output} is the picture itself, which is never written over; give another name")
    return PictureTask(source, output, named)


def plan_folder(source: Path, output: Path, kind: PictureFormat | None) -> FolderPlan:
    """The tasks for a folder's pictures, sorted by name; raises `ImageError` where there are none.

    Raises `ExportError` where the output is the folder itself, or where two pictures would get one name.
    """
    if output == STREAM or (output.exists() and not output.is_dir()):
        raise ExportError(f"a folder of pictures cannot be written to {_shown(output)}; give a folder")
    if output.exists() and output.samefile(source):
        raise ExportError(f"{output} is the folder of the pictures itself; give another folder")
    walk = _Walk(source, output)
    paths = list(walk.pictures(source))
    if not paths:
        raise ImageError(f"no pictures in {source} or the folders in it; it holds no {FORMAT_NAMES} files")
    tasks = []
    for path in paths:
        name = written_name(path.relative_to(source), kind)
        tasks.append(PictureTask(path, output / name, kind or format_of(name) or PNG))
    _refuse_collisions(tasks)
    return FolderPlan(tuple(tasks), walk.links)


def written_name(name: Path, kind: PictureFormat | None) -> Path:
    """What a picture's name becomes: its own, with the suffix of `kind` where that is another format's."""
    kind = kind or format_of(name) or PNG
    return name if format_of(name) is kind else name.with_suffix(kind.suffix)


class _Walk:
    """A walk through one tree."""

    def __init__(self, root: Path, output: Path) -> None:
        self._root = root
        self._output = output.resolve()
        self.links = 0

    def pictures(self, folder: Path) -> Iterator[Path]:
        """The pictures in a folder and those below it, by their suffix."""
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            raise ImageError(f"cannot list {folder}: {error.strerror}; check its permissions") from error
        for entry in entries:
            path = folder / entry.name
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                if path.resolve() != self._output:
                    yield from self.pictures(path)
            elif entry.is_symlink() and path.is_dir():
                self.links += 1
            elif path.suffix.lower() in SUFFIXES:
                yield path


def _refuse_collisions(tasks: Sequence[PictureTask]) -> None:
    """Raise `ExportError` where two pictures would be written to one file."""
    sources = defaultdict(list)
    for task in tasks:
        sources[task.output].append(task.source)
    for output, found in sources.items():
        if len(found) > 1:
            raise ExportError(f"{found[0]} and {found[1]} would both become {output}; rename one of them")


def _shown(path: Path) -> str:
    return "standard output" if path == STREAM else str(path)
