import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from edgesr.api import ExportRequest
from edgesr.target import find_target


@pytest.fixture
def request_for(small_checkpoint: Path, photos: Path, tmp_path: Path) -> Callable[..., ExportRequest]:
    """A request for some targets of the small network, into a folder of the test's own."""

    def build(*names: str, **fields: object) -> ExportRequest:
        targets = tuple(target for name in names if (target := find_target(name)) is not None)
        assert len(targets) == len(names)
        defaults = {"out": tmp_path / "out", "weights": small_checkpoint, "calibration": photos}
        return ExportRequest(targets=targets, **(defaults | fields))  # type: ignore[arg-type]  # a test names real fields

    return build


@pytest.fixture
def fake_python(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Put a shell script in the interpreter's place; temporary files go to the test's own folder."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def put(script: str) -> None:
        path = tmp_path / "python"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(path))

    return put
