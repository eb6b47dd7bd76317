import os
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from edgesr.architecture import Architecture, SRModel
from edgesr.errors import CheckpointError
from edgesr.images import load_rgb, pair_folders
from edgesr.model.checkpoint import load_state_dict, sha256
from edgesr.model.registry import (
    ARCHITECTURES,
    BUNDLED_MODELS,
    DEFAULT_MODEL,
    WEIGHTS_FOLDER,
    find_architecture,
    load_model,
    recognise,
)
from edgesr.model.spanv2 import SPANV2

SET5 = Path(os.environ.get("EDGESR_SHARED", Path(__file__).parents[3] / "shared")) / "images" / "set5"
BICUBIC_SET5_DB = 26.69


def write_weights(path: Path, scale: int = 4, channels: int = 4) -> Path:
    save_file(SPANV2(channels=channels, blocks=2, scale=scale).state_dict(), path)
    return path


def psnr_db(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    """RGB PSNR by the NTIRE protocol: uint8, without the 4 outermost pixels."""
    error = (a.astype(np.float64) - b)[4:-4, 4:-4]
    return float(10 * np.log10(255**2 / np.mean(error**2)))


def upscale(model: SRModel, lr: NDArray[np.uint8]) -> NDArray[np.uint8]:
    x = torch.from_numpy(lr).permute(2, 0, 1)[None].float() / 255
    output = (model.module(x).clamp(0, 1) * 255).round().to(torch.uint8)
    image: NDArray[np.uint8] = output[0].permute(1, 2, 0).numpy()
    return image


def test_names_and_signatures_are_unique() -> None:
    architectures = [architecture.name for architecture in ARCHITECTURES]
    models = [model.name for model in BUNDLED_MODELS]
    assert len(set(architectures)) == len(architectures) and len(set(models)) == len(models)
    assert len({a.signature_keys for a in ARCHITECTURES}) == len(ARCHITECTURES)


@pytest.mark.parametrize("name", [model.name for model in BUNDLED_MODELS])
def test_bundled_models_load_with_their_contract(name: str) -> None:
    model = load_model(name)
    assert model.name == name and model.source == f"bundled:{name}.safetensors"
    assert model.sha256 == sha256(WEIGHTS_FOLDER / f"{name}.safetensors")
    assert not model.module.training
    assert not any(p.requires_grad for p in model.module.parameters())
    assert (WEIGHTS_FOLDER / f"{name}.md").is_file()


def test_the_default_model_is_spanv2_x4() -> None:
    model = load_model()
    assert model.name == DEFAULT_MODEL == "spanv2_x4"
    assert model.config == {"channels": 32, "blocks": 5, "scale": 4, "in_channels": 3}
    assert (model.scale, model.value_range, model.size_multiple) == (4, 1.0, 1)
    assert sum(p.numel() for p in model.module.parameters()) == 139_104


def test_every_registered_architecture_recognises_its_bundled_weights() -> None:
    for bundled in BUNDLED_MODELS:
        assert recognise(load_state_dict(WEIGHTS_FOLDER / bundled.weights)) is bundled.architecture


@pytest.mark.parametrize("name", [None, "spanv2_x2"])
def test_weights_are_recognised_and_named(tmp_path: Path, name: str | None) -> None:
    path = write_weights(tmp_path / "mine.safetensors", scale=2)
    model = load_model(name, path)
    assert (model.name, model.scale, model.source, model.sha256) == ("spanv2_x2", 2, str(path), sha256(path))
    assert torch.equal(model.module.state_dict()["conv_near.weight"], load_state_dict(path)["conv_near.weight"])


@pytest.mark.parametrize("name", ["spanv2_x4", "swinir_x2"])
def test_a_name_that_contradicts_the_weights_is_refused(tmp_path: Path, name: str) -> None:
    path = write_weights(tmp_path / "mine.safetensors", scale=2)
    with pytest.raises(CheckpointError, match=f"spanv2_x2 weights, not {name}; drop the name"):
        load_model(name, path)


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    with pytest.raises(CheckpointError, match="no bundled model is called 'spanv3'; choose one of spanv2_x4"):
        load_model("spanv3")
    with pytest.raises(CheckpointError, match="no architecture is called 'spanv3'; choose one of spanv2"):
        find_architecture("spanv3")


def test_unknown_weights_are_refused_with_near_misses(tmp_path: Path) -> None:
    path = tmp_path / "foreign.safetensors"
    save_file({"conv_near.weight": torch.ones(1), "head.weight": torch.ones(1)}, path)
    with pytest.raises(CheckpointError) as caught:
        load_model(weights=path)
    message = str(caught.value)
    assert message.startswith(f"{path}: no known architecture has these keys (conv_near.weight, head.weight)")
    assert "spanv2 matches 1 of 5 keys (missing block_1.c1.conv.weight" in message and "\n" not in message


def test_weights_of_the_right_keys_and_wrong_shapes_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "odd.safetensors"
    save_file(SPANV2().state_dict() | {"pointwise_conv.weight": torch.ones(48, 80, 3, 3)}, path)
    with pytest.raises(CheckpointError, match=f"^{path}: not a spanv2 checkpoint: keys 1 misshapen"):
        load_model(weights=path)


def test_a_missing_file_is_named_once(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        load_model(weights=tmp_path / "missing.pth")
    assert str(caught.value).count("missing.pth") == 1


def test_bundled_weights_beat_bicubic_on_set5() -> None:
    if not (SET5 / "LR").is_dir():
        pytest.skip(f"{SET5} is missing; set EDGESR_SHARED to the folder that holds images/set5")
    model = load_model()
    scores = [psnr_db(upscale(model, load_rgb(lr)), load_rgb(hr)) for lr, hr in pair_folders(SET5 / "LR", SET5 / "HR")]
    assert np.mean(scores) >= BICUBIC_SET5_DB + 1.2


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda architecture: architecture.name)
def test_defaults_are_a_config_that_deduce_reads_back(architecture: Architecture) -> None:
    with torch.device("meta"):
        state = architecture.build(architecture.defaults).state_dict()
    assert architecture.deduce(state) == architecture.defaults
