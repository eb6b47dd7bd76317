"""Files for images too large to compute on here are proved on a copy of small size.

A network's arithmetic does not depend on the size of its image, only its shapes do. Where a file's fixed sizes exceed
`LARGEST_PROVED_PIXELS`, the float64 reference would take minutes and gigabytes, so parity is measured on a copy made
from the file's own bytes: the same operators, constants and quantization, only the shapes are exchanged. The file
itself must still load. The copies:

- ONNX: height and width of input and output become free.
- TFLite: each subgraph's input becomes small, sizes that operators store follow it (`stored_sizes`), and every other
  shape is what LiteRT itself infers. To prepare a TFLite file at its own size is to allocate every activation, so the
  file itself is parsed and verified, no more.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import flatbuffers
import onnx
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from edgesr.api.stored_sizes import follow_image
from edgesr.artifact import IOContract
from edgesr.errors import ArtifactError, first_line
from edgesr.export.tflite import is_resizable
from edgesr.graph import Graph
from edgesr.runtime.native_output import native_output_kept_quiet
from edgesr.runtime.parity import ParityReport
from edgesr.runtime.runners import open_runner
from edgesr.target import Format, Layout, Target

LARGEST_PROVED_PIXELS = 480 * 270
"""A quarter of full HD, for which the released SPANV2 takes half a minute and under 4 GB on two cores."""
SMALL_HEIGHT, SMALL_WIDTH, HEIGHT_STEP = 24, 40, 8
MARK = ", small copy"


@contextmanager
def provable(path: Path, target: Target, contract: IOContract) -> Iterator[tuple[Path, IOContract, bool]]:
    """The file and contract to measure parity on, and whether they are a small copy's.

    Raises `ArtifactError` where the file does not load, or cannot be copied because its operators store a size.
    """
    if all(height * width <= LARGEST_PROVED_PIXELS for height, width in contract.sizes):
        yield path, contract, False
        return
    if target.format is Format.ONNX:
        open_runner(target.runners[0], target, path, contract)
        content, small = free_onnx(path.read_bytes(), contract)
    else:
        content, small = small_tflite(path, contract)
    with tempfile.TemporaryDirectory(prefix="edgesr-") as folder:
        copy = Path(folder) / path.name
        copy.write_bytes(content)
        yield copy, small, True


def any_size_source(
    path: Path, target: Target, contract: IOContract, graph: Graph, folder: Path
) -> tuple[Path, IOContract]:
    """What a compiled file of one size was compiled from, for images of any size, where its operators store none."""
    free = dataclasses.replace(contract, any_size=True)
    if target.format is Format.TFLITE:
        return path, free if is_resizable(graph) else contract
    copy = folder / f"any-size-{path.name}"
    copy.write_bytes(free_onnx(path.read_bytes(), contract)[0])
    return copy, free


def marked(report: ParityReport) -> ParityReport:
    """The report with each case named as one on a small copy."""
    rows = tuple(dataclasses.replace(row, case=f"{row.case}{MARK}") for row in report.rows)
    return dataclasses.replace(report, rows=rows)


def free_onnx(content: bytes, contract: IOContract) -> tuple[bytes, IOContract]:
    """The ONNX file with free height and width, and its contract."""
    model = onnx.load_from_string(content)
    axes = (2, 3) if contract.layout is Layout.NCHW else (1, 2)
    for name, value in (("", model.graph.input[0]), ("output_", model.graph.output[0])):
        for axis, side in zip(axes, ("height", "width"), strict=True):
            value.type.tensor_type.shape.dim[axis].dim_param = f"{name}{side}"
    del model.graph.value_info[:]
    return model.SerializeToString(), dataclasses.replace(contract, sizes=(), any_size=True)


def small_tflite(path: Path, contract: IOContract) -> tuple[bytes, IOContract]:
    """The TFLite file with a small image in each subgraph, all of different heights, and its contract."""
    content = path.read_bytes()
    _require_readable(content, path)
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    if len(model.subgraphs) != len(contract.sizes):
        found, wanted = len(model.subgraphs), len(contract.sizes)
        raise ArtifactError(f"{path} holds {found} subgraphs, its manifest says {wanted} sizes; export it again")
    sizes = tuple(_small_size(index, contract.size_multiple) for index in range(len(contract.sizes)))
    for graph, size, (height, width) in zip(model.subgraphs, contract.sizes, sizes, strict=True):
        follow_image(model, graph, size, (height, width), path)
        image = graph.tensors[graph.inputs[0]]
        image.shape = [1, height, width, contract.channels]
        for index, shape in _inferred_shapes(model, graph).items():
            graph.tensors[index].shape = shape
    return _pack(model), dataclasses.replace(contract, sizes=sizes)


def _small_size(index: int, multiple: int) -> tuple[int, int]:
    height, width = (max(1, side // multiple) * multiple for side in (SMALL_HEIGHT, SMALL_WIDTH))
    return height + index * max(HEIGHT_STEP // multiple, 1) * multiple, width


def _require_readable(content: bytes, path: Path) -> None:
    try:
        with native_output_kept_quiet():
            Interpreter(model_content=content)
    except (ValueError, RuntimeError) as error:
        raise ArtifactError(f"LiteRT cannot load {path}: {first_line(error)}; export it again") from error


def _inferred_shapes(model: schema.ModelT, graph: schema.SubGraphT) -> dict[int, list[int]]:
    """The shape of each tensor that an operator of the subgraph computes, as LiteRT's own kernels infer it."""
    alone = schema.ModelT()
    alone.version, alone.operatorCodes, alone.buffers = model.version, model.operatorCodes, model.buffers
    alone.subgraphs = [graph]
    kernels = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    with native_output_kept_quiet():
        interpreter = Interpreter(model_content=_pack(alone), experimental_op_resolver_type=kernels)
        interpreter.allocate_tensors()
    computed = {int(index) for op in graph.operators for index in op.outputs}
    found = {int(detail["index"]): detail["shape"].tolist() for detail in interpreter.get_tensor_details()}
    return {index: found[index] for index in computed}


def _pack(model: schema.ModelT) -> bytes:
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
