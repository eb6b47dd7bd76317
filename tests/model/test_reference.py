import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from edgesr.architecture import SRModel
from edgesr.errors import CheckpointError, ExportError
from edgesr.model.reference import ENTRY, FIELDS, load_reference, save_reference
from edgesr.model.registry import load_model
from edgesr.model.spanv2 import SPANV2


@pytest.fixture(name="model")
def small_model(tmp_path: Path) -> SRModel:
    path = tmp_path / "weights.safetensors"
    save_file(SPANV2(channels=4, blocks=2, scale=2).state_dict(), path)
    return replace(load_model(weights=path), name="mine", value_range=255.0, size_multiple=8)


def test_a_reference_gives_back_the_model(tmp_path: Path, model: SRModel) -> None:
    save_reference(model, tmp_path / "out" / "reference.safetensors")
    loaded = load_reference(tmp_path / "out" / "reference.safetensors")
    assert {field: getattr(loaded, field) for field in FIELDS} == {field: getattr(model, field) for field in FIELDS}
    for key, value in model.module.state_dict().items():
        assert torch.equal(loaded.module.state_dict()[key], value)
    assert not loaded.module.training and not any(p.requires_grad for p in loaded.module.parameters())


def test_the_same_model_gives_the_same_bytes(tmp_path: Path, model: SRModel) -> None:
    for name in ("a", "b"):
        save_reference(model, tmp_path / f"{name}.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_saving_a_foreign_architecture_is_refused(tmp_path: Path, model: SRModel) -> None:
    with pytest.raises(CheckpointError, match="no architecture is called 'mine'"):
        save_reference(replace(model, architecture="mine"), tmp_path / "reference.safetensors")
    assert not (tmp_path / "reference.safetensors").exists()


def test_a_reference_that_cannot_be_written_is_an_export_error(tmp_path: Path, model: SRModel) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ExportError):
        save_reference(model, tmp_path / "file" / "reference.safetensors")


def write_with(path: Path, model: SRModel, changes: dict[str, Any]) -> Path:
    contract = {field: getattr(model, field) for field in FIELDS} | {"config": dict(model.config)} | changes
    save_file(model.module.state_dict(), path, {ENTRY: json.dumps(contract)})
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "swinir"}, "no architecture is called 'swinir'"),
        ({"architecture": []}, "no architecture is called"),
        ({"scale": 4}, "contradicts its tensors"),
        ({"config": {"scale": 2}}, "contradicts its tensors"),
        ({"config": None}, "contradicts its tensors"),
        ({"value_range": 0}, "damaged reference metadata"),
        ({"value_range": "wide"}, "damaged reference metadata"),
        ({"size_multiple": None}, "damaged reference metadata"),
        ({"unknown": 1}, "not a reference file"),
    ],
)
def test_changed_metadata_is_refused(tmp_path: Path, model: SRModel, changes: dict[str, Any], message: str) -> None:
    path = write_with(tmp_path / "changed.safetensors", model, changes)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_reference(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {ENTRY: "[]"}, {ENTRY: "{}"}])
def test_plain_weights_are_no_reference(tmp_path: Path, model: SRModel, metadata: dict[str, str] | None) -> None:
    path = tmp_path / "plain.safetensors"
    save_file(model.module.state_dict(), path, metadata)
    with pytest.raises(CheckpointError, match="weights, but not a reference file"):
        load_reference(path)


def test_unreadable_references_are_refused(tmp_path: Path, model: SRModel) -> None:
    path = tmp_path / "reference.safetensors"
    with pytest.raises(CheckpointError, match="no such weights file"):
        load_reference(path)
    torch.save(model.module.state_dict(), path)
    with pytest.raises(CheckpointError, match="not a reference file"):
        load_reference(path)
    save_reference(model, path)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(CheckpointError, match="truncated or damaged"):
        load_reference(path)
    save_file({"a": torch.ones(1)}, path, {ENTRY: "{not json"})
    with pytest.raises(CheckpointError, match="damaged"):
        load_reference(path)
