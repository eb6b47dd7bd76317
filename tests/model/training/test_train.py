from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgesr.degradation import downsample
from edgesr.errors import CheckpointError, EdgeSRError
from edgesr.images import save_png
from edgesr.model.registry import load_model
from edgesr.model.spanv2 import SPANV2
from edgesr.model.training.__main__ import main
from edgesr.model.training.dataset import Pair
from edgesr.model.training.train import TrainConfig, TrainState, learning_rate, start, train

CONFIG = TrainConfig(steps=6, batch=2, crop=6, report_every=2, save_every=3)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny convolutions gain nothing from threads, and lose much on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def build() -> nn.Module:
    return SPANV2(channels=4, blocks=2)


def one_pair() -> tuple[Pair, ...]:
    hr = np.random.default_rng(0).integers(0, 256, (32, 40, 3), dtype=np.uint8)
    return (Pair(downsample(hr, 4), hr),)


def weights_of(state: TrainState) -> list[torch.Tensor]:
    return [value for module in (state.module, state.average) for value in module.state_dict().values()]


def run(config: TrainConfig = CONFIG, state: TrainState | None = None) -> tuple[TrainState, list[str], list[int]]:
    """Train to the end; return the state, the lines printed and the steps saved at."""
    state = state or start(build, config)
    lines: list[str] = []
    saves: list[int] = []
    train(state, one_pair(), 4, config, lambda reached: saves.append(reached.step), lines.append)
    return state, lines, saves


def test_a_run_reports_saves_and_changes_the_weights() -> None:
    state, lines, saves = run()
    assert state.step == 6 and saves == [3, 6]
    assert [line.split()[1] for line in lines] == ["2", "4", "6"]
    assert all("nan" not in line and "ETA" in line for line in lines)
    before = weights_of(start(build, CONFIG))
    assert not any(torch.equal(a, b) for a, b in zip(before, weights_of(state), strict=True))


def test_a_run_depends_on_its_seed_alone() -> None:
    first, again, other = run()[0], run()[0], run(replace(CONFIG, seed=1))[0]
    assert all(torch.equal(a, b) for a, b in zip(weights_of(first), weights_of(again), strict=True))
    assert not torch.equal(weights_of(first)[0], weights_of(other)[0])


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(tmp_path: Path) -> None:
    state = start(build, CONFIG)

    def save_once(reached: TrainState) -> None:
        reached.save(tmp_path / "run.state")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(state, one_pair(), 4, CONFIG, save_once, lambda line: None)
    resumed = start(build, CONFIG)
    resumed.load(tmp_path / "run.state")
    assert resumed.step == 3
    finished, whole = run(state=resumed)[0], run()[0]
    assert all(torch.equal(a, b) for a, b in zip(weights_of(finished), weights_of(whole), strict=True))


@pytest.mark.parametrize("content", [b"", b"noise", None])
def test_a_state_that_is_none_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "run.state"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match="cannot resume from it") as caught:
        start(build, CONFIG).load(path)
    assert "\n" not in str(caught.value)


def test_a_state_of_another_network_is_refused(tmp_path: Path) -> None:
    run()[0].save(tmp_path / "run.state")
    with pytest.raises(CheckpointError, match="cannot resume from it"):
        start(lambda: SPANV2(channels=8, blocks=2), CONFIG).load(tmp_path / "run.state")


def test_a_run_bound_by_time_ends_in_time() -> None:
    state = run(replace(CONFIG, steps=10**9, max_minutes=0.01))[0]
    assert 0 < state.step < 10**6 and 0.6 <= state.elapsed_s < 5


def test_a_diverging_run_stops_with_advice() -> None:
    with pytest.raises(EdgeSRError, match=r"diverged at step \d+; lower the learning rate"):
        run(replace(CONFIG, steps=400, learning_rate=1e12))


def test_the_learning_rate_warms_up_and_decays_to_its_end() -> None:
    rates = [learning_rate(step / 1000, step, CONFIG) for step in range(1001)]
    assert rates[0] == pytest.approx(CONFIG.learning_rate / 100)
    assert rates[:100] == sorted(rates[:100]) and rates[100:] == sorted(rates[100:], reverse=True)
    assert rates[-1] == pytest.approx(CONFIG.final_learning_rate)


@pytest.mark.parametrize(
    "change", [{"steps": 0}, {"batch": 0}, {"crop": -1}, {"mse_fraction": 1.5}, {"ema_decay": 1.0}, {"max_minutes": 0}]
)
def test_configs_that_cannot_run_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        replace(CONFIG, **change)


def command(tmp_path: Path, *more: str) -> list[str]:
    options = f"--images {tmp_path / 'photos'} --output {tmp_path / 'out.safetensors'} --batch 2 --crop 6"
    return [*options.split(), *more]


def test_the_command_trains_resumes_and_writes_loadable_weights(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "photos").mkdir()
    save_png(tmp_path / "photos" / "a.png", np.zeros((32, 32, 3), np.uint8))
    assert main(command(tmp_path, "--steps", "1")) == 0
    first = load_model(weights=tmp_path / "out.safetensors")
    assert main(command(tmp_path, "--steps", "2", "--resume")) == 0
    second = load_model(weights=tmp_path / "out.safetensors")
    assert first.name == second.name == "spanv2_x4" and first.sha256 != second.sha256
    assert capsys.readouterr().err == ""


def test_the_command_prints_one_line_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(tmp_path, "--steps", "1")) == 1
    captured = capsys.readouterr().err
    assert captured.startswith("error: ") and captured.count("\n") == 1


@pytest.mark.parametrize("more", [("--steps", "0"), ("--steps", "1", "--output", "x.pth"), ()])
def test_bad_options_are_usage_errors(tmp_path: Path, more: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(command(tmp_path, *more))
    assert caught.value.code == 2
