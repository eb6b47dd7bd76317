"""INT8 integers that ship with bundled weights: used where they fit, and nowhere else."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open
from safetensors.torch import save_file

from edgesr.api import ExportRequest, export, networks
from edgesr.api.ready_int8 import find_ready, make_ready, ready_path
from edgesr.artifact import Artifact
from edgesr.export.capture import capture
from edgesr.export.pipeline import NATIVE_FOLDS, run_folds
from edgesr.model import registry
from edgesr.model.checkpoint import load_state_dict, sha256
from edgesr.model.registry import BUNDLED_MODELS, BundledModel
from edgesr.model.spanv2 import ARCHITECTURE
from edgesr.quant.images import load_calibration_images
from edgesr.quant.ready import Fit, ReadyQuantization, load_ready
from edgesr.quant.recipe import find_recipe

NAME = "spanv2_x2"


@pytest.fixture
def bundled(
    small_checkpoint: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made_once: Path
) -> Path:
    """The small network as a bundled model, in a folder of weights of its own, with its ready integers."""
    folder = Path(shutil.copytree(made_once, tmp_path / "weights"))
    monkeypatch.setattr(registry, "WEIGHTS_FOLDER", folder)
    monkeypatch.setattr(registry, "BUNDLED_MODELS", (BundledModel(NAME, ARCHITECTURE, f"{NAME}.safetensors", ""),))
    return folder


@pytest.fixture(scope="module")
def made_once(small_checkpoint: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    save_file(load_state_dict(small_checkpoint), folder / f"{NAME}.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "WEIGHTS_FOLDER", folder)
        patch.setattr(registry, "BUNDLED_MODELS", (BundledModel(NAME, ARCHITECTURE, f"{NAME}.safetensors", ""),))
        make_ready(NAME, "fast", photos, "the command", folder / "saved")
    return folder


@pytest.fixture
def exported(tmp_path: Path) -> Callable[..., Artifact]:
    from edgesr.target import find_target

    def run(target: str = "onnx-int8", **fields: Any) -> Artifact:
        chosen = find_target(target)
        assert chosen is not None
        result = export(ExportRequest(**{"targets": (chosen,), "out": tmp_path / "out", "model": NAME, **fields}))
        return result.artifacts[0]

    return run


Export = Callable[..., Artifact]


def quantization(artifact: Artifact) -> dict[str, Any]:
    found = artifact.facts["quantization"]
    assert isinstance(found, dict)
    return found


def test_the_default_export_takes_what_ships_and_says_so(bundled: Path, exported: Export, photos: Path) -> None:
    facts = quantization(exported())
    assert facts["recipe"] == "fast" and facts["notes"] == []
    assert facts["ready_made"]["command"] == "the command" and facts["ready_made"]["fits"]["weights"] == sha256(
        bundled / f"{NAME}.safetensors"
    )
    assert (facts["calibration_source"], facts["calibration_images"]) == (photos.name, 3)


def test_what_ships_are_the_bytes_that_the_same_recipe_makes(bundled: Path, exported: Export, photos: Path) -> None:
    ready = exported()
    made = exported(effort="fast", calibration=photos)
    assert "ready_made" in quantization(ready) and "ready_made" not in quantization(made)
    assert ready.sha256 == made.sha256


class Quantizing(Exception):  # noqa: N818  # no error
    """Raised where integers would be made."""


@pytest.mark.parametrize(
    "fields", [{"effort": "fast"}, {"calibration": True}, {"target": "tflite-int8", "npus": ("ethos-u85",)}], ids=str
)
def test_what_is_asked_for_is_done(
    bundled: Path, exported: Export, photos: Path, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any]
) -> None:
    """Another effort, images of the user's own, an NPU that grants fewer MACs: integers are made."""

    def note(*arguments: object, **named: object) -> None:
        raise Quantizing

    monkeypatch.setattr(networks, "quantize", note)
    with pytest.raises(Quantizing):
        exported(**{name: photos if value is True else value for name, value in fields.items()})


def test_what_does_not_fit_is_not_used_and_the_reason_said(bundled: Path) -> None:
    growth = find_recipe("fast").max_mac_growth
    model = registry.load_model(NAME)
    graph, _ = run_folds(capture(model, 3), NATIVE_FOLDS)
    assert isinstance(find_ready(model, graph, growth), ReadyQuantization)
    assert find_ready(model, graph, 1.07) == "the ready INT8 integers were made from another recipe"
    assert "from another graph" in str(find_ready(model, replace(graph, name="other"), growth))
    assert find_ready(replace(model, sha256="0" * 64), graph, growth) == ""
    assert find_ready(replace(model, name="span_x2"), graph, growth) == ""
    ready_path(NAME).write_bytes(b"damaged")
    assert "is no ready quantization" in str(find_ready(model, graph, growth))
    ready_path(NAME).unlink()
    assert find_ready(model, graph, growth) == ""


@pytest.mark.parametrize(("factor", "fits"), [(1 + 2**-50, True), (1 + 2**-20, False)])
def test_what_another_processor_rounds_otherwise_fits(bundled: Path, factor: float, fits: bool) -> None:
    model = registry.load_model(NAME)
    graph, _ = run_folds(capture(model, 3), NATIVE_FOLDS)
    graph = graph.with_parameters({key: value * factor for key, value in graph.parameters().items()})
    found = find_ready(model, graph, find_recipe("fast").max_mac_growth)
    assert isinstance(found, ReadyQuantization) == fits


def test_a_misfit_is_a_note_of_the_manifest(
    bundled: Path, exported: Export, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(networks, "find_ready", lambda *_: "the ready INT8 integers were made from another graph")
    monkeypatch.setattr(networks, "load_calibration_images", lambda _, *rest: load_calibration_images(photos, *rest))
    facts = quantization(exported())
    assert facts["notes"] == ["the ready INT8 integers were made from another graph; made new ones at effort fast"]
    assert facts["recipe"] == "fast" and "ready_made" not in facts


@pytest.mark.parametrize("bundled_model", BUNDLED_MODELS, ids=lambda model: model.name)
def test_what_ships_fits_the_code_and_the_weights(bundled_model: BundledModel) -> None:
    """Fails where weights, a fold, the capture or a recipe changed: docs/make_ready_int8.py makes them anew."""
    path = ready_path(bundled_model.name)
    if not path.exists():
        pytest.skip(f"no ready integers ship for {bundled_model.name}; docs/make_ready_int8.py makes them")
    model, ready = registry.load_model(bundled_model.name), load_ready(path)
    graph, _ = run_folds(capture(model, model.in_channels), NATIVE_FOLDS)
    assert ready.fit.misfits(Fit.of(model.sha256, graph, ready.quantization.recipe)) == ()
    assert path.stat().st_size < 600_000
    with safe_open(path, "pt") as file:
        assert len(file.metadata()) == 1
    assert {"command", "effort", "calibration_source", "date", "versions"} <= ready.provenance.keys()
