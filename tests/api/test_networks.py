"""What an NPU's profile asks for reaches its files, and no other's; the host's shuffle is part of the proof."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import edgesr.artifact
from edgesr.api import ExportRequest, export, verify_parity
from edgesr.artifact import Artifact, IOContract
from edgesr.graph import Graph
from edgesr.graph_file import load_graph
from edgesr.ops import Concat, DepthwiseConv2d
from edgesr.pixel_shuffle import shuffle_pixels
from edgesr.quantized import float_graph

FOLD = "depthwise-before-concat"


def graph_of(result: Any, artifact: Artifact) -> Graph:
    return float_graph(load_graph(result.manifest.folder / artifact.graph))


def folds_of(artifact: Artifact) -> list[str]:
    folds: Any = artifact.facts["folds"]
    return [fold["fold"] for fold in folds]


def joins_before_depthwise(graph: Graph) -> int:
    return sum(isinstance(op, DepthwiseConv2d) and isinstance(graph.producer(op.inputs[0]), Concat) for op in graph)


@pytest.mark.parametrize(("target", "joins"), [("tflite-int8", 0), ("tflite-fp32", 1)])
def test_a_fold_of_the_profile_runs_for_its_npu_alone(
    target: str, joins: int, request_for: Callable[..., ExportRequest]
) -> None:
    arm = export(request_for(target, npus=("ethos-u85",), sizes=((16, 24),)))
    assert FOLD in folds_of(arm.artifacts[0]) and joins_before_depthwise(graph_of(arm, arm.artifacts[0])) == 0
    plain = export(request_for(target))
    assert FOLD not in folds_of(plain.artifacts[0])
    assert joins_before_depthwise(graph_of(plain, plain.artifacts[0])) == joins  # INT8 composes the convolution away


def columns_first(image: np.ndarray, block: int) -> np.ndarray:
    """The host's shuffle with rows and columns of each block exchanged."""
    n, h, w, c = image.shape
    split = image.reshape(n, h, w, block, block, c // block**2) if block > 1 else image
    return shuffle_pixels(split.swapaxes(3, 4).reshape(n, h, w, c), block) if block > 1 else image


@pytest.mark.parametrize("npu", ["ethos-u85", "mediatek-neuropilot"])
def test_a_host_shuffle_is_proved_in_every_size_and_broken_by_a_wrong_one(
    npu: str, request_for: Callable[..., ExportRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    result = export(request_for("tflite-int8", "tflite-fp32", npus=(npu,), sizes=((16, 24), (8, 20))))
    folder = result.manifest.folder
    assert {artifact.contract.host_shuffle for artifact in result.artifacts} == {2}
    assert verify_parity(folder).failures == ()
    monkeypatch.setattr(edgesr.artifact, "shuffle_pixels", columns_first)
    assert verify_parity(folder).failures


def test_the_contract_moves_sub_pixels_to_their_places() -> None:
    from edgesr.target import IODtype, Layout

    contract = IOContract(IODtype.UINT8, Layout.NHWC, 1, 2, 1.0, ((1, 1),), False, host_shuffle=2)
    image = contract.decode(np.array([[[[0, 51, 102, 255]]]], np.uint8))
    assert np.allclose(image[0, :, :, 0], [[0, 0.2], [0.4, 1]])
