"""What a TFLite file holds, and files that are none."""

from collections.abc import Callable

import pytest

from edgesr.errors import ArtifactError
from edgesr.export.npu.tflite_listing import count_subgraphs, list_operators
from edgesr.quantized import QuantizedGraph

KINDS = {
    "Conv2d": "CONV_2D", "DepthwiseConv2d": "DEPTHWISE_CONV_2D", "Add": "ADD", "Mul": "MUL", "Concat": "CONCATENATION",
    "DepthToSpace": "DEPTH_TO_SPACE",
}  # fmt: skip


def test_operators_are_those_of_the_graph(small_network: QuantizedGraph, native_file: bytes) -> None:
    listed = list_operators(native_file, "file")
    graph = [(op.name, KINDS[type(op).__name__]) for op in small_network.graph]
    assert [(op.name, op.kind) for op in listed] == graph
    assert [op.index for op in listed] == list(range(len(graph)))


def test_subgraphs_are_told_apart(small_network: QuantizedGraph, emit: Callable[..., bytes]) -> None:
    content = emit(small_network, (8, 8), (16, 12))
    assert count_subgraphs(content) == 2
    keys = [op.key for op in list_operators(content, "file")]
    assert len(set(keys)) == len(keys) == 2 * len(small_network.graph.ops)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "x.tflite is no TFLite file; give a .tflite file"),
        (b"GIF89a" * 40, "x.tflite is no TFLite file"),
        (b"\x10\x00\x00\x00TFL3", "x.tflite is cut short or corrupt"),
    ],
)
def test_no_tflite_file(content: bytes, message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        list_operators(content, "x.tflite")


def test_a_file_cut_short(native_file: bytes) -> None:
    with pytest.raises(ArtifactError, match="is cut short or corrupt; write or copy it again"):
        list_operators(native_file[: len(native_file) // 4], "x.tflite")
