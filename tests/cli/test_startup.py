"""The command line answers at once: it imports nothing heavy before a command runs."""

import json
import resource
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = (
    "torch", "numpy", "onnx", "onnxruntime", "onnxsim", "ai_edge_litert", "flatbuffers", "PIL", "safetensors",
    "tensorflow", "edgesr.graph", "edgesr.ops", "edgesr.quantized",
)  # fmt: skip
EDGESR = Path(sys.executable).parent / "edgesr"
LIMIT_S = 0.3
RUNS = 10


def imported_by(code: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after running `code`."""
    listing = f"{code}\nimport sys, json; print('\\n' + json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("module", ["edgesr", "edgesr.cli", "edgesr.errors", "edgesr.target", "edgesr.progress"])
def test_importing_is_light(module: str) -> None:
    loaded = imported_by(f"import {module}")
    assert module in loaded
    assert not loaded & set(HEAVY)


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["export", "--help"], ["verify", "parity", "--help"], ["run", "--help"]]
)
def test_answering_is_light(arguments: list[str]) -> None:
    loaded = imported_by(f"from edgesr.cli import cli\ncli.main({arguments!r}, standalone_mode=False)")
    assert "edgesr.cli.export" in loaded
    assert not loaded & set(HEAVY)


def test_the_api_needs_no_extra() -> None:
    """Extras are imported where they are used: without them every other command still works."""
    extras = ("triton", "ethosu", "onnxruntime_qnn", "litert_torch", "ai_edge_quantizer", "aimet_onnx", "tensorflow")
    absent = "import sys\n" + "\n".join(f"sys.modules[{name!r}] = None" for name in extras)
    assert "edgesr.api.cuda_benchmark" in imported_by(f"{absent}\nimport edgesr.api, edgesr.cli.bench")


def test_heavy_modules_would_be_noticed() -> None:
    assert {"torch", "numpy", "edgesr.graph"} <= imported_by("import edgesr.graph")


def cpu_seconds(command: list[str]) -> float:
    """User and system time of a child that runs to its end."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)


def test_help_answers_within_three_tenths_of_a_second() -> None:
    """Median of ten, as CPU time: on a machine that others use too, the clock on the wall measures them."""
    times = sorted(cpu_seconds([str(EDGESR), "--help"]) for _ in range(RUNS))
    print(f"edgesr --help: median {statistics.median(times):.3f} s of CPU, {times[0]:.3f} to {times[-1]:.3f}")
    assert statistics.median(times) < LIMIT_S
