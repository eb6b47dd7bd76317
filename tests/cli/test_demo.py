"""The picture that `make demo` ends with."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from edgesr.api.verifying import as_image_function
from edgesr.images import load_rgb
from edgesr.model.reference import load_reference
from edgesr.runtime.torch_runner import TorchRunner
from edgesr.target import TARGETS

SCRIPT = Path(__file__).parents[2] / "docs" / "demo" / "make_picture.py"


@pytest.fixture(scope="module")
def demo() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_picture", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_before_and_after_stand_side_by_side(
    demo: ModuleType, exported_once: Any, photos: Path, tmp_path: Path
) -> None:
    photo, out = sorted(photos.iterdir())[0], tmp_path / "picture.png"
    artifact = exported_once.manifest.folder / "spanv2_x2-int8.tflite"
    done = CliRunner().invoke(demo.command, [str(artifact), str(photo), str(out)])
    assert (done.exit_code, done.output) == (0, "")
    picture, small = load_rgb(out)[demo.CAPTION_HEIGHT :], load_rgb(photo)
    height, width = 2 * small.shape[0], 2 * small.shape[1]
    assert picture.shape == (height, 2 * width + demo.GAP, 3)
    before, after = picture[:, :width], picture[:, width + demo.GAP :]
    bicubic = np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))
    assert np.array_equal(before, bicubic)
    (found,) = (a for a in exported_once.artifacts if a.file == artifact.name)
    network = TorchRunner(load_reference(exported_once.manifest.folder / found.reference), torch.float32)
    expected = as_image_function(network, found.contract)(small)
    assert 0 < np.abs(after.astype(int) - expected.astype(int)).mean() < 3 < np.abs(after.astype(int) - before).mean()


def test_what_cannot_be_shown_is_told_in_one_line(
    demo: ModuleType, exported_once: Any, photos: Path, tmp_path: Path
) -> None:
    folder, photo = exported_once.manifest.folder, sorted(photos.iterdir())[0]
    file = folder / "spanv2_x2-fp32.onnx"
    for arguments, words in (
        ((folder, photo, tmp_path / "a.png"), f"holds {len(TARGETS)} artifacts; give one of its files"),
        ((file, tmp_path / "none.png", tmp_path / "a.png"), "image not found: "),
        ((file, photo, tmp_path / "a.jpg"), "give a name that ends in .png"),
    ):
        done = CliRunner().invoke(demo.command, [str(argument) for argument in arguments])
        assert done.exit_code == 1 and words in done.output and done.output.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
