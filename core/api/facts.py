"""What a manifest records of an export beside hashes and contracts: where a file came from, and every choice made."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
from collections import Counter
from collections.abc import Sequence

from edgesr.architecture import SRModel
from edgesr.export.pipeline import FoldRecord
from edgesr.graph import Graph
from edgesr.npu_profile import NpuProfile
from edgesr.ops import Op
from edgesr.quant.images import CalibrationImages
from edgesr.quant.quantize import Quantization

RECORDED_PACKAGES = ("edgesr", "torch", "onnx", "onnxruntime", "ai-edge-litert", "numpy", "flatbuffers", "pillow")


def describe_origin(model: SRModel, folds: Sequence[FoldRecord], graph: Graph) -> dict[str, object]:
    """How a file was made, and the folds that its graph went through."""
    return {
        **describe_making(model),
        "folds": [dataclasses.asdict(record) | {"changed": list(record.changed)} for record in folds],
        "graph": _describe_graph(graph),
    }


def describe_making(model: SRModel) -> dict[str, object]:
    """When, with what and from what a file was made."""
    return {
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": describe_versions(),
        "model": describe_model(model),
    }


def describe_versions() -> dict[str, str]:
    """The packages here that decide on a file's bytes, or prove it."""
    return {name: importlib.metadata.version(name) for name in RECORDED_PACKAGES}


def describe_quantization(quantization: Quantization, images: CalibrationImages) -> dict[str, object]:
    """The recipe, what it compared, which graph forms it chose and why, and what calibrated it."""
    recipe = quantization.recipe
    return {
        "recipe": recipe.name,
        "ranges": recipe.ranges.method.value,
        "tail": recipe.ranges.tail,
        "equalization": recipe.equalization,
        "gptq": recipe.gptq,
        "bias_correction": recipe.bias_correction,
        "sign_split": recipe.sign_split,
        "max_mac_growth": recipe.max_mac_growth,
        "learning": [{"stage": plan.name, "steps": plan.steps} for plan in recipe.learning],
        "compared_on_held_out_images": [dataclasses.asdict(c) for c in quantization.candidates],
        "graph_forms": [dataclasses.asdict(choice) for choice in quantization.forms],
        "notes": list(quantization.notes),
        "calibration_source": images.source,
        "calibration_images": len(images.names),
    }


def describe_npu(npu: NpuProfile, graph: Graph) -> dict[str, object]:
    """What the profile of an NPU asked for, and what the graph has of it."""
    return {
        "profile": npu.name,
        "tail": npu.tail.value,
        "tail_why": npu.tail_why,
        "max_mac_growth": npu.max_mac_growth,
        "folds": dict(npu.folds),
        "assumption": npu.assumption,
        "host_shuffle": npu.host_shuffle(graph),
    }


def describe_model(model: SRModel) -> dict[str, object]:
    """What the network is and where its weights came from."""
    return describe_network(model) | {"source": model.source}


def describe_network(model: SRModel) -> dict[str, object]:
    """What the network is, wherever its weights lie: files say no more, so that they are the same in every folder."""
    kept = ("name", "architecture", "config", "sha256")
    return {name: getattr(model, name) for name in kept} | {"config": dict(model.config)}


def _describe_graph(graph: Graph) -> dict[str, object]:
    kinds: Counter[type[Op]] = Counter(type(op) for op in graph)
    return {
        "operators": {kind.__name__: count for kind, count in sorted(kinds.items(), key=lambda item: item[0].__name__)},
        "parameters": graph.parameter_count(),
        "macs_per_input_pixel": float(graph.macs_per_input_pixel()),
    }
