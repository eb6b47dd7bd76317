"""What only a GPU can show: streams, CUDA graphs, torch.compile with the operator, and the benchmark itself."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from edgesr.api.cuda_benchmark import bench_on_cuda
from edgesr.api.verifying import verify_parity
from edgesr.architecture import SRModel
from edgesr.export.capture import capture
from edgesr.export.pipeline import NATIVE_FOLDS, run_folds
from edgesr.runtime.bench import Benchmark
from edgesr.runtime.cuda.fused_precision import FusedPrecision
from edgesr.runtime.cuda.gated_module import with_span_attn
from edgesr.runtime.cuda.span_attn import span_attn_operator
from edgesr.runtime.cuda.spanv2_layers import SpanV2Layers

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU is at hand"),
]


def values(dtype: torch.dtype, size: tuple[int, int] = (31, 45), channels: int = 32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, channels, *size), (2, channels, *size), (channels, channels, 1, 1), (channels,))
    return [torch.randn(*shape, generator=generator).to("cuda", dtype) for shape in shapes]


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found.double() - expected).norm() / expected.norm())


def by_hand(x: Tensor, f: Tensor, w: Tensor, b: Tensor) -> Tensor:
    gate = torch.einsum("oi,nihw->nohw", w[:, :, 0, 0].double(), f.double()) + b.double()[None, :, None, None]
    return (x.double() + f.double()) * gate


LIMITS = {torch.float32: 1e-6, torch.float16: 5e-4, torch.bfloat16: 4e-3}


@pytest.mark.parametrize("dtype", list(LIMITS), ids=str)
@pytest.mark.parametrize("channels", [24, 32, 64])
@pytest.mark.parametrize("size", [(1, 1), (31, 45)])
def test_the_operator(dtype: torch.dtype, channels: int, size: tuple[int, int]) -> None:
    operator, inputs = span_attn_operator(), values(dtype, size, channels)
    expected = by_hand(*inputs)
    assert relative(operator(*inputs), expected) <= LIMITS[dtype]
    last = inputs[0].contiguous(memory_format=torch.channels_last)
    assert relative(operator(last, *inputs[1:]), expected) <= LIMITS[dtype]
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        aside = operator(*inputs)
    stream.synchronize()
    assert torch.equal(aside, operator(*inputs)), "on a stream of its own"


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_float32_where_products_cancel(layout: torch.memory_format) -> None:
    x, f, w, b = values(torch.float32)
    f[:, 16:], w[:, 16:], b = 1.005 * f[:, :16], -w[:, :16], b / 100
    expected = by_hand(x, f, w, b)
    found = span_attn_operator()(x.contiguous(memory_format=layout), f, w, b)
    assert relative(found, expected) <= LIMITS[torch.float32]


def test_autocast_gradients_and_compile() -> None:
    operator, inputs = span_attn_operator(), [t.requires_grad_() for t in values(torch.float32)]
    with torch.autocast("cuda", torch.float16):
        output = torch.compile(lambda *t: operator(*t), fullgraph=True)(*inputs)
    assert output.dtype is torch.float16
    output.float().sum().backward()
    assert all(t.grad is not None and bool(t.grad.isfinite().all()) for t in inputs)
    torch.library.opcheck(operator, tuple(inputs))


@pytest.mark.parametrize("precision", list(FusedPrecision), ids=lambda p: p.value)
def test_replays_of_a_captured_network(precision: FusedPrecision, gentle_model: SRModel) -> None:
    from edgesr.runtime.cuda.network import FusedNetwork

    graph, _ = run_folds(capture(gentle_model), NATIVE_FOLDS)
    network = FusedNetwork(SpanV2Layers.from_graph(graph), precision, torch.device("cuda"))
    max_abs = 5e-5 if precision is FusedPrecision.FP32 else 2.5e-2
    for seed, size in enumerate([(40, 56), (3, 5), (40, 56)]):
        image = torch.rand(1, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        output = network(image.cuda()).double().cpu()
        assert float((output - graph.execute(image)).abs().max()) <= max_abs


def test_the_module_with_the_operator(gentle_model: SRModel) -> None:
    x = torch.rand(1, 3, 20, 24).cuda()
    plain, fused = copy.deepcopy(gentle_model.module).cuda(), with_span_attn(gentle_model.module).cuda()
    assert float((fused(x) - plain(x)).abs().max()) <= 5e-3, "PyTorch's TF32 may be on"


def test_verify_and_bench(exported_once: Any) -> None:
    path = exported_once.manifest.folder / "spanv2_x2-fp32.onnx"
    report = verify_parity(path, ["torch-cuda", "cuda-fused"])
    assert not report.failures and not report.emulated
    record = bench_on_cuda(path, (64, 64), runs=5, warmups=2)
    assert len(record.results) == 5 and "gpu" in record.environment
    for result in record.results[1:]:
        assert isinstance(result, Benchmark) and result.parity is not None and result.parity.psnr_db is not None
        assert result.parity.psnr_db > 50
