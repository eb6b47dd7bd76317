from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edgesr.errors import ArtifactError, ExportError
from edgesr.graph import Graph
from edgesr.graph_file import serialize_graph
from edgesr.ops import Convolution
from edgesr.quant.quantize import Candidate, quantize
from edgesr.quant.ready import Fit, ReadyQuantization, load_ready, recipe_sha256, save_ready
from edgesr.quant.recipe import RECIPES, find_recipe

FAST = find_recipe("fast")


@pytest.fixture(scope="module")
def ready(small_spanv2: Graph) -> ReadyQuantization:
    images = [np.random.default_rng(i).integers(0, 256, (48, 48, 3), np.uint8) for i in range(2)]
    made = quantize(small_spanv2, images, replace(FAST, refining_images=1))
    made = replace(made, candidates=(Candidate("not learned", "PSNR", 40.0),), notes=("a note",))
    return ReadyQuantization(made, Fit.of("ab" * 32, small_spanv2, FAST), {"command": "make it", "date": "2026-11-27"})


def test_integers_come_back_as_they_were_and_floats_nearly(ready: ReadyQuantization, tmp_path: Path) -> None:
    save_ready(tmp_path / "x.int8.safetensors", ready)
    found = load_ready(tmp_path / "x.int8.safetensors")
    ours, theirs = ready.quantization.network, found.quantization.network
    assert theirs.activations == ours.activations and found.fit == ready.fit and found.provenance == ready.provenance
    for name, weight in ours.weights.items():
        other = theirs.weights[name]
        assert all(torch.equal(getattr(weight, part), getattr(other, part)) for part in ("values", "scales", "bias"))
        assert (weight.values.dtype, weight.scales.dtype) == (other.values.dtype, other.scales.dtype)
        first, second = (network.graph.producer(name) for network in (ours, theirs))
        assert isinstance(first, Convolution) and isinstance(second, Convolution)
        scales = weight.scales[:, None, None, None]
        steps = ((first.weight - second.weight) / scales).abs().max()
        # half a residual step: 1/254 of the largest residual, which is a rounding's half step or some of GPTQ's
        largest = (first.weight / scales - weight.values).abs().max()
        assert steps <= largest / 254 * (1 + 1e-9) and second.weight.dtype == torch.float64
    image = torch.rand(1, 3, 9, 11, dtype=torch.float64)
    assert torch.equal(ours.execute(image), theirs.execute(image))


def test_the_story_comes_back(ready: ReadyQuantization, tmp_path: Path) -> None:
    save_ready(tmp_path / "x.int8.safetensors", ready)
    ours, theirs = ready.quantization, load_ready(tmp_path / "x.int8.safetensors").quantization
    assert (theirs.folds, theirs.forms, theirs.candidates, theirs.notes) == (
        ours.folds, ours.forms, ours.candidates, ours.notes,
    )  # fmt: skip
    assert theirs.recipe.name == "fast" and theirs.calibration_images == 2
    assert (tmp_path / "x.int8.safetensors").stat().st_size < len(serialize_graph(ours.network)) / 2


def test_a_fit_names_what_differs(small_spanv2: Graph) -> None:
    fit = Fit.of("ab" * 32, small_spanv2, FAST)
    assert fit.misfits(Fit.of("ab" * 32, small_spanv2, FAST)) == ()
    assert fit.misfits(Fit.of("cd" * 32, small_spanv2, FAST)) == ("weights",)
    assert fit.misfits(Fit.of("ab" * 32, small_spanv2, replace(FAST, max_mac_growth=1.1))) == ("recipe",)
    renamed = replace(small_spanv2, name="other")
    assert fit.misfits(Fit.of("ab" * 32, renamed, FAST)) == ("graph",)
    assert len({recipe_sha256(recipe) for recipe in RECIPES}) == len(RECIPES)


@pytest.mark.parametrize("content", [b"", b"no safetensors", None])
def test_what_is_no_ready_quantization_is_refused(
    content: bytes | None, ready: ReadyQuantization, tmp_path: Path
) -> None:
    path = tmp_path / "x.int8.safetensors"
    path.write_bytes(serialize_graph(ready.quantization.network) if content is None else content)
    with pytest.raises(ArtifactError, match="is no ready quantization") as caught:
        load_ready(path)
    assert "\n" not in str(caught.value)


def test_recipes_are_found_by_name() -> None:
    assert find_recipe("best").learning and not find_recipe("ready").learning
    with pytest.raises(ExportError, match="no recipe is called 'heroic'; choose from ready, fast, balanced, best"):
        find_recipe("heroic")
