"""What a tiled run holds in memory: a row of tiles, however tall the image is; measured in a process of its own."""

import subprocess
import sys
from typing import Any

import pytest

from edgesr.api.footprint import MEASURABLE

WIDTH, SHORT, TALL = 600, 1024, 6144
MEGABYTE = 1 << 20
PROGRAM = """
import sys
from pathlib import Path
import numpy as np
from edgesr.artifact import IOContract
from edgesr.runtime.receptive_field import Reach
from edgesr.runtime.runners import open_runner
from edgesr.runtime.tiled_runner import TiledRunner
from edgesr.target import find_target

def status(key):
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key)]
    return int(line.split()[1]) * 1024

path, name, width = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
target = find_target(name)
sizes = ((32, 48),) if path.suffix == ".tflite" else ()
contract = IOContract(target.default_io, target.default_layout, 3, 2, 1.0, sizes, True)
runner = TiledRunner(open_runner(target.runners[0], target, path, contract), contract, Reach(7, 7, 7, 7), (128, 128))
for rows in map(int, sys.argv[4:]):
    image = np.tile(np.random.default_rng(0).integers(0, 256, (1, 64, width, 3), dtype=np.uint8), (1, rows // 64, 1, 1))
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far was that of the imports
    given = sum(strip.size for strip in runner.byte_strips(image))
    print(given, status("VmHWM") - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not MEASURABLE, reason="this system has no /proc/self/clear_refs, which the peak is reset by")
@pytest.mark.parametrize("target", ["tflite-int8", "onnx-fp32"])
def test_memory_is_that_of_a_row_of_tiles(export: Any, target: str) -> None:
    """Six times as tall an image, whose output has 44 MB, takes as much as the short one."""
    command = [sys.executable, "-c", PROGRAM, str(export(target).path), target, *map(str, (WIDTH, SHORT, TALL))]
    child = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    (few, short), (many, tall) = (map(int, line.split()) for line in child.stdout.splitlines())
    assert (few, many) == (SHORT * WIDTH * 4 * 3, TALL * WIDTH * 4 * 3)
    assert short > MEGABYTE, "something was measured"
    assert tall < short + many / 4, f"{tall / MEGABYTE:.0f} MB after {short / MEGABYTE:.0f} MB"
