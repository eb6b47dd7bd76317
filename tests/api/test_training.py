"""`train` as a function: what a run leaves, and what becomes of bad input."""

import errno
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from edgesr import atomic
from edgesr.api import TrainingRequest, train
from edgesr.errors import EdgeSRError, ExportError, ImageError, TrainingError
from edgesr.images import save_png
from edgesr.model.registry import load_model
from edgesr.model.training.config import (
    Device,
    LossWeights,
    NoiseConfig,
    Precision,
    RunConfig,
    Stage,
    TeacherConfig,
    TrainingConfig,
)  # fmt: skip
from edgesr.model.training.training_log import LogRecord, TrainingLog
from edgesr.quant.builtin import builtin_calibration_paths

STAGE = Stage(steps=6, batch=2, crop=8, learning_rate=1e-3, losses=LossWeights(l1=1.0), warmup_steps=2)
CONFIG = TrainingConfig(
    "spanv2", 2, (STAGE,), network={"channels": 4, "blocks": 2},
    run=RunConfig(device=Device.CPU, threads=1, loaders=1, report_every=2),
)  # fmt: skip
BUILTIN = builtin_calibration_paths()[0].parent


@pytest.fixture
def request_with(photos: Path, tmp_path: Path) -> Callable[..., TrainingRequest]:
    """A request of the small run, on three photographs."""

    def build(config: TrainingConfig = CONFIG, **fields: Any) -> TrainingRequest:
        return TrainingRequest(**{"config": config, "output": tmp_path / "net.safetensors", "images": photos, **fields})

    return build


Build = Callable[..., TrainingRequest]


def test_a_run_leaves_weights_log_plot_and_card(request_with: Build, photos: Path, tmp_path: Path) -> None:
    reports: list[LogRecord] = []
    bars: list[tuple[str, int, int]] = []
    result = train(request_with(validation=photos), lambda *bar: bars.append(bar), reports.append)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.jsonl", "net.md", "net.safetensors", "net.svg"]
    model = load_model(weights=result.weights)
    assert model.name == "spanv2_x2" and model.config["channels"] == 4
    assert TrainingLog(tmp_path / "net.jsonl").records() == reports and [r.step for r in reports] == [2, 4, 6]
    assert ("training", 6, 6) in bars and result.steps == 6 and result.photographs == 3
    assert result.validation_psnr_db is not None and 10 < result.validation_psnr_db < 50
    card = (tmp_path / "net.md").read_text()
    assert f"{result.validation_psnr_db:.2f} dB on 3 photographs" in card and f"3 photographs of {photos.name}" in card
    assert json.dumps(result.to_json())


def test_the_psnr_is_that_of_score(request_with: Build, photos: Path, tmp_path: Path) -> None:
    """The same network on the same pairs, measured by another command."""
    from edgesr.api import TimedRuns, score
    from edgesr.images import load_rgb
    from edgesr.matlab_bicubic import reduce_as_matlab

    result = train(request_with(validation=photos))
    for path in photos.iterdir():
        save_png(tmp_path / "lr" / path.name, reduce_as_matlab(load_rgb(path), 2))
    report = score([str(result.weights)], tmp_path / "lr", photos, None, TimedRuns((16, 16), 0, 0, 1))
    (model,) = report.models
    # the run keeps channels last, whose sums differ by an ulp: a value near a half may be rounded the other way
    assert model.quality is not None and result.validation_psnr_db == pytest.approx(model.quality.psnr_db, abs=1e-3)


def test_fifty_steps_make_the_loss_fall_and_the_picture_better(tmp_path: Path) -> None:
    """DISP starts at random, where SPANV2 starts at the repeated pixels: what is learned shows in few steps."""
    stage = replace(STAGE, steps=50, batch=8, crop=16, learning_rate=4e-3, warmup_steps=5)
    run, network = replace(CONFIG.run, report_every=1, validate_every=25), {"channels": 8, "blocks": 1}
    config = replace(CONFIG, architecture="disp", stages=(stage,), network=network, run=run)
    reports: list[LogRecord] = []
    train(TrainingRequest(config, tmp_path / "net.safetensors", BUILTIN, BUILTIN), report=reports.append)
    losses = [record.loss for record in reports]
    assert len(losses) == 50 and np.mean(losses[-10:]) < 0.5 * np.mean(losses[:10])
    measured = [record.validation_psnr_db for record in reports if record.validation_psnr_db is not None]
    assert len(measured) == 2 and measured[1] > measured[0] + 1


def test_a_run_depends_on_its_seed_alone(request_with: Build, tmp_path: Path) -> None:
    whole = train(request_with()).weights.read_bytes()
    again = train(request_with(output=tmp_path / "again.safetensors")).weights.read_bytes()
    other = train(request_with(replace(CONFIG, seed=1), output=tmp_path / "other.safetensors")).weights.read_bytes()
    assert whole == again and whole != other


def test_a_denoiser_learns_from_a_teacher(request_with: Build, tmp_path: Path) -> None:
    stage = replace(STAGE, steps=2, crop=16)
    config = replace(
        CONFIG, architecture="lite_denoise", scale=1, stages=(stage,), network={"width": 4}, noise=NoiseConfig(5, 25)
    )
    teacher = train(request_with(config, output=tmp_path / "teacher.safetensors")).weights
    student = replace(config, network={"width": 2})
    result = train(request_with(student, teacher=teacher, validation=request_with().images))
    assert load_model(weights=result.weights).config["width"] == 2 and result.validation_psnr_db is not None
    card = (tmp_path / "net.md").read_text()
    assert "Teacher: lite_denoise_x1" in card and "0.1 photograph : 0.9 teacher" in card


def test_what_is_for_a_gpu_is_left_out_on_a_cpu_and_said(request_with: Build, tmp_path: Path) -> None:
    config = replace(CONFIG, precision=Precision.BF16, run=replace(CONFIG.run, compile=True))
    assert train(request_with(config)).notes == (
        "precision bf16 and run.compile left out: they are for a GPU, and this is a CPU",
    )
    if not torch.cuda.is_available():
        with pytest.raises(TrainingError, match=r"run\.device is cuda, and PyTorch sees no GPU here; choose cpu"):
            on_gpu = replace(CONFIG, run=replace(CONFIG.run, device=Device.CUDA))
            train(request_with(on_gpu, output=tmp_path / "gpu.safetensors"))


def test_images_that_cannot_be_used_are_counted(request_with: Build, photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    for path in photos.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    save_png(folder / "small.png", np.zeros((8, 8, 3), np.uint8))
    result = train(request_with(images=folder))
    assert result.photographs == 3 and len(result.notes) == 2
    assert "1 of 5 images" in result.notes[0] and "broken.png" in result.notes[0] and "small.png" in result.notes[1]
    assert "broken.png" in (tmp_path / "net.md").read_text()


def test_folders_without_an_image_to_train_on_are_refused(request_with: Build, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match=r"no images in .*empty"):
        train(request_with(images=tmp_path / "empty"))
    with pytest.raises(ImageError, match="3 are smaller than a crop of 80x80"):
        train(request_with(replace(CONFIG, stages=(replace(STAGE, crop=40),))))
    with pytest.raises(TrainingError, match="give their folder by --images"):
        train(request_with(images=None))
    assert not list(tmp_path.glob("net*"))


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_its_batch(request_with: Build, tmp_path: Path) -> None:
    stage = replace(STAGE, steps=400, learning_rate=9.0, warmup_steps=0, losses=LossWeights(mse=1.0))
    config = replace(CONFIG, stages=(stage,), network={"channels": 8, "blocks": 5})
    with pytest.raises(
        TrainingError, match=r"not finite at step \d+; its batch is in .*lower the learning rate"
    ) as caught:
        train(request_with(config))
    batch = load_file(tmp_path / "net.diverged.safetensors")
    assert batch["lr"].shape == (2, 3, 8, 8) and batch["hr"].shape == (2, 3, 16, 16)
    assert "\n" not in str(caught.value) and not (tmp_path / "net.safetensors").exists()


def test_a_full_disk_stops_the_run_and_the_last_save_survives(
    request_with: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(CONFIG, run=replace(CONFIG.run, report_every=1, save_every_s=0.0))
    whole = train(request_with(config, output=tmp_path / "whole.safetensors")).weights.read_bytes()
    flush, calls = atomic._flush_to_disk, 0

    def fill_up(path: Path) -> None:
        nonlocal calls
        calls += path.suffix == ".state"
        if calls > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        flush(path)

    monkeypatch.setattr(atomic, "_flush_to_disk", fill_up)
    with pytest.raises(
        ExportError, match=r"cannot write .*net\.state: No space left.*the last save that succeeded stays"
    ):
        train(request_with(config))
    monkeypatch.setattr(atomic, "_flush_to_disk", flush)
    assert load_model(weights=tmp_path / "net.safetensors").name == "spanv2_x2"
    result = train(request_with(config, resume=True))
    assert [record.step for record in TrainingLog(tmp_path / "net.jsonl").records()] == [1, 2, 3, 4, 5, 6]
    assert result.weights.read_bytes() == whole


@pytest.fixture
def unfinished(request_with: Build) -> TrainingRequest:
    """A request whose run was interrupted."""
    stage = replace(STAGE, steps=10**6)
    request = request_with(replace(CONFIG, stages=(stage,)))

    def interrupt(record: LogRecord) -> None:
        os.kill(os.getpid(), 2)

    with pytest.raises(KeyboardInterrupt, match=r"stopped at step 2 of at most 1,000,000; .*--resume goes on"):
        train(request, report=interrupt)
    return replace(request, resume=True)


def test_another_configuration_is_refused_with_the_difference(
    unfinished: TrainingRequest, photos: Path, small_checkpoint: Path
) -> None:
    config = unfinished.config
    assert isinstance(config, TrainingConfig)
    changed = replace(config, seed=4, stages=(replace(config.stages[0], batch=4),))
    with pytest.raises(TrainingError, match=r"other settings \(stages\[0\].batch: 2 -> 4; seed: 0 -> 4\)"):
        train(replace(unfinished, config=changed))
    with pytest.raises(TrainingError, match=r"images: 3 photographs, sha256 \w+ -> 36 photographs"):
        train(replace(unfinished, images=BUILTIN))
    with pytest.raises(TrainingError, match=r"teacher.sha256: none -> \w+"):
        train(replace(unfinished, config=replace(config, teacher=TeacherConfig(small_checkpoint))))


def test_how_a_run_is_run_may_change(unfinished: TrainingRequest) -> None:
    config = unfinished.config
    assert isinstance(config, TrainingConfig)
    reports: list[LogRecord] = []

    def interrupt(record: LogRecord) -> None:
        reports.append(record)
        os.kill(os.getpid(), 15)

    with pytest.raises(KeyboardInterrupt, match="stopped at step 3"):
        train(replace(unfinished, config=replace(config, run=replace(config.run, report_every=3))), report=interrupt)
    assert [record.step for record in reports] == [3]


def test_nothing_is_overwritten_by_a_new_run(unfinished: TrainingRequest, request_with: Build, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="holds an unfinished run; go on with --resume"):
        train(replace(unfinished, resume=False))
    finished = request_with(output=tmp_path / "other.safetensors")
    train(finished)
    with pytest.raises(TrainingError, match=r"other\.safetensors exists; remove it"):
        train(finished)
    with pytest.raises(EdgeSRError, match="nothing to go on from; start without --resume"):
        train(replace(finished, resume=True))
    with pytest.raises(TrainingError, match=r"weights are written as \.safetensors"):
        train(request_with(output=tmp_path / "net.pth"))
