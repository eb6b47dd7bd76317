"""Small networks as files and what runs them, a Vela that does as it is told, and the probes of the operator tables."""

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from edgesr.export.folds.host_shuffle import without_shuffle
from edgesr.export.npu.file_operator import Attributes, DType, FileOperator, FileTensor, OperatorList
from edgesr.export.pipeline import NATIVE_FOLDS, run_folds
from edgesr.export.tflite import emit_tflite
from edgesr.graph import Graph
from edgesr.quantized import QuantizedGraph
from edgesr.target import IODtype, Precision

SIZE = (12, 20)
HEADER = (
    "Original Operator,NNG Operator,Target,Staging Usage,Peak% (Staging),Op Cycles,Network% (cycles),NPU,SRAM AC,"
    "DRAM AC,OnFlash AC,OffFlash AC,MAC Count,Network% (MAC),Util% (MAC),Name"
)
LAYERS = f"""{HEADER}
Conv2D,Conv2D,NPU,2048,50,300,75,300,10,20,0,0,4000,100,40.5,conv
Conv2D,Relu,NPU,0,0,0,0,0,0,0,0,0,0,0,100,conv
Add,Add,NPU,1024,25,100,25,50,10,100,0,0,0,0,0,"a, b"
DepthToSpace,Passthrough,CPU,0,0,0,0,0,0,0,0,0,0,0,100,shuffle
"""
SUMMARY = (
    "core_clock,sram_memory_used,sram_total_bytes,dram_total_bytes,on_chip_flash_total_bytes,"
    "off_chip_flash_total_bytes,nn_macs,cycles_total\n1000000000.0,2.0,777,500,40,3,4000,400\n"
)


@pytest.fixture(scope="session")
def vela_texts() -> tuple[str, str]:
    """The summary and the layers as Vela writes them, of two operators on the NPU and one on the CPU."""
    return SUMMARY, LAYERS


@pytest.fixture(scope="session")
def small_network(small_spanv2: Graph, quantize_by_range: Callable[..., QuantizedGraph]) -> QuantizedGraph:
    """SPANV2 with 6 channels, 3 blocks and scale 2, ending in DEPTH_TO_SPACE."""
    graph, _ = run_folds(small_spanv2, NATIVE_FOLDS)
    generator = torch.Generator().manual_seed(5)
    return quantize_by_range(graph, [torch.rand(1, 3, 24, 24, generator=generator, dtype=torch.float64)], True)


@pytest.fixture(scope="session")
def official_network(official_spanv2: Graph, quantize_by_range: Callable[..., QuantizedGraph]) -> QuantizedGraph:
    """SPANV2 with the official weights, simply quantized: its integers are bad, its operators and sizes right."""
    graph, _ = run_folds(official_spanv2, NATIVE_FOLDS)
    generator = torch.Generator().manual_seed(5)
    return quantize_by_range(graph, [torch.rand(1, 3, 32, 32, generator=generator, dtype=torch.float64)], True)


def emitted(network: QuantizedGraph, *sizes: tuple[int, int]) -> bytes:
    return emit_tflite(network, Precision.INT8, IODtype.INT8, sizes or (SIZE,), {})


@pytest.fixture(scope="session")
def emit() -> Callable[..., bytes]:
    """`emit(network, (height, width), ...)`: the file, with int8 I/O."""
    return emitted


@pytest.fixture(scope="session")
def native_file(small_network: QuantizedGraph) -> bytes:
    return emitted(small_network)


@pytest.fixture(scope="session")
def bare_file(small_network: QuantizedGraph) -> bytes:
    return emitted(without_shuffle(small_network))


def run_file(content: bytes, image: np.ndarray) -> Any:
    interpreter = Interpreter(model_content=content, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


@pytest.fixture(scope="session")
def run_tflite() -> Callable[[bytes, np.ndarray], Any]:
    return run_file


@pytest.fixture
def fake_vela(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str, str], None]:
    """`fake_vela(code, version="5.2.0")`: a Vela that runs `code`, with `args` and `folder`, its output folder.

    `save(content, summary, layers)` is there for it to write a result.
    """
    prelude = """
import argparse, pathlib, sys, time
parser = argparse.ArgumentParser()
parser.add_argument("network")
for option in ("output-dir", "accelerator-config", "system-config", "memory-mode", "arena-cache-size"):
    parser.add_argument("--" + option)
parser.add_argument("--ignore-ops", action="append", default=[])
parser.add_argument("--verbose-performance", action="store_true")
parser.add_argument("--show-cpu-operations", action="store_true")
args = parser.parse_args()
folder = pathlib.Path(args.output_dir)
folder.mkdir()
def save(content, summary, layers):
    (folder / "network_vela.tflite").write_bytes(content)
    (folder / f"network_summary_{args.system_config}.csv").write_text(summary)
    (folder / "network_per-layer.csv").write_text(layers)
"""

    def install(code: str, version: str = "5.2.0") -> None:
        package = tmp_path / "fake" / "ethosu" / "vela"
        package.mkdir(parents=True)
        for folder in (package.parent, package):
            (folder / "__init__.py").touch()
        (package / "__main__.py").write_text(prelude + code)
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(tmp_path / "fake"), os.environ.get("PYTHONPATH", ""))))
        real = importlib.metadata.version
        monkeypatch.setattr(
            importlib.metadata, "version", lambda name: version if name == "ethos-u-vela" else real(name)
        )

    return install


@pytest.fixture(scope="session")
def real_sdk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The libraries of onnxruntime-qnn laid out as an SDK, and an empty libQnnLpai.so, which that package lacks.

    The compiler is linked against that library too, but calls it for another processor than the NPU alone.
    """
    spec, compiler = importlib.util.find_spec("onnxruntime_qnn"), shutil.which("cc")
    if spec is None or spec.origin is None:
        pytest.skip('no QNN libraries: pip install "edgesr[qnn]"')
    if compiler is None:
        pytest.skip("no C compiler to build an empty libQnnLpai.so with")
    folder = tmp_path_factory.mktemp("qairt") / "lib" / "x86_64-linux-clang"
    folder.mkdir(parents=True)
    package = Path(spec.origin).parent
    for library in (*package.glob("*.so"), *(package.parent / "onnxruntime_qnn.libs").glob("*")):
        (folder / library.name).symlink_to(library)
    (folder / "empty.c").write_text("void edgesr_empty(void) {}\n")
    target = ["-o", str(folder / "libQnnLpai.so"), "-Wl,-soname,libQnnLpai.so", str(folder / "empty.c")]
    subprocess.run([compiler, "-shared", "-fPIC", *target], check=True, timeout=60)
    return folder.parents[1]


SIDE = 16
WIDE = (DType.INT16, DType.UINT16)
CONV_VARIANTS: dict[str, dict[str, Any]] = {
    "1x1": {"kernel": (1, 1)},
    "5x5": {"kernel": (5, 5)},
    "relu": {"activation": "RELU"},
    "relu6": {"activation": "RELU6"},
    "relu_n1_to_1": {"activation": "RELU_N1_TO_1"},
    "stride2": {"stride": (2, 2), "output_hw": (8, 8)},
    "dil2": {"dilation": (2, 2)},
    "no_bias": {"has_bias": False, "bias_dtype": None},
    "groups2": {"groups": 2},
    "oc3": {"out_channels": 3},
    "mult2": {"depth_multiplier": 2, "out_channels": 16},
    "mult16_c3": {"depth_multiplier": 16, "in_channels": 3, "out_channels": 48, "kernel": (1, 1)},
    "c1_mult8": {"depth_multiplier": 8, "in_channels": 1},
    "bias32": {"bias_dtype": DType.INT32},
    "s8 weights int32 bias": {"bias_dtype": DType.INT32},
    "u8 weights int32 bias": {"bias_dtype": DType.INT32},
    "per_tensor": {},
    "plain": {},
}


def probe(kind: str, variant: str, dtype: DType) -> FileOperator:
    """The operator of a probe model: 16x16x8, in the variant's form."""
    known = Attributes(
        input_hw=(SIDE, SIDE), output_hw=(SIDE, SIDE), in_channels=8, out_channels=8, batch=1, activation="NONE"
    )
    source, result = tensor("x", dtype), tensor("y", dtype)
    if kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        bias = DType.INT64 if dtype in WIDE else DType.FLOAT32 if dtype.is_float else DType.INT32
        known = replace(
            known, kernel=(3, 3), stride=(1, 1), dilation=(1, 1), padding="SAME", has_bias=True, bias_dtype=bias,
            groups=1, weight_rank=4, depth_multiplier=1 if kind == "DEPTHWISE_CONV_2D" else None,
        )  # fmt: skip
        known = replace(known, **CONV_VARIANTS[variant])
    elif kind == "TRANSPOSE_CONV":
        known = transposed(known, variant)
    elif kind.startswith("RESIZE"):
        factor = int(variant[1])
        known = replace(
            known, output_hw=(SIDE * factor,) * 2, half_pixel_centers=variant.endswith("_hp"),
            align_corners=variant.endswith("_al"),
        )  # fmt: skip
    elif kind in ("RESHAPE", "TRANSPOSE") and variant.startswith("rank"):
        source = tensor("x", dtype, (1,) * int(variant[-1]))
    elif kind == "QUANTIZE":
        source, result = quantized(variant, dtype)
    elif kind == "CAST":
        source, result = (
            (tensor("x", dtype), tensor("y", DType.UINT8))
            if variant == "f_to_u8"
            else (tensor("x", DType.UINT8), tensor("y", dtype))
        )
    elif kind == "DEQUANTIZE":
        result = tensor("y", DType.FLOAT32)
    return FileOperator("y", kind, kind, dtype, (source,), (result,), others(kind, variant, known))


def transposed(known: Attributes, variant: str) -> Attributes:
    """`s4k8_same`: stride 4, kernel 8."""
    stride, kernel = int(variant[1]), int(variant[3])
    side = 15 if variant.endswith("h15") else SIDE
    return replace(
        known, stride=(stride,) * 2, kernel=(kernel,) * 2, padding="VALID" if "valid" in variant else "SAME",
        input_hw=(side,) * 2, output_hw=(side * stride,) * 2, activation="RELU" if "relu" in variant else "NONE",
    )  # fmt: skip


def quantized(variant: str, dtype: DType) -> tuple[FileTensor, FileTensor]:
    """What goes into a QUANTIZE and comes out."""
    names = {"f32_to_q": DType.FLOAT32, "u8_to_q": DType.UINT8, "i8_to_i16": DType.INT8, "i16_to_i8": DType.INT16}
    return tensor("x", names.get(variant, dtype)), tensor("y", dtype)


def others(kind: str, variant: str, known: Attributes) -> Attributes:
    """What the rest of the operators' rules ask for."""
    if kind in ("MEAN", "SUM", "REDUCE_MAX"):
        return replace(known, axes_include_channel=variant == "c_keep")
    if kind == "GELU":
        return replace(known, approximate=variant == "approx")
    if kind == "GATHER":
        return replace(known, batch_dims=0, axis_equals_batch_dims=False)
    if kind == "AVERAGE_POOL_2D":
        return replace(known, kernel=(2, 2), stride=(2, 2), padding="VALID")
    return replace(known, beta=1.0, ellipsis_mask=0, offset=False, strides=(1, 1, 1, 1))


def tensor(name: str, dtype: DType, shape: tuple[int, ...] = (1, SIDE, SIDE, 8)) -> FileTensor:
    return FileTensor(name, shape, dtype, False, not dtype.is_float)


@pytest.fixture(scope="session")
def probe_of() -> Callable[[str, str, DType], FileOperator]:
    """`probe_of("CONV_2D", "relu6", DType.INT16)`."""
    return probe


@pytest.fixture(scope="session")
def network_of() -> Callable[..., OperatorList]:
    """A network of the given operators, one behind the other."""

    def build(*operators: FileOperator) -> OperatorList:
        chained = []
        for index, op in enumerate(operators):
            source, result = (replace(t, name=f"{n}") for t, n in ((op.inputs[0], index), (op.outputs[0], index + 1)))
            chained.append(replace(op, name=f"{op.kind.lower()}_{index}", inputs=(source,), outputs=(result,)))
        return OperatorList("network", None, tuple(chained), chained[0].inputs)

    return build
