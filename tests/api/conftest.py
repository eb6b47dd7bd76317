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
