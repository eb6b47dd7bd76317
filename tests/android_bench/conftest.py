"""Programs for the stand-in's device, which are scripts."""

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def make_program(tmp_path: Path) -> Callable[[str, str], Path]:
    """`make_program(name, lines)`: an executable script for the device's shell."""

    def make(name: str, lines: str) -> Path:
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{lines}\n")
        program.chmod(0o755)
        return program

    return make
