"""A compiled artifact and what lies beside it take their places together, whatever happens in between."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from edgesr.api.staging import Staging, staged_export
from edgesr.artifact import Artifact, IOContract, load_manifest
from edgesr.target import IODtype, Layout

CONTRACT = IOContract(IODtype.FLOAT32, Layout.NHWC, 3, 2, 1.0, ((8, 8),), False)
FILE, CONTEXT = "net.onnx", "net_qnn.bin"


class Killed(BaseException):
    """A process that ends here and now."""


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def stage(staging: Staging, version: bytes, wrapper: bytes = b"wrapper") -> Artifact:
    """A wrapper that may stay the same, a context of that version, and a source named by its content."""
    source = f"reference/{digest(version)[:8]}.onnx"
    for name, content in ((source, version), (CONTEXT, version), (FILE, wrapper), ("reference/x", b"x")):
        staging.write(name, content)
    beside = {CONTEXT: digest(version), source: digest(version)}
    return Artifact(FILE, "onnx-int8", digest(wrapper), 7, CONTRACT, "reference/x", "reference/x", {}, source, beside)


def put(out: Path, version: bytes, wrapper: bytes = b"wrapper") -> None:
    with staged_export(out) as staging:
        staging.place(stage(staging, version, wrapper))


def test_everything_is_put_in_place_and_the_old_source_goes(tmp_path: Path) -> None:
    put(tmp_path, b"old")
    put(tmp_path, b"new", b"other wrapper")
    manifest = load_manifest(tmp_path)
    assert manifest.check(manifest.artifacts[0]).read_bytes() == b"other wrapper"
    assert (tmp_path / CONTEXT).read_bytes() == b"new"
    assert sorted(path.name for path in (tmp_path / "reference").iterdir()) == sorted(
        [f"{digest(b'new')[:8]}.onnx", "x"]
    )


@pytest.mark.parametrize("wrapper", [b"wrapper", b"other wrapper"])
@pytest.mark.parametrize("step", range(1, 8))
def test_killed_between_two_renames_nothing_listed_is_broken(
    tmp_path: Path, step: int, wrapper: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the wrapper keeps its bytes and only its context changes."""
    put(tmp_path, b"old")
    replace, count = Path.replace, 0

    def failing(self: Path, target: Path) -> Path:
        nonlocal count
        if ".edgesr-" not in str(target):
            count += 1
            if count == step:
                raise Killed
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", failing)
    killed = False
    try:
        put(tmp_path, b"new", wrapper)
    except Killed:
        killed = True
    monkeypatch.undo()
    manifest = load_manifest(tmp_path)
    for artifact in manifest.artifacts:
        manifest.check(artifact)
    assert killed or [a.companions[CONTEXT] for a in manifest.artifacts] == [digest(b"new")]


def test_there_are_as_many_renames_as_are_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, b"old")
    steps: list[str] = []
    replace: Callable[[Path, Path], Path] = Path.replace

    def counting(self: Path, target: Path) -> Path:
        if ".edgesr-" not in str(target):
            steps.append(target.name)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", counting)
    put(tmp_path, b"new")
    assert len(steps) in range(4, 8) and steps[-1] == "manifest.json" and steps.index(CONTEXT) < steps.index(FILE)
