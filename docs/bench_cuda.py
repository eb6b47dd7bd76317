"""The table of docs/adr/0012-cuda.md on a machine with an NVIDIA GPU, within eight minutes: `make bench-cuda`.

Usage: python docs/bench_cuda.py [--weights CHECKPOINT] [--output FOLDER] [--seconds S] [--runs N]
Writes FOLDER/table.md and one record of `edgesr bench` for each size, each as soon as it is measured. torch.compile is
left out, and that is said, where it would not end in time. Without a GPU: one line on stderr, and exit code 1.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from edgesr.api.cuda_benchmark import TimedNetwork, time_network
from edgesr.artifact import IOContract
from edgesr.errors import EdgeSRError
from edgesr.model.registry import load_model
from edgesr.runtime.bench import Benchmark
from edgesr.runtime.bench_record import BenchRecord
from edgesr.runtime.cuda.backend import Backend, fused_backend, gpu
from edgesr.runtime.cuda.contenders import COMPILED, WAYS
from edgesr.runtime.cuda.gate_timing import time_gate
from edgesr.target import IODtype, Layout

SIZES = ((339, 510), (540, 960), (1080, 1920))
WARMUPS = 20
HEADER = (
    "| size | what | runner | median ms | p90 ms | x eager | MB moved | floor ms | output |\n"
    "|---|---|---|---|---|---|---|---|---|\n"
)

parser = argparse.ArgumentParser()
parser.add_argument("--weights", type=Path, help="a checkpoint of SPANV2 (default: the bundled one)")
parser.add_argument("--output", type=Path, default=Path("bench-cuda-out"))
parser.add_argument("--seconds", type=float, default=420.0)
parser.add_argument("--runs", type=int, default=200)


class Clock:
    """The time that is left, and whether compiling once more fits: at worst twice as long as it took before."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._longest = 60.0

    def allows_compile(self) -> bool:
        """Whether torch.compile is worth starting."""
        return time.monotonic() + 2 * self._longest < self._end

    def note(self, record: BenchRecord) -> None:
        """Learn how long it took."""
        compiled = [r for r in record.results if isinstance(r, Benchmark) and r.runner == COMPILED]
        self._longest = max([self._longest, *((r.init_ms or 0.0) / 1e3 for r in compiled)])


def rows(size: tuple[int, int], results: list[Benchmark], eager_ms: float) -> Iterator[str]:
    """Lines of the table."""
    for one in results:
        moved = "-" if one.moved_bytes is None else f"{one.moved_bytes / 1e6:.1f}"
        floor = "-" if one.floor_ms is None else f"{one.floor_ms:.4f}"
        output = "-" if one.parity is None or one.parity.psnr_db is None else f"{one.parity.psnr_db:.1f} dB"
        yield (
            f"| {size[0]}x{size[1]} | {one.name} | {one.runner} | {one.median_ms:.4f} | {one.p90_ms:.4f} | "
            f"{eager_ms / one.median_ms:.2f} | {moved} | {floor} | {output} |\n"
        )


def measure(options: argparse.Namespace, backend: Backend) -> None:
    """Every size: the network, then the gate."""
    model = load_model(weights=options.weights) if options.weights else load_model("spanv2_x4")
    contract = IOContract(IODtype.FLOAT32, Layout.NCHW, 3, model.scale, model.value_range, (), True)
    network = TimedNetwork(model, contract, model.sha256)
    options.output.mkdir(parents=True, exist_ok=True)
    clock = Clock(options.seconds)
    table = f"{backend.name}, torch.compile {{}}medians of {options.runs} CUDA-graph replays, interleaved.\n\n{HEADER}"
    left_out = []
    for size in SIZES:
        compiled = clock.allows_compile()
        left_out += [] if compiled else [f"{size[0]}x{size[1]}"]
        ways = [way for way in WAYS if compiled or way.runner != COMPILED]
        record = time_network(network, size, options.runs, WARMUPS, ways)
        clock.note(record)
        (options.output / f"{size[0]}x{size[1]}.json").write_text(json.dumps(record.to_json(), indent=2) + "\n")
        timed = [result for result in record.results if isinstance(result, Benchmark)]
        table += "".join(rows(size, timed, timed[0].median_ms))
        gates = time_gate(size, backend.device, options.runs, WARMUPS, compiled)
        table += "".join(rows(size, gates, gates[0].median_ms))
        words = f"(left out at {', '.join(left_out)}: no time) " if left_out else ""
        (options.output / "table.md").write_text(table.format(words))
    print((options.output / "table.md").read_text())


if __name__ == "__main__":
    try:
        backend = gpu()
        fused_backend()
        measure(parser.parse_args(), backend)
    except EdgeSRError as error:
        print(f"bench-cuda: {error}", file=sys.stderr)
        sys.exit(1)
