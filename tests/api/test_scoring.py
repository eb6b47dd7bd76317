import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from edgesr.api import OwnNetwork, TimedRuns, score
from edgesr.errors import CheckpointError, EdgeSRError, ImageError, NetworkError
from edgesr.images import load_rgb, save_png
from edgesr.model.registry import find_architecture, load_model
from edgesr.runtime.metrics import psnr_db
from edgesr.user_code import UserClass

UNTIMED = TimedRuns(runs=0)
ONCE = TimedRuns((8, 12), runs=1, warmups=0)
Save = Callable[..., Path]


@pytest.fixture
def save(tmp_path: Path) -> Save:
    """Write a small network of an architecture, its weights drawn from a seed, as a checkpoint called `name`."""

    def write(architecture: str, name: str, poison: float | None = None, **config: int) -> Path:
        config = {"channels": 4, "blocks": 2, "scale": 2} | config
        module = find_architecture(architecture).build(config)
        generator = torch.Generator().manual_seed(3)
        for weight in module.parameters():
            nn.init.normal_(weight, std=0.05, generator=generator)
            if poison is not None:
                weight.data.fill_(poison)
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        torch.save(module.state_dict(), path)
        return path

    return write


@pytest.fixture
def pairs(photos: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Pieces of photographs, and every second pixel of them."""
    lr, hr = tmp_path / "LR", tmp_path / "HR"
    for path in sorted(photos.iterdir()):
        save_png(hr / path.name, load_rgb(path))
        save_png(lr / path.name, load_rgb(path)[::2, ::2])
    return lr, hr


def test_all_figures_of_several_networks(small_checkpoint: Path, save: Save, pairs: tuple[Path, Path]) -> None:
    report = score([small_checkpoint, save("span", "base.pth")], *pairs, timed=ONCE)
    small, base = report.models
    assert (small.label, small.network, base.label, base.network) == ("small", "spanv2_x2", "base", "span_x2")
    assert report.baseline == "base" and report.size == (8, 12) and not report.notes
    own, yardstick = report.score(small), report.score(base)
    assert own is not None and yardstick is not None and yardstick.final == pytest.approx(math.exp(2))
    assert own.flops == pytest.approx(math.exp(2 * small.complexity.macs / base.complexity.macs))
    assert own.parameters == pytest.approx(math.exp(2 * small.complexity.parameters / base.complexity.parameters))
    assert small.complexity.size == (256, 256) and small.timing is not None and small.timing.runs == 1
    assert json.loads(json.dumps(report.to_json(), allow_nan=False))["models"][0]["quality"]["crop"] == 2


def test_quality_is_that_of_the_plain_forward_in_bytes(small_checkpoint: Path, pairs: tuple[Path, Path]) -> None:
    lr, hr = (sorted(folder.iterdir()) for folder in pairs)
    module, expected = load_model(weights=small_checkpoint).module, []
    for low, high in zip(lr, hr, strict=True):
        x = torch.from_numpy(load_rgb(low)).permute(2, 0, 1)[None].float() / 255
        sr = (module(x)[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
        expected.append(psnr_db(sr, load_rgb(high), 2))
    quality = score([small_checkpoint], *pairs, timed=UNTIMED).models[0].quality
    assert quality is not None and [image.psnr_db for image in quality.images] == pytest.approx(expected, abs=2e-3)


def test_what_was_not_measured_is_absent_and_said(small_checkpoint: Path) -> None:
    report = score([small_checkpoint], timed=UNTIMED)
    assert (report.models[0].quality, report.models[0].timing, report.baseline) == (None, None, None)
    assert any("PSNR was not measured" in note for note in report.notes)
    assert any("there is no score" in note for note in report.notes)
    assert any("--baseline" in note for note in score([small_checkpoint], timed=ONCE).notes)


def test_a_baseline_is_named_by_path_label_or_network(small_checkpoint: Path, save: Save) -> None:
    models = [small_checkpoint, save("span", "a.pth"), save("span", "b.pth")]
    assert "several SPAN networks" in score(models, timed=ONCE).notes[0]
    for name in (str(small_checkpoint), "small", "spanv2_x2"):
        assert score(models, baseline=name, timed=ONCE).baseline == "small"
    for name, why in (("span_x2", "is several models"), ("c.pth", "is none of the models")):
        with pytest.raises(EdgeSRError, match=f"{why}; choose one of small, a, b"):
            score(models, baseline=name, timed=ONCE)


def test_files_of_one_stem_are_told_apart_by_their_paths(save: Save) -> None:
    paths = [save("span", f"{folder}/net.pth") for folder in "ab"]
    assert [model.label for model in score(paths, timed=UNTIMED).models] == [str(path) for path in paths]


def test_unusable_models_are_refused(small_checkpoint: Path, save: Save, tmp_path: Path) -> None:
    for models, kind, why in (
        ([], EdgeSRError, "nothing to score; "),
        (["spanv3_x4"], CheckpointError, "no bundled model is called 'spanv3_x4'"),
        ([tmp_path / "gone.pth"], CheckpointError, "gone.pth"),
        ([small_checkpoint, small_checkpoint], EdgeSRError, "is given 2 times; "),
        ([small_checkpoint, save("span", "x4.pth", scale=4)], EdgeSRError, "several scales .*small x2, x4 x4.*; "),
        ([save("span", "huge.pth", poison=1e30)], CheckpointError, "values that are no numbers; "),
    ):
        with pytest.raises(kind, match=why):
            score(models, timed=UNTIMED)  # type: ignore[arg-type]  # lists of paths and lists of names


def test_a_baseline_without_runs_and_one_without_cost_are_refused(small_checkpoint: Path) -> None:
    with pytest.raises(EdgeSRError, match="no use without runtimes; "):
        score([small_checkpoint], baseline="small", timed=UNTIMED)
    with pytest.raises(ValueError, match="no such runs"):
        TimedRuns(runs=-1)


def test_images_off_the_multiple_are_padded(pairs: tuple[Path, Path], tmp_path: Path) -> None:
    denoiser = find_architecture("lite_denoise").build({"width": 2, "in_channels": 3})
    torch.save(denoiser.state_dict(), tmp_path / "denoiser.pth")
    expected = []
    for path in sorted(pairs[0].iterdir()):
        low = load_rgb(path)
        below, right = -low.shape[0] % 16, -low.shape[1] % 16
        assert below and right
        x = torch.from_numpy(low).permute(2, 0, 1)[None].float() / 255
        y = denoiser(torch.nn.functional.pad(x, (0, right, 0, below), mode="replicate"))
        picture = (y[0, :, : low.shape[0], : low.shape[1]] * 255).round().byte().permute(1, 2, 0).numpy()
        expected.append(psnr_db(picture, low, 0))
    report = score([tmp_path / "denoiser.pth"], pairs[0], pairs[0], timed=ONCE)
    quality = report.models[0].quality
    assert quality is not None and [image.psnr_db for image in quality.images] == pytest.approx(expected, abs=2e-3)
    assert report.models[0].timing is not None and report.size == (8, 12)


OWN = """
import torch
from torch import nn
print("the file runs")
class Net(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.c = nn.Conv2d(3, 12, 3, 1, 1)
        self.d = nn.Sequential(*[nn.Conv2d(12, 12, 1) for _ in range(n)], nn.PixelShuffle(2))
    def forward(self, x):
        x -= 0.5
        return self.d(self.c(x)) + 0.5
"""


def test_a_class_is_scored_like_any_other(small_checkpoint: Path, tmp_path: Path, capfd: Any) -> None:
    (tmp_path / "net.py").write_text(OWN)
    conv = {"c": nn.Conv2d(3, 12, 3), "d.0": nn.Conv2d(12, 12, 1)}
    weights = {f"{name}.{key}": value for name, part in conv.items() for key, value in part.state_dict().items()}
    torch.save(weights, tmp_path / "w.pth")
    named = UserClass(tmp_path / "net.py", "Net")
    own = OwnNetwork(named, tmp_path / "w.pth", {"n": 1})
    report = score([own, small_checkpoint], baseline=str(named), timed=ONCE)
    net = report.models[0]
    assert (net.label, net.network, report.baseline) == ("Net", "Net_x2", "Net")
    assert net.complexity.macs == 256 * 256 * (3 * 12 * 9 + 12 * 12) and net.complexity.parameters == 336 + 156
    assert "the file runs" not in capfd.readouterr().out
    with pytest.raises(NetworkError, match=r"net.py:Net has no weights, .*; give its checkpoint"):
        score([str(named)], timed=ONCE)


def test_a_run_that_would_fill_the_machine_is_refused(small_checkpoint: Path) -> None:
    with pytest.raises(EdgeSRError, match=r"99000x99000 may need .* GB of memory, .* are free; "):
        score([small_checkpoint], timed=TimedRuns((99_000, 99_000)))


def test_folders_that_do_not_pair_are_refused(small_checkpoint: Path, pairs: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for lr, hr, why in (
        (pairs[0], None, "alone pairs with nothing; "),
        (pairs[0], tmp_path / "empty", "no images in .*; "),
        (pairs[0], pairs[0], "do not fit: .* is not x2 of .*; "),
        (tmp_path / "gone", pairs[1], "not found: .*; "),
    ):
        with pytest.raises(ImageError, match=why):
            score([small_checkpoint], lr, hr, timed=UNTIMED)


def test_channels_that_psnr_is_not_of_are_refused(save: Save, pairs: tuple[Path, Path]) -> None:
    grey = save("spanv2", "grey.pth", in_channels=1)
    assert score([grey], timed=ONCE).models[0].complexity.macs > 0
    with pytest.raises(ImageError, match="takes images of 1 channels, PSNR is of RGB; "):
        score([grey], *pairs, timed=UNTIMED)
