import errno
import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgesr.api.staging import Staging, existing_manifest, remove_stale, staged_export
from edgesr.artifact import Artifact, IOContract, load_manifest
from edgesr.errors import ExportError
from edgesr.target import IODtype, Layout

CONTRACT = IOContract(IODtype.FLOAT32, Layout.NHWC, 3, 2, 1.0, ((8, 8),), True)
OLD, NEW = b"old artifact", b"new artifact"


class Killed(BaseException):
    """A process that ends here and now: nothing catches it, and nothing cleans up after it."""


def stage(staging: Staging, content: bytes, file: str = "a.tflite") -> Artifact:
    """Stage an artifact with a reference of its own and a graph that all share."""
    digest = hashlib.sha256(content).hexdigest()
    artifact = Artifact(
        file, "tflite-fp32", digest, len(content), CONTRACT, f"reference/{digest[:8]}", "reference/shared"
    )
    for name in (artifact.reference, artifact.graph):
        staging.write(name, name.encode())
    staging.write(file, content)
    return artifact


def put(out: Path, content: bytes, file: str = "a.tflite") -> None:
    with staged_export(out) as staging:
        staging.place(stage(staging, content, file))


def assert_every_listed_file_is_whole(out: Path) -> dict[str, bytes]:
    """The contents of the files that the manifest lists, each with its hash and the files that prove it checked."""
    manifest = load_manifest(out)
    for artifact in manifest.artifacts:
        for name in (artifact.reference, artifact.graph):
            assert (out / name).read_bytes() == name.encode()
    return {artifact.file: manifest.check(artifact).read_bytes() for artifact in manifest.artifacts}


def hidden(out: Path) -> list[str]:
    return sorted(path.name for path in out.rglob(".edgesr-*"))


@pytest.fixture
def dead_process() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


@pytest.fixture
def fail_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int, BaseException], None]]:
    """Make a rename raise, counted from 1, those within the staging folder left out."""
    replace = Path.replace

    def arm(step: int, error: BaseException) -> None:
        count = 0

        def failing(self: Path, target: Path) -> Path:
            nonlocal count
            if not target.parent.name.startswith(".edgesr-") and ".edgesr-" not in str(target):
                count += 1
                if count == step:
                    raise error
            return replace(self, target)

        monkeypatch.setattr(Path, "replace", failing)

    yield arm
    monkeypatch.setattr(Path, "replace", replace)


def test_an_artifact_is_placed_with_all_that_proves_it(tmp_path: Path) -> None:
    put(tmp_path / "new" / "out", OLD)
    assert assert_every_listed_file_is_whole(tmp_path / "new" / "out") == {"a.tflite": OLD}
    assert hidden(tmp_path) == []


def test_replacing_removes_the_proof_that_nothing_needs(tmp_path: Path) -> None:
    put(tmp_path, OLD)
    put(tmp_path, OLD, "b.tflite")
    put(tmp_path, NEW)
    assert assert_every_listed_file_is_whole(tmp_path) == {"a.tflite": NEW, "b.tflite": OLD}
    assert len(list((tmp_path / "reference").iterdir())) == 3
    put(tmp_path, NEW, "b.tflite")
    assert len(list((tmp_path / "reference").iterdir())) == 2


@pytest.mark.parametrize("step", range(1, 6))
def test_killed_between_any_two_renames_every_listed_file_is_whole(
    tmp_path: Path, step: int, fail_at: Callable[[int, BaseException], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, OLD)
    put(tmp_path, b"another", "b.tflite")
    monkeypatch.setattr("shutil.rmtree", lambda *arguments, **options: None)
    fail_at(step, Killed())
    with pytest.raises(Killed):
        put(tmp_path, NEW)
    whole = assert_every_listed_file_is_whole(tmp_path)
    assert whole["b.tflite"] == b"another" and whole.get("a.tflite") in (None, OLD, NEW)
    assert (tmp_path / "a.tflite").read_bytes() == (OLD if step <= 4 else NEW)
    monkeypatch.undo()
    put(tmp_path, NEW)
    assert assert_every_listed_file_is_whole(tmp_path) == {"b.tflite": b"another", "a.tflite": NEW}


@pytest.mark.parametrize("step", range(1, 6))
def test_an_interrupt_between_renames_waits_for_the_last(
    tmp_path: Path, step: int, fail_at: Callable[[int, BaseException], None]
) -> None:
    put(tmp_path, OLD)
    fail_at(step, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        put(tmp_path, NEW)
    assert assert_every_listed_file_is_whole(tmp_path) == {"a.tflite": NEW}
    assert hidden(tmp_path) == []


def test_what_is_not_placed_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="half way"), staged_export(tmp_path / "a" / "b") as staging:
        stage(staging, NEW)
        raise ExportError("half way")
    assert list(tmp_path.iterdir()) == []


def test_a_failure_keeps_what_was_there(tmp_path: Path) -> None:
    put(tmp_path, OLD)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ExportError), staged_export(tmp_path) as staging:
        stage(staging, NEW)
        raise ExportError("half way")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_what_killed_exports_left_is_removed_and_nothing_else(tmp_path: Path, dead_process: int) -> None:
    stale = [f".edgesr-{dead_process}-0123abcd", f".edgesr-{dead_process}-0123abcd.tflite", ".edgesr-99999999-0123abcd"]
    kept = [f".edgesr-{os.getpid()}-0123abcd", ".edgesr-notes", f".edgesr-{dead_process}-0123abcd.tar.gz", "x.tflite"]
    for name in (*stale, *kept):
        (tmp_path / name).write_text("content")
    folder = tmp_path / f".edgesr-{dead_process}-89abcdef" / "reference"
    folder.mkdir(parents=True)
    (folder / "half").write_text("written")
    (tmp_path / "reference").mkdir()
    (tmp_path / "reference" / stale[0]).write_text("content")
    removed = remove_stale(tmp_path)
    assert len(removed) == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*kept, "reference"])
    assert list((tmp_path / "reference").iterdir()) == []


def test_an_export_starts_by_removing_what_killed_ones_left(tmp_path: Path, dead_process: int) -> None:
    (tmp_path / f".edgesr-{dead_process}-0123abcd").mkdir()
    put(tmp_path, OLD)
    assert hidden(tmp_path) == []


def test_two_exports_at_once_both_end_up_in_the_manifest(tmp_path: Path) -> None:
    with staged_export(tmp_path) as first, staged_export(tmp_path) as second:
        one, two = stage(first, OLD, "a.tflite"), stage(second, NEW, "b.tflite")
        first.place(one)
        second.place(two)
        first.place(stage(first, OLD, "c.tflite"))
    assert assert_every_listed_file_is_whole(tmp_path) == {"a.tflite": OLD, "b.tflite": NEW, "c.tflite": OLD}


def test_placing_waits_for_another_export_that_places(tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl", reason="this system has no such locks")
    with staged_export(tmp_path) as staging:
        artifact = stage(staging, OLD)
        descriptor = os.open(tmp_path, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        placing = threading.Thread(target=staging.place, args=(artifact,))
        placing.start()
        placing.join(0.2)
        assert placing.is_alive() and not (tmp_path / "a.tflite").exists()
        os.close(descriptor)
        placing.join(10)
    assert assert_every_listed_file_is_whole(tmp_path) == {"a.tflite": OLD}


def make_file(path: Path) -> Path:
    path.write_text("a file")
    return path


UNWRITABLE: list[tuple[str, Callable[[Path], Path], str]] = [
    ("file", lambda tmp: make_file(tmp / "f"), r"cannot write .*/f: .*; a part of the path is a file"),
    (
        "below file",
        lambda tmp: make_file(tmp / "f") / "out",
        r"cannot write .*/f/out: .*; a part of the path is a file",
    ),
    ("proc", lambda tmp: Path("/proc/edgesr"), r"cannot write /proc/edgesr: .*; choose a folder you can write to"),
    ("device", lambda tmp: Path("/dev/null/x"), r"cannot write /dev/null/x: .*; a part of the path is a file"),
    ("long name", lambda tmp: tmp / ("x" * 300), r"cannot write .*: File name too long; choose a shorter name"),
]


@pytest.mark.parametrize(("make", "message"), [case[1:] for case in UNWRITABLE], ids=[case[0] for case in UNWRITABLE])
def test_folders_that_cannot_be_written_are_refused_at_once(
    tmp_path: Path, make: Callable[[Path], Path], message: str
) -> None:
    out = make(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ExportError, match=message) as caught, staged_export(out):
        pytest.fail("started")
    assert ".edgesr-" not in str(caught.value) and "\n" not in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["a.tflite", "manifest.json"])
def test_a_folder_in_the_place_of_a_file_is_refused_before_anything_moves(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(ExportError, match=f"{name}"), staged_export(tmp_path) as staging:
        staging.place(stage(staging, NEW))
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == []
    assert hidden(tmp_path) == []


def test_a_full_disk_is_named_by_the_place_that_was_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, OLD)

    def full(self: Path, content: bytes) -> int:
        self.touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ExportError) as caught:
        put(tmp_path, NEW)
    where = tmp_path / "reference"
    assert str(caught.value).startswith(f"cannot write {where}") and "No space left on device; free" in str(
        caught.value
    )
    monkeypatch.undo()
    assert assert_every_listed_file_is_whole(tmp_path) == {"a.tflite": OLD} and hidden(tmp_path) == []


BAD_MANIFESTS = [
    ("", "is no edgesr manifest"),
    ("[1, 2]", "is no edgesr manifest"),
    ('{"manifest_version": 99, "artifacts": []}', "has version 99"),
    ('{"manifest_version": 1, "artifacts": [{}]}', "is no edgesr manifest"),
]


@pytest.mark.parametrize(("content", "message"), BAD_MANIFESTS)
def test_a_manifest_that_cannot_be_added_to_is_kept_and_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    wanted = f"manifest.json {message}.*; move it away, or choose another folder with -o$"
    with pytest.raises(ExportError, match=wanted), staged_export(tmp_path):
        pytest.fail("started")
    assert (tmp_path / "manifest.json").read_text() == content and len(list(tmp_path.iterdir())) == 1


def test_no_manifest_means_an_empty_one(tmp_path: Path) -> None:
    assert existing_manifest(tmp_path).artifacts == ()
