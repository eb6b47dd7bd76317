"""Naming a class in a user's own file, and finding the line of that file in an error. Nothing here runs the file."""

from __future__ import annotations

import json
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

SUFFIX = ".py"
LIBRARIES = ("site-packages", "dist-packages", "<frozen", "<string>", "<eval")
"""What the path of code holds that is neither the user's nor ours."""
OURS = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class UserClass:
    """A class in a Python file, as `path/to/net.py:Class` names it."""

    file: Path
    name: str

    def __str__(self) -> str:
        return f"{self.file}:{self.name}"


@dataclass(frozen=True)
class OwnNetwork:
    """A class of the user's own with its weights and its constructor's arguments. To load it executes its file."""

    named: UserClass
    weights: Path
    init: Mapping[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        arguments = f" {json.dumps(dict(self.init), sort_keys=True)}" if self.init else ""
        return f"{self.named}{arguments}, {self.weights}"


def parse_user_class(text: str | None) -> UserClass | None:
    """The class that `text` names, None where it is no `file.py:Class`."""
    file, colon, name = (text or "").rpartition(":")
    return UserClass(Path(file), name) if colon and file.endswith(SUFFIX) and name.isidentifier() else None


def parse_init(text: str) -> dict[str, object]:
    """The arguments of a constructor from a JSON object; raises `ValueError`, saying why it is none."""
    try:
        arguments = json.loads(text)
    except ValueError as error:
        raise ValueError(f"it is no JSON ({error})") from error
    if not isinstance(arguments, dict):
        raise ValueError(f"it is a {type(arguments).__name__}, no object")
    return arguments


def raised_at(error: BaseException) -> str:
    """The user's line where an error arose, as `net.py:12`; empty where no line of a user's took part."""
    return _last_line([(frame.filename, frame.lineno or 0) for frame in traceback.extract_tb(error.__traceback__)])


def traced_at(stack_trace: str) -> str:
    """The user's line that led to an operator, from the text of a stack trace, as `net.py:12`; empty for none."""
    frames = []
    for line in stack_trace.splitlines():
        file, separator, rest = line.strip().removeprefix('File "').partition('", line ')
        if separator:
            frames.append((file, int(rest.partition(",")[0])))
    return _last_line(frames)


def _last_line(frames: list[tuple[str, int]]) -> str:
    for file, line in reversed(frames):
        if not any(part in file for part in LIBRARIES) and not _is_ours(Path(file)):
            return f"{Path(file).name}:{line}"
    return ""


def _is_ours(file: Path) -> bool:
    parts = file.parts[len(OURS.parts) :]
    folders = ("core", "model", "export", "quant", "runtime", "android_bench", "edgesr")
    return file.parts[: len(OURS.parts)] == OURS.parts and bool(parts) and parts[0] in folders
