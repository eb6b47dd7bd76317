"""`edgesr train` as processes: killed and resumed, and several of them sharing a run."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from edgesr.quant.builtin import builtin_calibration_paths

Run = Callable[..., Any]
PATIENCE_S = 300
IMAGES = builtin_calibration_paths()[0].parent
CONFIG = """
architecture = "spanv2"
scale = 2
[network]
channels = 4
blocks = 2
[run]
device = "cpu"
threads = 1
report_every = 1
save_every_s = {save_every_s}
[[stages]]
steps = {steps}
batch = 4
crop = 12
learning_rate = 2e-3
warmup_steps = 5
losses = {{ l1 = 1.0, fft = 0.05 }}
[[stages]]
steps = 6
batch = 4
crop = 8
learning_rate = 5e-4
warmup_steps = 0
losses = {{ mse = 1.0, gradient = 0.1 }}
"""


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., Path]:
    def write(steps: int = 8, save_every_s: float = 45) -> Path:
        path = tmp_path / "run.toml"
        path.write_text(CONFIG.format(steps=steps, save_every_s=save_every_s))
        return path

    return write


def command(config: Path, output: Path, *more: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "edgesr.cli",
        "train",
        "-c",
        str(config),
        "--images",
        str(IMAGES),
        "-o",
        str(output),
        *more,
    ]


def logged(path: Path) -> list[dict[str, Any]]:
    """What a log says of steps, apart from the clock."""
    kept = ("step", "stage", "learning_rate", "loss", "train_psnr_db", "batch")
    return [{key: json.loads(line)[key] for key in kept} for line in path.read_text().splitlines()]


def largest_difference(first: Path, second: Path) -> float:
    a, b = load_file(first), load_file(second)
    assert a.keys() == b.keys()
    return max(float((a[key] - b[key]).abs().max()) for key in a)


def test_a_run_that_was_killed_goes_on_as_if_nothing_had_happened(
    config: Callable[..., Path], run: Run, tmp_path: Path
) -> None:
    """SIGKILL, at whatever the process does then: the data are the same bit for bit, the weights within 1e-6."""
    path = config(steps=120, save_every_s=0.02)
    cut, whole = tmp_path / "cut.safetensors", tmp_path / "whole.safetensors"
    with subprocess.Popen(command(path, cut, "-q"), stderr=subprocess.PIPE) as process:
        wait_for_step(cut.with_suffix(".jsonl"), 12, process)
        process.send_signal(signal.SIGKILL)
    assert cut.with_suffix(".state").exists() and process.returncode == -signal.SIGKILL
    reached = len(logged(cut.with_suffix(".jsonl")))
    assert reached < 126
    assert run("train", "-c", path, "--images", IMAGES, "-o", cut, "--resume", "-q").done() == ""
    assert run("train", "-c", path, "--images", IMAGES, "-o", whole, "-q").done() == ""
    ours, theirs = logged(cut.with_suffix(".jsonl")), logged(whole.with_suffix(".jsonl"))
    assert [row["batch"] for row in ours] == [row["batch"] for row in theirs] and len(ours) == 126
    assert len({row["batch"] for row in theirs}) == 126
    assert largest_difference(cut, whole) <= 1e-6


def wait_for_step(log: Path, step: int, process: subprocess.Popen[bytes]) -> None:
    ends = time.monotonic() + PATIENCE_S
    while not log.exists() or log.read_text().count("\n") < step:
        assert process.poll() is None and time.monotonic() < ends, process.stderr
        time.sleep(0.01)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_two_processes_equal_one(
    config: Callable[..., Path], run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torchrun's environment, gloo; this process is the first.

    A step adds the same gradients in another order: about 1e-7 of their size. Adam divides by their root mean square,
    so a weight moves by up to the learning rate times that, 2e-10 a step; where a gradient is nothing but rounding its
    sign is free, which moves a weight by up to two learning rates a step, but none of these weights has such a one.
    1e-5 leaves both far below what one wrong batch does, which is a learning rate: 2e-3.
    """
    path, one, two = config(), tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    ranks = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    if sys.platform == "linux":
        ranks["GLOO_SOCKET_IFNAME"] = "lo"  # a container's own name need not resolve
    second = subprocess.Popen(
        command(path, two), env=os.environ | ranks | {"RANK": "1", "LOCAL_RANK": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with monkeypatch.context() as environment:
        for name, value in (ranks | {"RANK": "0", "LOCAL_RANK": "0"}).items():
            environment.setenv(name, value)
        assert "14 steps on 36 photographs" in run("train", "-c", path, "--images", IMAGES, "-o", two).out
    assert (*second.communicate(timeout=PATIENCE_S), second.returncode) == ("", "", 0)
    assert run("train", "-c", path, "--images", IMAGES, "-o", one, "-q").done() == ""
    assert largest_difference(one, two) <= 1e-5
    ours, theirs = (json.loads(p.with_suffix(".jsonl").read_text().splitlines()[-1]) for p in (one, two))
    assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
    assert "2 processes" in two.with_suffix(".md").read_text()


def test_a_run_prints_its_reports_and_what_it_wrote(config: Callable[..., Path], run: Run, tmp_path: Path) -> None:
    path, output = config(steps=2), tmp_path / "net.safetensors"
    outcome = run("train", "-c", path, "--images", IMAGES, "-o", output)
    assert outcome.code == 0 and outcome.err.count("\n") == 8 and outcome.err.startswith("step 1, stage 1: loss 0.")
    assert f"{output}: 8 steps on 36 photographs" in outcome.out and "net.md (card)" in outcome.out
    output.unlink()
    found = json.loads(run("train", "-c", path, "--images", IMAGES, "-o", output, "--json").done())
    assert found["steps"] == 8 and found["weights"] == str(output)


def test_mistakes_are_one_line(config: Callable[..., Path], run: Run, tmp_path: Path) -> None:
    path = config()
    message = run("train", "-c", "spanv2_x9", "--images", IMAGES, "-o", tmp_path / "x.safetensors").refused()
    assert message.startswith("no training configuration is called 'spanv2_x9'; did you mean spanv2_x")
    message = run("train", "-c", path, "--images", tmp_path / "none", "-o", tmp_path / "x.safetensors").refused()
    assert message.startswith("image folder not found")
    path.write_text(path.read_text().replace("batch", "bacth"))
    message = run("train", "-c", path, "--images", IMAGES, "-o", tmp_path / "x.safetensors").refused()
    assert "unknown key 'stages[0].bacth'; did you mean 'batch'?" in message
    run("train", "-c", path, "-o", tmp_path / "x.pth").refused()
    run("train", "--images", IMAGES).refused(2)
