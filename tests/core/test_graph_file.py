"""Graphs come back from their files as they went in, and damaged files are refused in one line."""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from edgesr.errors import ArtifactError
from edgesr.graph import Graph
from edgesr.graph_file import METADATA_KEY, load_graph, serialize_graph
from edgesr.ops import (
    VOCABULARY,
    Activation,
    Add,
    Clip,
    Concat,
    Constant,
    Conv2d,
    Convolution,
    DepthToSpace,
    DepthwiseConv2d,
    HardSwish,
    LeakyRelu,
    MaxPool,
    Mul,
    Op,
    Relu,
    Relu6,
    Requantize,
    ResizeNearest,
    ShuffleOrder,
    Sigmoid,
    Slice,
    Sub,
    Tanh,
    TensorSpec,
)
from edgesr.quantized import QuantizedGraph, QuantizedWeight, QuantParams

GENERATOR = torch.Generator().manual_seed(0)


def randn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=GENERATOR, dtype=torch.float64)


EVERY_KIND: tuple[Op, ...] = (
    Conv2d(
        name="body.conv", inputs=("x",), weight=randn(8, 3, 3, 3), bias=randn(8), padding=(1, 1),
        activation=Activation.RELU6,
    ),
    Conv2d(name="grouped", inputs=("body.conv",), weight=randn(8, 4, 1, 3), padding=(0, 1), groups=2),
    DepthwiseConv2d(
        name="depthwise", inputs=("grouped",), weight=randn(8, 1, 3, 3), bias=randn(8), padding=(2, 2), dilation=(2, 2),
        channels=8, activation=Activation.RELU,
    ),
    Constant(name="k", inputs=(), value=randn(8)),
    Add(name="add", inputs=("depthwise", "k")),
    Sub(name="sub", inputs=("add", "grouped"), activation=Activation.RELU),
    Mul(name="mul", inputs=("sub", "add"), activation=Activation.RELU6),
    Relu(name="relu", inputs=("mul",)),
    Relu6(name="relu6", inputs=("add",)),
    LeakyRelu(name="leaky", inputs=("grouped",), slope=0.1),
    Sigmoid(name="sigmoid", inputs=("leaky",)),
    Tanh(name="tanh", inputs=("leaky",)),
    HardSwish(name="swish", inputs=("leaky",)),
    Clip(name="clip", inputs=("swish",), low=-1 / 3, high=float("inf")),
    Concat(name="cat", inputs=("relu", "relu6", "sigmoid", "tanh", "clip")),
    Slice(name="slice", inputs=("cat",), start=3, stop=39),
    DepthToSpace(name="dcr", inputs=("slice",), block=3, order=ShuffleOrder.DCR),
    DepthToSpace(name="crd", inputs=("slice",), block=3),
    ResizeNearest(name="resize", inputs=("grouped",), factor=3),
    MaxPool(name="pool", inputs=("resize",), window=3),
    ResizeNearest(name="again", inputs=("pool",), factor=3),
    Requantize(name="up", inputs=("again",)),
    Requantize(name="down", inputs=("up",)),
    Concat(name="wide", inputs=("dcr", "crd", "down")),
    Conv2d(name="out", inputs=("wide",), weight=randn(3, 16, 2, 2), stride=(2, 2)),
)  # fmt: skip
GRAPH = Graph("every kind", TensorSpec("x", 3), EVERY_KIND, "out")


def quantized(graph: Graph) -> QuantizedGraph:
    """With integers of no meaning, all different."""
    activations = {
        name: QuantParams(0.05 + index / 997, 0 if name == "up" else index - 10, 16 if name == "up" else 8)
        for index, name in enumerate(graph.specs)
    }
    weights = {
        op.name: QuantizedWeight(
            torch.randint(-127, 128, op.weight.shape, generator=GENERATOR, dtype=torch.int8),
            (1 + torch.rand(op.weight.shape[0], generator=GENERATOR, dtype=torch.float64)) / 1024,
            torch.randint(-(2**14), 2**14, (op.weight.shape[0],), generator=GENERATOR, dtype=torch.int32),
        )
        for op in graph
        if isinstance(op, Convolution)
    }
    return QuantizedGraph(graph, activations, weights)


def round_trip(network: Graph | QuantizedGraph, folder: Path) -> Graph | QuantizedGraph:
    (folder / "net.graph.safetensors").write_bytes(serialize_graph(network))
    return load_graph(folder / "net.graph.safetensors")


def assert_equal(found: object, expected: object) -> None:
    """Equal in every field, tensors bit for bit and of one dtype."""
    assert type(found) is type(expected)
    if isinstance(expected, Tensor):
        assert isinstance(found, Tensor)
        assert found.dtype == expected.dtype and torch.equal(found, expected)
    elif isinstance(expected, Op | QuantizedWeight):
        for part in dataclasses.fields(expected):
            assert_equal(getattr(found, part.name), getattr(expected, part.name))
    else:
        assert found == expected


def test_the_graph_holds_every_kind() -> None:
    assert {type(op) for op in EVERY_KIND} == set(VOCABULARY)


def test_a_float_graph_comes_back(tmp_path: Path) -> None:
    back = round_trip(GRAPH, tmp_path)
    assert isinstance(back, Graph)
    assert (back.name, back.input, back.output) == (GRAPH.name, GRAPH.input, GRAPH.output)
    for found, expected in zip(back, GRAPH, strict=True):
        assert_equal(found, expected)


@pytest.mark.parametrize("kind", VOCABULARY, ids=lambda kind: kind.__name__)
def test_every_kind_comes_back_alone(kind: type[Op], tmp_path: Path) -> None:
    """As the last operator of its own graph, so that one kind's loss cannot hide behind another's."""
    op = next(op for op in EVERY_KIND if isinstance(op, kind))
    if isinstance(op, Constant):
        op = next(op for op in EVERY_KIND if isinstance(op, Add))
    graph = replace(GRAPH, output=op.name).pruned()
    back = round_trip(graph, tmp_path)
    assert isinstance(back, Graph)
    for found, expected in zip(back, graph, strict=True):
        assert_equal(found, expected)
    x = randn(2, 3, 5, 7)
    assert torch.equal(back.execute(x), graph.execute(x))


def test_a_quantized_graph_comes_back(tmp_path: Path) -> None:
    network = quantized(GRAPH)
    back = round_trip(network, tmp_path)
    assert isinstance(back, QuantizedGraph)
    assert dict(back.activations) == dict(network.activations)
    assert set(back.weights) == set(network.weights)
    for name, weight in network.weights.items():
        assert_equal(back.weights[name], weight)
    for found, expected in zip(back.graph, GRAPH, strict=True):
        assert_equal(found, expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_comes_back_computes_the_same_bits(tmp_path: Path, dtype: torch.dtype) -> None:
    x = torch.rand(2, 3, 6, 7, generator=GENERATOR, dtype=torch.float64).to(dtype)
    back, network = round_trip(GRAPH, tmp_path), quantized(GRAPH)
    assert isinstance(back, Graph)
    assert torch.equal(back.execute(x), GRAPH.execute(x))
    integers = round_trip(network, tmp_path)
    assert isinstance(integers, QuantizedGraph)
    expected = network.execute(x)
    assert torch.equal(integers.execute(x), expected)
    assert expected.unique().numel() > 20, "the comparison must not be one of saturated values"


def test_the_same_network_gives_the_same_bytes(tmp_path: Path) -> None:
    network = quantized(GRAPH)
    for one in (GRAPH, network):
        assert serialize_graph(one) == serialize_graph(one)
        assert serialize_graph(round_trip(one, tmp_path)) == serialize_graph(one)
    reordered = QuantizedGraph(
        GRAPH, dict(reversed(network.activations.items())), dict(reversed(network.weights.items()))
    )
    assert serialize_graph(reordered) == serialize_graph(network)


def _other_slope(graph: Graph) -> Graph:
    return graph.rewritten({"leaky": (replace(next(op for op in graph if isinstance(op, LeakyRelu)), slope=0.2),)})


def _other_bit(graph: Graph) -> Graph:
    bias = graph.parameters()["body.conv", "bias"].clone()
    bias[0] = torch.nextafter(bias[0], bias[0] + 1)
    return graph.with_parameters({("body.conv", "bias"): bias})


@pytest.mark.parametrize("change", [_other_slope, _other_bit])
def test_another_network_gives_other_bytes(change: Callable[[Graph], Graph]) -> None:
    assert serialize_graph(change(GRAPH)) != serialize_graph(GRAPH)


def conv(name: str, source: str, weight: Tensor, bias: Tensor | None = None) -> Conv2d:
    return Conv2d(name=name, inputs=(source,), weight=weight, bias=bias, padding=(1, 1))


AWKWARD: dict[str, Callable[[], Tensor]] = {
    "expanded": lambda: randn(1, 3, 1, 1).expand(3, 3, 3, 3),
    "transposed": lambda: randn(3, 3, 3, 3).transpose(0, 1),
    "channels last": lambda: randn(3, 3, 3, 3).contiguous(memory_format=torch.channels_last),
    "part of another": lambda: randn(9, 3, 3, 3)[2:5],
    "trainable": lambda: randn(3, 3, 3, 3).requires_grad_(),
    "float32": lambda: randn(3, 3, 3, 3).float(),
}


@pytest.mark.parametrize("case", AWKWARD)
def test_tensors_of_any_storage_are_written(case: str, tmp_path: Path) -> None:
    weight = AWKWARD[case]()
    graph = Graph("test", TensorSpec("x", 3), (conv("a", "x", weight, weight[:, 0, 0, 0]),), "a")
    back = round_trip(graph, tmp_path)
    assert isinstance(back, Graph)
    for found, expected in zip(back.parameters().values(), graph.parameters().values(), strict=True):
        assert_equal(found, expected.detach())
    x = randn(1, 3, 4, 5)
    # strides choose the kernel, and so the order of float64 sums
    assert (back.execute(x) - graph.execute(x).detach()).abs().max() <= 1e-12


def test_operators_may_share_a_tensor(tmp_path: Path) -> None:
    """A module that is called twice gives two convolutions of one weight."""
    weight, bias = randn(3, 3, 3, 3), randn(3)
    shared = Graph("test", TensorSpec("x", 3), (conv("a", "x", weight, bias), conv("b", "a", weight, bias)), "b")
    back = round_trip(shared, tmp_path)
    assert isinstance(back, Graph)
    x = randn(1, 3, 4, 5)
    assert torch.equal(back.execute(x), shared.execute(x))


def test_serializing_leaves_the_network_alone() -> None:
    weight = randn(3, 3, 3, 3).requires_grad_()
    graph = Graph("test", TensorSpec("x", 3), (conv("a", "x", weight),), "a")
    serialize_graph(graph)
    assert graph.parameters()["a", "weight"] is weight and weight.requires_grad


SMALL = Graph(
    "small",
    TensorSpec("x", 3),
    (conv("a", "x", randn(3, 3, 3, 3), randn(3)), LeakyRelu(name="b", inputs=("a",), slope=0.1)),
    "b",
)


def parts(network: Graph | QuantizedGraph) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the description in a network's file."""
    content = serialize_graph(network)
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    return load_tensors(content), json.loads(header["__metadata__"][METADATA_KEY])


def refused(folder: Path, content: bytes) -> str:
    path = folder / "net.graph.safetensors"
    path.write_bytes(content)
    with pytest.raises(ArtifactError) as caught:
        load_graph(path)
    message = str(caught.value)
    assert message.startswith(str(path)) and message.endswith("; export again") and "\n" not in message
    return message


@pytest.mark.parametrize("content", [b"", b"\0" * 7, b"{}", b"PK\x03\x04" * 50, bytes(range(256)) * 9, b"\xff" * 64])
def test_bytes_that_are_no_file_of_tensors_are_refused(tmp_path: Path, content: bytes) -> None:
    refused(tmp_path, content)


@pytest.mark.parametrize("keep", [0.0, 0.001, 0.3, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("network", [GRAPH, quantized(GRAPH)], ids=["float", "quantized"])
def test_truncated_files_are_refused(tmp_path: Path, network: Graph | QuantizedGraph, keep: float) -> None:
    content = serialize_graph(network)
    refused(tmp_path, content[: int(keep * len(content))])


@pytest.mark.parametrize("metadata", [None, {}, {"other": "{}"}, {METADATA_KEY: ""}, {METADATA_KEY: "[1]"}])
def test_tensors_without_a_description_are_refused(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    refused(tmp_path, save_tensors({"a/weight": randn(3)}, metadata))


def _drop(*path: object) -> Callable[[Any], None]:
    def edit(plain: Any) -> None:
        for part in path[:-1]:
            plain = plain[part]
        del plain[path[-1]]

    return edit


def _put(value: object, *path: object) -> Callable[[Any], None]:
    def edit(plain: Any) -> None:
        for part in path[:-1]:
            plain = plain[part]
        plain[path[-1]] = value

    return edit


EDITS: dict[str, Callable[[Any], None]] = {
    **{f"no {name}": _drop(name) for name in ("name", "input", "output", "ops")},
    **{f"{value!r} as ops": _put(value, "ops") for value in (None, 5, "ops", {}, [None], [5], ["a"], [[]], [{}])},
    **{f"{value!r} as input": _put(value, "input") for value in (None, 5, "x", [], {})},
    **{f"{value!r} as output": _put(value, "output") for value in (None, 5, "c", [])},
    **{f"{value!r} channels": _put(value, "input", "channels") for value in (None, "3", 4, [], -3)},
    **{f"{value!r} as kind": _put(value, "ops", 0, "kind") for value in (None, 5, "Conv3d", "Op", "Tensor", [])},
    **{f"{value!r} as inputs": _put(value, "ops", 0, "inputs") for value in (None, 5, [], ["q"], ["x", "x"], [["x"]])},
    **{f"{value!r} as padding": _put(value, "ops", 0, "padding") for value in (None, 5, "11", [], [-1, 1], ["1", 1])},
    **{f"{value!r} as groups": _put(value, "ops", 0, "groups") for value in (None, 0, 2, "1", [])},
    **{f"{value!r} as activation": _put(value, "ops", 0, "activation") for value in (None, 5, "gelu", [])},
    **{f"{value!r} as name": _put(value, "ops", 1, "name") for value in (None, "a", 5, [])},
    "no kind": _drop("ops", 0, "kind"),
    "no inputs": _drop("ops", 1, "inputs"),
    "no stride": _drop("ops", 0, "stride"),
}  # fmt: skip


@pytest.mark.parametrize("case", EDITS)
def test_damaged_descriptions_are_refused(tmp_path: Path, case: str) -> None:
    tensors, description = parts(SMALL)
    EDITS[case](description)
    refused(tmp_path, save_tensors(tensors, {METADATA_KEY: json.dumps(description)}))


QUANTIZED_EDITS: dict[str, Callable[[Any], None]] = {
    "a tensor without integers": _drop("activations", "a"),
    "no scale": _drop("activations", "a", "scale"),
    **{f"{value!r} as scale": _put(value, "activations", "a", "scale") for value in (None, 0, -1.0, "1", [])},
    **{f"{value!r} as zero point": _put(value, "activations", "a", "zero_point") for value in (None, 200, "0", [])},
    **{f"{value!r} as activations": _put(value, "activations") for value in ({}, {"a": 5})},
    "an unknown entry": _put(1, "activations", "a", "axis"),
}


@pytest.mark.parametrize("case", QUANTIZED_EDITS)
def test_damaged_quantizations_are_refused(tmp_path: Path, case: str) -> None:
    tensors, description = parts(quantized(SMALL))
    QUANTIZED_EDITS[case](description)
    refused(tmp_path, save_tensors(tensors, {METADATA_KEY: json.dumps(description)}))


@pytest.mark.parametrize("name", ["a/weight", "a/integer_values", "a/integer_scales", "a/integer_bias"])
def test_lost_tensors_are_refused(tmp_path: Path, name: str) -> None:
    tensors, description = parts(quantized(SMALL))
    del tensors[name]
    refused(tmp_path, save_tensors(tensors, {METADATA_KEY: json.dumps(description)}))


@pytest.mark.parametrize("shape", [(3,), (3, 4, 3, 3), (5, 3, 3, 3), ()])
def test_tensors_of_another_shape_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    tensors, description = parts(SMALL)
    tensors["a/weight"] = randn(*shape)
    refused(tmp_path, save_tensors(tensors, {METADATA_KEY: json.dumps(description)}))


@pytest.mark.parametrize("make", [lambda folder: folder / "missing", lambda folder: folder])
def test_what_cannot_be_read_is_said_so(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    with pytest.raises(ArtifactError, match=r"\Acannot read [^\n]*; export again\Z"):
        load_graph(make(tmp_path))
