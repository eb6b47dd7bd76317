"""Ready quantizations: integers, ranges and their story in one small file, for weights that ship with edgesr.

A file fits a network whose weights, folded graph and recipe are those that it was made from, each known by its sha256;
anything else makes it stale, and it is not used. Convolutions keep their 8-bit integers q, scales s and biases as they
are. What the float graph held instead of s q, which comparisons with it need, is kept as the residual r = w / s - q in
8 bits of its own, in steps of 1/127 of a convolution's largest |r|: some hundredths of an integer's step.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from edgesr.atomic import write_atomically
from edgesr.errors import ArtifactError
from edgesr.export.pipeline import FoldRecord
from edgesr.graph import Graph
from edgesr.graph_file import describe_network, restore_network, serialize_graph
from edgesr.quant.quality_folds import FormChoice
from edgesr.quant.quantize import Candidate, Quantization
from edgesr.quant.recipe import Recipe, find_recipe
from edgesr.quantized import QuantizedGraph

METADATA_KEY = "edgesr_ready"
SUFFIX = ".int8.safetensors"
RESIDUAL, RESIDUAL_STEP = "residual", "residual_step"


@dataclass(frozen=True)
class Fit:
    """What a ready quantization was made from, as sha256 in hexadecimal."""

    weights: str
    graph: str
    recipe: str

    @classmethod
    def of(cls, weights_sha256: str, graph: Graph, recipe: Recipe) -> Fit:
        """The fit of a folded float graph, made from weights, quantized by a recipe.

        The graph counts in float32: what folds compute in float64 may differ in its last bits between processors.
        """
        in_float32 = graph.with_parameters({key: value.float() for key, value in graph.parameters().items()})
        return cls(weights_sha256, hashlib.sha256(serialize_graph(in_float32)).hexdigest(), recipe_sha256(recipe))

    def misfits(self, other: Fit) -> tuple[str, ...]:
        """The names of what differs."""
        return tuple(name for name, value in asdict(self).items() if getattr(other, name) != value)


@dataclass(frozen=True, eq=False)
class ReadyQuantization:
    """A quantization, what it fits, and where it comes from: command, images, date, versions."""

    quantization: Quantization
    fit: Fit
    provenance: Mapping[str, object]


def recipe_sha256(recipe: Recipe) -> str:
    """A digest of all that a recipe says."""
    return hashlib.sha256(repr(recipe).encode()).hexdigest()


def save_ready(path: Path, ready: ReadyQuantization) -> None:
    """Write the file, whole or not at all."""
    made = ready.quantization
    description, tensors = describe_network(made.network)
    story = {
        "network": description,
        "fit": asdict(ready.fit),
        "provenance": dict(ready.provenance),
        "recipe": made.recipe.name,
        "folds": [asdict(record) for record in made.folds],
        "forms": [asdict(choice) for choice in made.forms],
        "candidates": [asdict(candidate) for candidate in made.candidates],
        "calibration_images": made.calibration_images,
        "notes": list(made.notes),
    }
    content = save(_packed(made.network, tensors), {METADATA_KEY: json.dumps(story, sort_keys=True)})
    with write_atomically(path) as temporary:
        temporary.write_bytes(content)


def load_ready(path: Path) -> ReadyQuantization:
    """Read what `save_ready` wrote; raises `ArtifactError` for any other file."""
    try:
        with safe_open(path, "pt") as file:
            story = json.loads((file.metadata() or {})[METADATA_KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
        network = restore_network(story["network"], _unpacked(tensors))
        if not isinstance(network, QuantizedGraph):
            raise TypeError("it holds no integers")
        quantization = Quantization(
            network,
            find_recipe(story["recipe"]),
            tuple(FoldRecord(**{**record, "changed": tuple(record["changed"])}) for record in story["folds"]),
            tuple(FormChoice(**choice) for choice in story["forms"]),
            int(story["calibration_images"]),
            tuple(Candidate(**candidate) for candidate in story["candidates"]),
            tuple(story["notes"]),
        )
        return ReadyQuantization(quantization, Fit(**story["fit"]), story["provenance"])
    except Exception as error:  # a damaged file fails wherever its first wrong value is used
        why = " ".join(f"{type(error).__name__}: {error}".split())
        raise ArtifactError(f"{path} is no ready quantization ({why}); install edgesr again") from error


def _packed(network: QuantizedGraph, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with each convolution's float weight as its residual."""
    packed = dict(tensors)
    for name, weight in network.weights.items():
        scales = weight.scales.double()[:, None, None, None]
        residual = packed.pop(f"{name}/weight").double() / scales - weight.values.double()
        step = residual.abs().max().clamp_min(torch.finfo(torch.float64).tiny) / 127
        packed[f"{name}/{RESIDUAL}"] = torch.round(residual / step).to(torch.int8)
        packed[f"{name}/{RESIDUAL_STEP}"] = step.reshape(1)
    return packed


def _unpacked(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The float weights again, in float64 as the graph has them."""
    unpacked = dict(tensors)
    for name in [key.removesuffix(f"/{RESIDUAL}") for key in tensors if key.endswith(f"/{RESIDUAL}")]:
        residual = unpacked.pop(f"{name}/{RESIDUAL}").double() * unpacked.pop(f"{name}/{RESIDUAL_STEP}")
        scales = tensors[f"{name}/integer_scales"].double()[:, None, None, None]
        unpacked[f"{name}/weight"] = (tensors[f"{name}/integer_values"].double() + residual) * scales
    return unpacked
