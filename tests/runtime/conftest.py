"""A small SPANV2 exported to every target, and tools that put errors into the files: as fixtures, for all modules."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import onnx
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from onnx import numpy_helper

from edgesr.api.proving import check_file
from edgesr.architecture import SRModel
from edgesr.artifact import IOContract
from edgesr.errors import ArtifactError
from edgesr.export.capture import capture
from edgesr.export.onnx import emit_onnx
from edgesr.export.pipeline import NATIVE_FOLDS, run_folds
from edgesr.export.tflite import emit_tflite, is_resizable
from edgesr.graph import Graph
from edgesr.images import load_rgb
from edgesr.model.lite_denoise_net import LiteDenoiseNet
from edgesr.model.registry import load_model
from edgesr.quant.builtin import builtin_calibration_paths
from edgesr.quant.recipe import INTEGER_FOLDS
from edgesr.quantized import QuantizedGraph
from edgesr.runtime.parity import ParityReport
from edgesr.runtime.torch_runner import RememberingRunner, TorchRunner
from edgesr.target import Format, IODtype, Layout, Precision, Target, find_target

SHARED = Path(os.environ.get("EDGESR_SHARED", Path(__file__).parents[3] / "shared"))
OFFICIAL = SHARED / "checkpoints" / "spanv2_x4_official.pth"


@pytest.fixture(scope="session")
def images() -> list[np.ndarray]:
    """Natural images, uint8 (H, W, 3)."""
    return [load_rgb(path) for path in builtin_calibration_paths()[:12:3]]


@dataclass(frozen=True, eq=False)
class Network:
    """A model, its folded graph and that graph in integers."""

    model: SRModel
    graph: Graph
    quantized: QuantizedGraph
    reference: RememberingRunner

    def for_precision(self, precision: Precision) -> Graph | QuantizedGraph:
        """What a file of that precision holds; a16w8 files here have 8 bits, `test_wide_parity` has 16."""
        return self.quantized if precision.is_integer else self.graph


@pytest.fixture(scope="session")
def as_network(quantize_by_range: Callable[..., QuantizedGraph], images: list[np.ndarray]) -> Callable[..., Network]:
    def make(model: SRModel) -> Network:
        graph, _ = run_folds(capture(model), NATIVE_FOLDS)
        tensors = [torch.from_numpy(image / 255).permute(2, 0, 1)[None] for image in images]
        integers = quantize_by_range(graph, tensors, image_edges=True)
        return Network(model, graph, integers, RememberingRunner(TorchRunner(model)))

    return make


@pytest.fixture(scope="session")
def small(gentle_model: SRModel, as_network: Callable[..., Network]) -> Network:
    return as_network(gentle_model)


@pytest.fixture(scope="session")
def denoiser(quantize_by_range: Callable[..., QuantizedGraph], images: list[np.ndarray]) -> Network:
    """A narrow LiteDenoiseNet, which takes multiples of 16; seeded weights that keep images in range."""
    torch.manual_seed(0)
    module = LiteDenoiseNet(width=2).eval().requires_grad_(False)
    model = SRModel("denoiser", "lite_denoise", module, {}, 1, "test", "", size_multiple=16)
    graph, _ = run_folds(capture(model), NATIVE_FOLDS)
    tensors = [torch.from_numpy(image[:80, :112] / 255).permute(2, 0, 1)[None] for image in images]
    integers = quantize_by_range(run_folds(graph, INTEGER_FOLDS)[0], tensors, image_edges=True)
    return Network(model, graph, integers, RememberingRunner(TorchRunner(model)))


@pytest.fixture(scope="session")
def official() -> SRModel:
    if not OFFICIAL.exists():
        pytest.skip(f"the official checkpoint is not at {OFFICIAL}; set EDGESR_SHARED")
    return load_model(weights=OFFICIAL)


@dataclass(frozen=True, eq=False)
class Exported:
    """A file with all that proves it."""

    path: Path
    target: Target
    contract: IOContract
    network: Network

    @property
    def graph(self) -> Graph | QuantizedGraph:
        return self.network.for_precision(self.target.precision)

    def check(self, images: list[np.ndarray], runners: tuple[str, ...] | None = None, **options: Any) -> ParityReport:
        return check_file(
            self.path, self.path.name, self.target, self.contract, self.network.model, self.network.reference,
            self.graph, images, runners, **options,
        )  # fmt: skip


Export = Callable[..., Exported]


@pytest.fixture(scope="session")
def export(small: Network, tmp_path_factory: pytest.TempPathFactory) -> Export:
    """`export("tflite-int8", io=..., layout=..., sizes=..., network=...)`: the same arguments give the same file."""
    folder = tmp_path_factory.mktemp("exported")
    known: dict[tuple[object, ...], Exported] = {}

    def make(
        name: str,
        io: IODtype | None = None,
        layout: Layout | None = None,
        sizes: tuple[tuple[int, int], ...] | None = None,
        network: Network = small,
    ) -> Exported:
        key = (name, io, layout, sizes, id(network))
        if key in known:
            return known[key]
        target = find_target(name)
        assert target is not None
        io, layout = io or target.default_io, layout or target.default_layout
        tflite = target.format is Format.TFLITE
        sizes = sizes or (((32, 48),) if tflite else ())
        multiple, graph = network.model.size_multiple, network.for_precision(target.precision)
        any_size = is_resizable(network.graph) if tflite else not sizes
        contract = IOContract(io, layout, 3, network.model.scale, 1.0, sizes, any_size, multiple)
        size = sizes[0] if sizes else None
        content = (
            emit_tflite(graph, target.precision, io, sizes, {})
            if tflite
            else emit_onnx(graph, target.precision, io, layout, size, {})
        )
        path = folder / f"{len(known)}-{name}.{target.format.value}"
        path.write_bytes(content)
        known[key] = Exported(path, target, contract, network)
        return known[key]

    return make


class TFLiteFile:
    """A TFLite file's first subgraph (or another), to put errors into."""

    def __init__(self, content: bytes, subgraph: int = 0) -> None:
        self.model = schema.ModelT.InitFromPackedBuf(content, 0)
        self.graph = self.model.subgraphs[subgraph]

    def content(self) -> bytes:
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def tensor(self, name: str) -> schema.TensorT:
        (tensor,) = [t for t in self.graph.tensors if t.name.decode() == name]
        return tensor

    def operator(self, name: str) -> schema.OperatorT:
        index = self.graph.tensors.index(self.tensor(name))
        (operator,) = [o for o in self.graph.operators if index in o.outputs]
        return operator

    def change(self, name: str, edit: Callable[[np.ndarray], np.ndarray]) -> None:
        tensor = self.tensor(name)
        kinds = {0: np.float32, 1: np.float16, 2: np.int32, 9: np.int8}
        old = np.frombuffer(self.model.buffers[tensor.buffer].data.tobytes(), kinds[tensor.type])
        new = edit(old.reshape(tuple(tensor.shape)))
        assert not np.array_equal(new.ravel(), old), f"'{name}' stays the same"
        tensor.buffer = self.add_buffer(new.astype(old.dtype))

    def add_buffer(self, data: np.ndarray) -> int:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(data.tobytes(), np.uint8)
        self.model.buffers.append(buffer)
        return len(self.model.buffers) - 1

    def weight(self, op: str) -> str:
        return (
            f"{op}.weight.fp16"
            if any(t.name == f"{op}.weight.fp16".encode() for t in self.graph.tensors)
            else f"{op}.weight"
        )

    def rows(self, op: str, edit: Callable[[np.ndarray], np.ndarray]) -> None:
        """Change a weight as (outputs, kernel height, kernel width, inputs)."""
        depthwise = isinstance(self.operator(op).builtinOptions, schema.DepthwiseConv2DOptionsT)
        order = (3, 1, 2, 0) if depthwise else (0, 1, 2, 3)
        self.change(self.weight(op), lambda w: edit(w.transpose(order)).transpose(order))

    def swap(self, op: str, i: int, j: int) -> None:
        self.rows(op, lambda w: exchanged(w, i, j))

    def shift(self, op: str) -> None:
        self.rows(op, lambda w: np.roll(w, 1, axis=2))

    def scale_weight(self, op: str, factor: float) -> None:
        self.rows(op, lambda w: with_one_scaled(w, factor))

    def scale_row(self, op: str, row: int, factor: float) -> None:
        quantization = self.tensor(f"{op}.weight").quantization
        quantization.scale = quantization.scale * row_factors(len(quantization.scale), row, factor)

    def scale_activation(self, name: str, factor: float) -> None:
        quantization = self.tensor(name).quantization
        quantization.scale = quantization.scale * factor

    def move_zero_point(self, name: str, by: int) -> None:
        quantization = self.tensor(name).quantization
        quantization.zeroPoint = quantization.zeroPoint + by

    def drop_bias(self, op: str) -> None:
        name = self.weight(op).replace(".weight", ".bias")
        self.change(name, np.zeros_like)

    def move_bias(self, op: str, by: float) -> None:
        self.change(f"{op}.bias", lambda b: b + by)

    def torch_shuffle(self, op: str, block: int) -> None:
        """Put the rows in PyTorch's order, as if the fold that permutes them had not run."""

        def edit(values: np.ndarray) -> np.ndarray:
            return values[in_torch_order(len(values), block)]

        self.rows(op, edit)
        quantization = self.tensor(f"{op}.weight").quantization
        if quantization is not None and quantization.scale is not None:
            quantization.scale = edit(quantization.scale)

    def replicate_border(self, op: str) -> None:
        """Pad the convolution's input with its own border instead of zeros."""
        operator = self.operator(op)
        source = self.graph.tensors[operator.inputs[0]]
        padded, amounts = schema.TensorT(), schema.TensorT()
        padded.name, padded.type, padded.quantization = f"{op}.edge", source.type, source.quantization
        padded.shape = [source.shape[0], source.shape[1] + 2, source.shape[2] + 2, source.shape[3]]
        amounts.name, amounts.type, amounts.shape = f"{op}.amounts", schema.TensorType.INT32, [4, 2]
        amounts.buffer = self.add_buffer(np.array([[0, 0], [1, 1], [1, 1], [0, 0]], np.int32))
        self.graph.tensors += [padded, amounts]
        pad, code = schema.OperatorT(), schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.MIRROR_PAD
        code.version = 2
        self.model.operatorCodes.append(code)
        pad.opcodeIndex = len(self.model.operatorCodes) - 1
        last = len(self.graph.tensors) - 1
        pad.inputs, pad.outputs = [operator.inputs[0], last], [last - 1]
        pad.builtinOptionsType, pad.builtinOptions = schema.BuiltinOptions.MirrorPadOptions, schema.MirrorPadOptionsT()
        pad.builtinOptions.mode = schema.MirrorPadMode.SYMMETRIC
        self.graph.operators.insert(self.graph.operators.index(operator), pad)
        operator.inputs = [last - 1, *operator.inputs[1:]]
        operator.builtinOptions.padding = schema.Padding.VALID

    def drop_padding(self, op: str) -> None:
        self.operator(op).builtinOptions.padding = schema.Padding.VALID


class OnnxFile:
    """An ONNX file, to put errors into."""

    def __init__(self, content: bytes) -> None:
        self.model = onnx.load_from_string(content)
        self.graph = self.model.graph

    def content(self) -> bytes:
        onnx.checker.check_model(self.model)
        return bytes(self.model.SerializeToString())

    def change(self, name: str, edit: Callable[[np.ndarray], np.ndarray]) -> None:
        (tensor,) = [x for x in self.graph.initializer if x.name == name]
        old = numpy_helper.to_array(tensor)
        new = edit(old).astype(old.dtype)
        assert not np.array_equal(new, old), f"'{name}' stays the same"
        tensor.CopyFrom(numpy_helper.from_array(np.array(new, order="C"), name))

    def node(self, op: str) -> onnx.NodeProto:
        (node,) = [n for n in self.graph.node if n.op_type == "Conv" and n.input[1].startswith(f"{op}.weight")]
        return node

    def rows(self, op: str, edit: Callable[[np.ndarray], np.ndarray]) -> None:
        """Change a weight as (outputs, kernel height, kernel width, inputs)."""
        self.change(f"{op}.weight", lambda w: edit(w.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2))

    def swap(self, op: str, i: int, j: int) -> None:
        self.rows(op, lambda w: exchanged(w, i, j))

    def shift(self, op: str) -> None:
        self.rows(op, lambda w: np.roll(w, 1, axis=2))

    def scale_weight(self, op: str, factor: float) -> None:
        self.rows(op, lambda w: with_one_scaled(w, factor))

    def scale_row(self, op: str, row: int, factor: float) -> None:
        self.change(f"{op}.weight.scale", lambda s: s * row_factors(len(s), row, factor))

    def scale_activation(self, name: str, factor: float) -> None:
        self.change(f"{name}.scale", lambda s: s * np.float32(factor))

    def move_zero_point(self, name: str, by: int) -> None:
        self.change(f"{name}.zero_point", lambda z: z + by)

    def drop_bias(self, op: str) -> None:
        self.change(f"{op}.bias", np.zeros_like)

    def move_bias(self, op: str, by: float) -> None:
        self.change(f"{op}.bias", lambda b: b + by)

    def torch_shuffle(self, op: str, block: int) -> None:
        (node,) = [n for n in self.graph.node if n.op_type == "DepthToSpace"]
        (mode,) = [a for a in node.attribute if a.name == "mode"]
        assert mode.s == b"DCR"
        mode.s = b"CRD"

    def replicate_border(self, op: str) -> None:
        """Pad the convolution's input with its own border instead of zeros."""
        node = self.node(op)
        amounts = numpy_helper.from_array(np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64), f"{op}.amounts")
        self.graph.initializer.append(amounts)
        pad = onnx.helper.make_node("Pad", [node.input[0], amounts.name], [f"{op}.edge"], mode="edge")
        self.drop_padding(op)
        node.input[0] = f"{op}.edge"
        self.graph.node.insert(list(self.graph.node).index(node), pad)

    def drop_padding(self, op: str) -> None:
        (pads,) = [a for a in self.node(op).attribute if a.name == "pads"]
        pads.ints[:] = [0, 0, 0, 0]


def exchanged(values: np.ndarray, i: int, j: int) -> np.ndarray:
    order = np.arange(len(values))
    order[[i, j]] = j, i
    return values[order]


def with_one_scaled(values: np.ndarray, factor: float) -> np.ndarray:
    """The values with one scaled: of those that are not zero, the one of median magnitude."""
    changed = values.astype(np.float64)
    zeros = np.count_nonzero(changed == 0)
    position = np.argsort(np.abs(changed), axis=None)[zeros + (changed.size - zeros) // 2]
    changed.flat[position] *= factor
    return changed


def row_factors(rows: int, row: int, factor: float) -> np.ndarray:
    """A factor for one row, as float32: a float64 array would be packed as other bytes."""
    return np.where(np.arange(rows) == row, factor, 1).astype(np.float32)


def in_torch_order(channels: int, block: int) -> np.ndarray:
    """Where PixelShuffle looks for what DEPTH_TO_SPACE finds at each channel."""
    return np.arange(channels).reshape(-1, block * block).T.ravel()


File = TFLiteFile | OnnxFile
Tamper = Callable[..., Exported]


@pytest.fixture
def tampered(tmp_path: Path) -> Tamper:
    """`tampered(exported, lambda file: file.swap("conv", 0, 1))`: a copy with an error in it."""

    def make(exported: Exported, seed: Callable[[Any], None], subgraph: int = 0) -> Exported:
        content = exported.path.read_bytes()
        tflite = exported.target.format is Format.TFLITE
        file: File = TFLiteFile(content, subgraph) if tflite else OnnxFile(content)
        seed(file)
        path = tmp_path / exported.path.name
        path.write_bytes(file.content())
        return replace(exported, path=path)

    return make


@pytest.fixture(scope="session")
def caught(images: list[np.ndarray]) -> Callable[..., set[str]]:
    """Which checks a file fails: 'load or run', 'end to end', and each operator (or edge) by name."""

    def names(exported: Exported, runners: tuple[str, ...] | None = None) -> set[str]:
        try:
            report = exported.check(images, runners)
        except ArtifactError:
            return {"load or run"}
        ends = {"end to end" for row in report.rows if not row.passed}
        return ends | {row.operator for row in report.operators if not row.passed}

    return names
