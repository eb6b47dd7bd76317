"""Make the INT8 integers that ship beside the bundled weights: ranges, rounded weights, biases, and their provenance.

    .venv/bin/python docs/make_ready_int8.py --calib PHOTOGRAPHS [--effort best] [--model spanv2_x4]

`best` takes 12 to 36 minutes of two cores of their own, and goes on from where an interrupt left it. Needed anew when
the bundled weights, a fold that every target gets, or the recipe change: a test says so.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from edgesr.api.ready_int8 import make_ready, ready_path
from edgesr.cli.console import progress_bar
from edgesr.model.registry import DEFAULT_MODEL

SAVED = Path("build/ready-int8")
"""Where learning goes on from."""


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calib", type=Path, required=True, help="a folder of photographs, never Set5 or Set14")
    parser.add_argument("--effort", default="best", choices=("fast", "balanced", "best"))
    parser.add_argument("--model", default=DEFAULT_MODEL)
    options = parser.parse_args()
    command = f"python docs/make_ready_int8.py --effort {options.effort} --calib {options.calib.name}"
    with progress_bar(quiet=False) as progress:
        ready = make_ready(options.model, options.effort, options.calib, command, SAVED, progress)
    shutil.rmtree(SAVED, ignore_errors=True)
    path = ready_path(options.model)
    print(f"{path}: {path.stat().st_size / 1000:.0f} KB")
    for candidate in ready.quantization.candidates:
        print(f"  {candidate.stage}: {candidate.score_db:.3f} dB ({candidate.measures})")


if __name__ == "__main__":
    main()
