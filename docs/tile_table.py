"""The reach of every architecture and what its tiles cost: the tables of docs/tiles.md, in Markdown.

Usage: python docs/tile_table.py [--memory]
The reach is a property of the architecture: weights are random, sizes those of the released networks. With --memory it
prints what a tile of spanv2_x4 takes in each runtime: processor time and peak memory of a process of its own.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from edgesr.api import ExportRequest, export
from edgesr.architecture import SRModel
from edgesr.artifact import locate
from edgesr.export.capture import capture
from edgesr.graph_file import load_graph
from edgesr.model.registry import ARCHITECTURES
from edgesr.quantized import float_graph
from edgesr.runtime.receptive_field import Reach, find_reach
from edgesr.runtime.runners import open_runner
from edgesr.runtime.tile_choice import bytes_per_pixel, largest_side, waste
from edgesr.runtime.tiling import smallest_tile
from edgesr.target import Precision, find_target

TARGETS = ("tflite-fp32", "tflite-int8", "onnx-fp32", "onnx-int8")
SIDES = (192, 304, 512)
PIXELS = 400_000
"""Input pixels in all that a time is measured on, at least two tiles."""


def print_reaches() -> None:
    """A row for each architecture."""
    print(
        "| architecture | multiple | reach (above, below, left, right) | smallest tile | waste at 256 | default, FP32 |"
    )
    print("|---|---|---|---|---|---|")
    for architecture in ARCHITECTURES:
        name, config, multiple = architecture.name, architecture.defaults, architecture.size_multiple
        module = architecture.build(config).eval().requires_grad_(False)
        graph = capture(SRModel(name, name, module, config, config["scale"], "table", "", size_multiple=multiple))
        reach = find_reach(graph)
        assert isinstance(reach, Reach), reach
        least, side = (
            smallest_tile(reach, multiple),
            largest_side(reach, multiple, bytes_per_pixel(graph, Precision.FP32)),
        )
        sides = f"{reach.above}, {reach.below}, {reach.left}, {reach.right}"
        at_256 = f"{waste((256, 256), reach):.2f}" if min(least) <= 256 else "too small"
        own = f"{side} (waste {waste((side, side), reach):.2f})"
        print(f"| {name} | {multiple} | {sides} | {least[0]}x{least[1]} | {at_256} | {own} |", flush=True)


def print_memory() -> None:
    """A row for each target and tile; each is a process of its own."""
    print("| target | tile | us per pixel of one's own | bytes held per pixel | per live value |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        export(ExportRequest(targets=tuple(t for name in TARGETS if (t := find_target(name))), out=Path(folder)))
        for artifact in locate(Path(folder))[1]:
            for side in SIDES:
                command = [sys.executable, __file__, "--one", str(Path(folder) / artifact.file), str(side)]
                print(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip(), flush=True)


def print_one(path: Path, side: int) -> None:
    """The row of one tile."""
    manifest, (artifact,) = locate(path)
    assert artifact.graph is not None
    target, graph = artifact.find_target(), float_graph(load_graph(manifest.folder / artifact.graph))
    runner = open_runner(target.runners[0], target, path, artifact.contract)
    reach, live = find_reach(graph), float(graph.live_values_per_input_pixel)
    assert isinstance(reach, Reach)
    tile = np.random.default_rng(0).integers(0, 256, (1, side, side, 3), dtype=np.uint8)
    before, times = _memory("VmRSS"), []
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far was that of the imports
    for _ in range(max(2, PIXELS // side**2)):
        started = time.process_time()
        runner.compute_tensor(tile)
        times.append(time.process_time() - started)
    held = (_memory("VmHWM") - before) / side**2
    own = min(times) * 1e6 / side**2 * waste((side, side), reach)
    print(f"| {target.name} | {side} | {own:.1f} | {held:.0f} | {held / live:.1f} |")


def _memory(key: str) -> int:
    """Of this process, in bytes."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key)]
    return int(line.split()[1]) * 1024


parser = argparse.ArgumentParser()
parser.add_argument("--memory", action="store_true")
parser.add_argument("--one", nargs=2)
options = parser.parse_args()
torch.set_num_threads(1)
if options.one:
    print_one(Path(options.one[0]), int(options.one[1]))
elif options.memory:
    print_memory()
else:
    print_reaches()
