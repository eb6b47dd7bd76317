"""The process that measures one subject's peak memory, as `footprint` describes; its answer is one line of JSON."""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path

from edgesr.api.host_subjects import HostSpec, bench_image, open_subject
from edgesr.artifact import load_manifest
from edgesr.threads import torch_threads

RUNS = 2
RESET_PEAK = "5"
"""What /proc/self/clear_refs takes to set VmHWM back (Linux 4.0 and later)."""
CLEAR_REFS, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def measure(folder: Path, file: str, runner: str, threads: int, size: tuple[int, int]) -> dict[str, int]:
    """What the child does; raises OSError where the system has no such /proc."""
    manifest = load_manifest(folder)
    artifact = manifest.find(file)
    image = bench_image(artifact.contract, size)
    with torch_threads(threads):
        gc.collect()
        CLEAR_REFS.write_text(RESET_PEAK, encoding="ascii")
        baseline = _status_bytes("VmRSS")
        subject = open_subject(manifest, HostSpec(artifact, runner, threads), image)
        for _ in range(RUNS):
            subject.invoke()
        return {"peak_bytes": max(0, _status_bytes("VmHWM") - baseline), "baseline_bytes": baseline}


def _status_bytes(name: str) -> int:
    lines = STATUS.read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


if __name__ == "__main__":
    FOLDER, FILE, RUNNER, *NUMBERS = sys.argv[1:]
    THREADS, HEIGHT, WIDTH = map(int, NUMBERS)
    print(json.dumps(measure(Path(FOLDER), FILE, RUNNER, THREADS, (HEIGHT, WIDTH))))
