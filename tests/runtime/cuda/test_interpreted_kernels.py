"""The kernels' own sources in Triton's interpreter: no GPU, small tensors, shipped tiles."""

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from edgesr.api import verify_parity
from edgesr.architecture import SRModel
from edgesr.errors import DeviceError, UnsupportedOpError
from edgesr.export.capture import capture
from edgesr.export.pipeline import NATIVE_FOLDS, run_folds
from edgesr.graph import Graph
from edgesr.ops import Activation, Conv2d
from edgesr.runtime.cuda.backend import INTERPRETER
from edgesr.runtime.cuda.fused_precision import FusedPrecision
from edgesr.runtime.cuda.spanv2_layers import SpanV2Layers

needs_triton = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason='Triton is not installed: pip install "edgesr[cuda]"'
)
needs_no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="with a GPU the kernels run there")
GATE_LIMITS = {torch.float32: 1e-6, torch.float16: 5e-4}
NETWORK_LIMITS = {FusedPrecision.FP32: (5e-5, 2e-6), FusedPrecision.FP16: (2.5e-2, 2.5e-3)}
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def graph(gentle_model: SRModel) -> Graph:
    return run_folds(capture(gentle_model), NATIVE_FOLDS)[0]


def values(channels: int, size: tuple[int, int], dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, channels, *size), (2, channels, *size), (channels, channels, 1, 1), (channels,))
    return [(torch.randn(*shape, generator=generator) / (channels**0.5 if len(shape) == 4 and shape[2:] == (1, 1)
            and shape[0] == channels else 1)).to(dtype) for shape in shapes]  # fmt: skip


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found.double() - expected).norm() / expected.norm())


@needs_triton
@pytest.mark.parametrize("dtype", list(GATE_LIMITS), ids=str)
@pytest.mark.parametrize(("channels", "size"), [(24, (1, 1)), (32, (13, 11)), (64, (5, 3))])
def test_the_gate_kernel(channels: int, size: tuple[int, int], dtype: torch.dtype) -> None:
    from edgesr.runtime.cuda.gate_kernel import fused_gate

    x, f, w, b = values(channels, size, dtype)
    wide = [t.double() for t in (x, f, w, b)]
    expected = (wide[0] + wide[1]) * F.conv2d(wide[1], wide[2], wide[3])
    eager = relative((x + f) * F.conv2d(f, w, b), expected)
    found = fused_gate(x, f, w, b)
    assert relative(found, expected) <= GATE_LIMITS[dtype]
    if dtype is torch.float16:
        assert relative(found, expected) <= 1.25 * eager
    last = fused_gate(x.contiguous(memory_format=torch.channels_last), f, w, b)
    assert relative(last, found.double()) <= GATE_LIMITS[dtype]
    assert relative(fused_gate(x[:, :, :, :1].expand(x.shape), f, w, b),
                    (wide[0][:, :, :, :1] + wide[1]) * F.conv2d(*wide[1:])) <= GATE_LIMITS[dtype]  # fmt: skip
    assert relative(fused_gate(x, f, w, b + 1), expected) > 100 * GATE_LIMITS[dtype], "a wrong bias is seen"


@needs_triton
def test_too_many_channels_are_refused() -> None:
    from edgesr.runtime.cuda.gate_kernel import fused_gate

    with pytest.raises(DeviceError, match="x has 65 channels, the kernel takes 64"):
        fused_gate(*values(65, (1, 1), torch.float32))


@needs_triton
@pytest.mark.parametrize("precision", list(NETWORK_LIMITS), ids=lambda p: p.value)
@pytest.mark.parametrize(("count", "size"), [(1, (1, 1)), (2, (5, 19))])
def test_the_fused_network(precision: FusedPrecision, count: int, size: tuple[int, int], graph: Graph) -> None:
    from edgesr.runtime.cuda.network import FusedNetwork

    image = torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    network = FusedNetwork(SpanV2Layers.from_graph(graph), precision, CPU)
    expected = graph.execute(image)
    output = network(image)
    assert network.launch_count == 7 and output.dtype is precision.stored
    max_abs, l2 = NETWORK_LIMITS[precision]
    assert float((output.double() - expected).abs().max()) <= max_abs and relative(output, expected) <= l2
    assert torch.equal(network(image), output), "nothing is left from the first image"


def test_layers_are_the_graphs(graph: Graph) -> None:
    layers = SpanV2Layers.from_graph(graph)
    assert (layers.inputs, layers.channels, layers.near_channels, layers.scale) == (3, 8, 12, 2)
    gate = graph.producer("block_2.guidance_map_conv")
    assert isinstance(gate, Conv2d) and torch.equal(layers.gated[0].gate_weight, gate.weight)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("block_1.c2.conv", {"activation": Activation.NONE}, r"'block_1.c2.conv' is not a block's c2"),
        ("conv_near", {"bias": torch.ones(12)}, r"'conv_near' is not the near branch, which has no bias"),
        ("block_2.guidance_map_conv", {"bias": None}, r"'block_2.guidance_map_conv' is not a gate's 1x1"),
    ],
)
def test_what_is_no_spanv2_is_refused_by_name(graph: Graph, name: str, change: dict[str, Any], words: str) -> None:
    op = graph.producer(name)
    assert op is not None
    with pytest.raises(UnsupportedOpError, match=f"{words}.*cuda-fused runs SPANV2 alone, use torch-cuda"):
        SpanV2Layers.from_graph(graph.rewritten({name: (replace(op, **change),)}))


@pytest.mark.emulator
@needs_triton
@needs_no_gpu
def test_verify_runs_the_interpreter_and_says_so(exported_once: Any) -> None:
    path: Path = exported_once.manifest.folder / "spanv2_x2-fp32.onnx"
    report = verify_parity(path, ["onnxruntime", "cuda-fused"])
    assert not report.failures
    fused = [row for row in report.rows if row.runner == f"cuda-fused ({INTERPRETER})"]
    assert {row.file for row in fused} == {"spanv2_x2 (fp32)", "spanv2_x2 (fp16)"}
    assert {(run.runner, run.emulated) for run in report.emulated} == {("cuda-fused", INTERPRETER)}
    assert "onnxruntime" in {row.runner for row in report.rows}


@needs_no_gpu
def test_eager_without_a_gpu_is_refused(exported_once: Any) -> None:
    with pytest.raises(DeviceError, match=r"torch-cuda cannot run: torch .*; run this on a machine with an NVIDIA GPU"):
        verify_parity(exported_once.manifest.folder, ["torch-cuda"])
