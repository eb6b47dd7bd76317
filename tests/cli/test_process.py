"""What only a process of its own shows: exit codes, streams that end, native chatter, signals and sudden death."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgesr.artifact import load_manifest
from edgesr.graph_file import load_graph
from edgesr.model.reference import load_reference
from edgesr.runtime.runners import open_runner
from edgesr.target import TARGETS

Run = Callable[..., Any]
EDGESR = Path(sys.executable).parent / "edgesr"
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}
PATIENCE_S = 300

STOPPED_WHILE_CHECKING = """
import sys, time
from edgesr.api import exporting
from edgesr.cli import main

def check_file(path, file, *rest, **options):
    print("checking", file, flush=True)
    time.sleep(300)

exporting.check_file = check_file
sys.argv = ["edgesr", *sys.argv[1:]]
main()
"""

SAVING_EVERY_STEP = """
import sys
from edgesr.cli import main
from edgesr.quant.learning import fit

fit.SAVE_EVERY_S = 0.0
sys.argv = ["edgesr", *sys.argv[1:]]
main()
"""


def command(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    line = [str(argument) for argument in arguments]
    return subprocess.run(
        line, capture_output=True, text=True, cwd=cwd, env=ENVIRONMENT, timeout=PATIENCE_S, check=False
    )


def assert_every_listed_file_is_whole_and_loads(folder: Path) -> None:
    for artifact in load_manifest(folder).artifacts:
        target, path = artifact.find_target(), load_manifest(folder).check(artifact)
        open_runner(target.runners[0], target, path, artifact.contract)
        load_reference(folder / artifact.reference)
        load_graph(folder / artifact.graph)


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_export_writes_nothing_to_stderr_and_stands_verification(
    small_checkpoint: Path, photos: Path, tmp_path: Path
) -> None:
    export = ("export", small_checkpoint, "--calib", photos, "-t", "tflite-int8", "-t", "onnx-fp16", "-o", "größe x")
    done = command(EDGESR, *export, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "") and "within limits" in done.stdout
    verify = (sys.executable, "-m", "edgesr.cli", "verify", "parity", "größe x")
    done = command(*verify, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "") and "checks within limits" in done.stdout
    (tmp_path / "größe x" / "spanv2_x2-fp16.onnx").write_bytes(b"changed")
    done = command(*verify, cwd=tmp_path)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "was changed after its export" in done.stderr


def test_misuse_exits_with_2() -> None:
    done = command(EDGESR, "export", "-t", "nothing")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and done.stdout == ""


def test_a_reader_that_has_enough_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([EDGESR, "targets"], stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_screen_that_takes_nothing_is_told_in_one_line() -> None:
    done = command("sh", "-c", f"{EDGESR} targets > /dev/full")
    assert done.returncode == 1
    assert done.stderr == "edgesr: No space left on device; check the path and the disk\n"


@pytest.fixture
def started(small_checkpoint: Path, photos: Path) -> Iterator[Callable[[Path], subprocess.Popen[str]]]:
    """Start an export into a folder, stopped where its first file is staged and being checked."""
    processes: list[subprocess.Popen[str]] = []

    def start(out: Path) -> subprocess.Popen[str]:
        line = ["export", small_checkpoint, "--calib", photos, "-t", "tflite-fp32", "-o", out]
        process = subprocess.Popen(
            [sys.executable, "-c", STOPPED_WHILE_CHECKING, *map(str, line)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT,
        )  # fmt: skip
        processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "checking spanv2_x2-fp32.tflite\n"
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_a_signal_in_mid_write_cleans_up(
    started: Callable[[Path], subprocess.Popen[str]], exported: Path, number: signal.Signals
) -> None:
    before = bytes_of(exported)
    process = started(exported)
    assert list(exported.glob(".edgesr-*/spanv2_x2-fp32.tflite")), "a staged file"
    process.send_signal(number)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, err) == (1, "edgesr: interrupted; finished files stay, none is half-written\n")
    assert bytes_of(exported) == before


def test_sudden_death_in_mid_write_loses_nothing_and_the_next_export_tidies_up(
    started: Callable[[Path], subprocess.Popen[str]],
    exported: Path,
    run: Run,
    small_checkpoint: Path,
    photos: Path,
) -> None:
    before = bytes_of(exported)
    process = started(exported)
    process.kill()
    process.communicate()
    left = [path for path in exported.iterdir() if path.name.startswith(".edgesr-")]
    assert left and bytes_of(exported).items() > before.items()
    run("export", small_checkpoint, "--calib", photos, "-t", "onnx-fp32", "-q", "-o", exported).done()
    assert not list(exported.rglob(".edgesr-*"))
    assert_every_listed_file_is_whole_and_loads(exported)
    assert len(load_manifest(exported).artifacts) == len(TARGETS)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_killed_at_any_moment(exported: Path, run: Run, small_checkpoint: Path, photos: Path, seed: int) -> None:
    line = ["export", small_checkpoint, "--calib", photos, "-t", "tflite-fp32", "-t", "onnx-int8", "-o", exported]
    start = time.monotonic()
    subprocess.run([EDGESR, *map(str, line)], capture_output=True, env=ENVIRONMENT, check=True)
    whole = time.monotonic() - start
    process = subprocess.Popen([EDGESR, *map(str, line)], stdout=subprocess.DEVNULL, env=ENVIRONMENT)
    time.sleep(whole * random.Random(seed).uniform(0.2, 1.0))
    process.kill()
    process.wait()
    assert_every_listed_file_is_whole_and_loads(exported)
    run(*line, "-q").done()
    assert not list(exported.rglob(".edgesr-*")) and len(load_manifest(exported).artifacts) == len(TARGETS)


@pytest.mark.slow
def test_an_interrupted_export_goes_on(small_checkpoint: Path, photos: Path, tmp_path: Path) -> None:
    export = ["export", str(small_checkpoint), "--calib", str(photos), "--effort", "balanced", "-o"]
    out, at_once = tmp_path / "interrupted", tmp_path / "at once"
    process = subprocess.Popen(
        [sys.executable, "-c", SAVING_EVERY_STEP, *export, str(out)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT,
    )  # fmt: skip
    deadline = time.monotonic() + PATIENCE_S
    while not list(out.glob(".learning/fit-*.safetensors")):
        assert process.poll() is None and time.monotonic() < deadline, "no state was ever saved"
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    printed, complaint = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, printed) == (1, "") and complaint.count("\n") == 1
    assert "interrupted while learning ranges; the same command goes on from step" in complaint
    assert list(out.glob(".learning/fit-*.safetensors")) and not list(out.glob("*.tflite"))
    for folder in (out, at_once):
        done = command(EDGESR, *export, folder)
        assert done.returncode == 0, done.stderr
        assert not (folder / ".learning").exists()
    (artifact,), (other,) = load_manifest(out).artifacts, load_manifest(at_once).artifacts
    assert artifact.sha256 == other.sha256
    facts = json.loads((out / "manifest.json").read_text())["artifacts"][0]["facts"]["quantization"]
    assert [entry["stage"] for entry in facts["compared_on_held_out_images"]] == ["not learned", "learning ranges"]
    best = max(entry["score_db"] for entry in facts["compared_on_held_out_images"])
    assert best >= facts["compared_on_held_out_images"][0]["score_db"]
