"""A small INT8 network as TFLite files, what runs them, and a Vela that does as it is told."""

import importlib.metadata
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from edgesr.export.folds.host_shuffle import without_shuffle
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
