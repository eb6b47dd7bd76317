"""The operator on the CPU: what PyTorch asks of an operator, and that networks with it are captured as without."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edgesr.architecture import SRModel
from edgesr.errors import EdgeSRError
from edgesr.export.capture import capture
from edgesr.export.onnx import emit_onnx
from edgesr.export.pipeline import NATIVE_FOLDS, run_folds
from edgesr.export.tflite import emit_tflite
from edgesr.graph import Graph
from edgesr.graph_file import serialize_graph
from edgesr.runtime.cuda.gated_module import with_span_attn
from edgesr.runtime.cuda.span_attn import span_attn_operator
from edgesr.span_gate import native_decompositions
from edgesr.target import IODtype, Layout, Precision

LAST = torch.channels_last


@pytest.fixture(scope="module")
def operator() -> Any:
    return span_attn_operator()


def inputs(dtype: torch.dtype = torch.float64, channels: int = 5, size: tuple[int, int] = (3, 4)) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, channels, *size), (2, channels, *size), (channels, channels, 1, 1), (channels,))
    return [torch.randn(*shape, dtype=torch.float64, generator=generator).to(dtype) for shape in shapes]


def differentiable(tensors: list[Tensor]) -> list[Tensor]:
    return [tensor.detach().requires_grad_() for tensor in tensors]


def by_hand(x: Tensor, f: Tensor, w: Tensor, b: Tensor) -> Tensor:
    """The formula a second time: the matrix product as a sum over positions."""
    gate = torch.einsum("oi,nihw->nohw", w[:, :, 0, 0], f) + b[None, :, None, None]
    return x * gate + f * gate


def test_the_formula(operator: Any) -> None:
    values = inputs()
    assert torch.allclose(operator(*values), by_hand(*values), rtol=1e-13, atol=1e-13)


def test_it_is_torchs_operator(operator: Any) -> None:
    assert span_attn_operator() is operator is torch.ops.edgesr.span_attn.default


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("memory", [LAST, torch.contiguous_format], ids=str)
def test_opcheck(operator: Any, dtype: torch.dtype, memory: torch.memory_format) -> None:
    x, *others = inputs(dtype)
    torch.library.opcheck(operator, tuple(differentiable([x.contiguous(memory_format=memory), *others])))


def test_gradients_of_first_and_second_order(operator: Any) -> None:
    assert torch.autograd.gradcheck(operator, differentiable(inputs(channels=3, size=(2, 3))))
    assert torch.autograd.gradgradcheck(operator, differentiable(inputs(channels=2, size=(1, 2))))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_autocast_takes_the_dtype_that_was_asked_for(operator: Any, dtype: torch.dtype) -> None:
    values = differentiable(inputs(torch.float32))
    with torch.autocast("cpu", dtype):
        output = operator(*values)
        also = operator(values[0].to(dtype), *values[1:])
    assert output.dtype is also.dtype is dtype
    output.sum().backward()
    assert all(value.grad is not None and value.grad.dtype is torch.float32 for value in values)
    assert operator(*values).dtype is torch.float32


def test_compile_sees_one_graph(operator: Any) -> None:
    values = inputs(torch.float32)
    compiled = torch.compile(lambda *tensors: 2 * operator(*tensors), fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(*values), 2 * operator(*values))
    with torch.autocast("cpu", torch.bfloat16):
        assert compiled(*values).dtype is torch.bfloat16


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 3)])
@pytest.mark.parametrize("channels", [1, 24, 33, 64])
def test_any_size_and_memory_format(operator: Any, channels: int, size: tuple[int, int]) -> None:
    x, f, w, b = inputs(channels=channels, size=size)
    wide = torch.zeros(2, channels, size[0] + 2, size[1] * 2, dtype=x.dtype)
    sliced = wide[:, :, 1:-1, ::2]
    sliced.copy_(x)
    expected = by_hand(x, f, w, b)
    for other in (x, x.contiguous(memory_format=LAST), sliced):
        output = operator(other, f, w, b)
        assert torch.allclose(output, expected, rtol=1e-12, atol=1e-12)
        last = other.is_contiguous(memory_format=LAST) and not other.is_contiguous()
        assert output.is_contiguous(memory_format=LAST if last else torch.contiguous_format)
        assert output.stride() == operator(*(value.to("meta") for value in (other, f, w, b))).stride()
    one = x[:, :1].expand(x.shape)
    assert torch.allclose(operator(one, f, w, b), by_hand(one, f, w, b), rtol=1e-12, atol=1e-12)


def test_no_image_at_all(operator: Any) -> None:
    x, f, w, b = inputs()
    assert operator(x[:0], f[:0], w, b).shape == (0, *x.shape[1:])


@pytest.mark.parametrize("meta", [False, True])
@pytest.mark.parametrize(
    ("position", "change", "kind", "words"),
    [
        (0, lambda t: t[0], ValueError, r"x has shape \(5, 3, 4\), wanted \(N, C, H, W\)"),
        (1, lambda t: t[:, :, :, :1], ValueError, r"f has shape \(2, 5, 3, 1\), wanted \(2, 5, 3, 4\)"),
        (2, lambda t: t[:, :, 0, 0], ValueError, r"w has shape \(5, 5\), wanted \(5, 5, 1, 1\)"),
        (3, lambda t: t[:1], ValueError, r"b has shape \(1,\), wanted \(5,\)"),
        (1, lambda t: t.float(), TypeError, r"f is torch.float32, x is torch.float64; give both one dtype"),
        (0, lambda t: t.long(), TypeError, r"x is torch.int64, wanted one of torch.float16, "),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    operator: Any, meta: bool, position: int, change: Any, kind: type[Exception], words: str
) -> None:
    values = inputs()
    values[position] = change(values[position])
    with pytest.raises(kind, match=f"span_attn: {words}"):
        operator(*(value.to("meta") if meta else value for value in values))


def renamed(graph: Graph) -> Graph:
    """The graph with its operators named by their order, to compare what they are."""
    names = {graph.input.name: graph.input.name} | {op.name: f"op{i}" for i, op in enumerate(graph)}
    ops = tuple(type(op)(**(vars(op) | {"name": names[op.name], "inputs": tuple(names[x] for x in op.inputs)}))
                for op in graph)  # fmt: skip
    return Graph(graph.name, graph.input, ops, names[graph.output])


def captured(model: SRModel) -> Graph:
    return renamed(run_folds(capture(model), NATIVE_FOLDS)[0])


def with_operator(model: SRModel) -> SRModel:
    return SRModel(model.name, model.architecture, with_span_attn(model.module), {}, model.scale, "test", "")


@pytest.mark.filterwarnings("ignore::FutureWarning")  # torch.export's own, about its internals
def test_exporters_write_the_same_file_with_and_without_it(gentle_model: SRModel) -> None:
    fused = with_operator(gentle_model)
    program = torch.export.export(fused.module, (torch.zeros(1, 3, 8, 8),))
    assert "edgesr.span_attn.default" in str(program.graph), "the operator is there before it is taken apart"
    assert "span_attn" not in str(program.run_decompositions(native_decompositions()).graph)  # type: ignore[arg-type]  # the values may be any callables
    plain, other = captured(gentle_model), captured(fused)
    assert serialize_graph(other) == serialize_graph(plain)
    onnx = [emit_onnx(g, Precision.FP32, IODtype.FLOAT32, Layout.NCHW, (8, 8), {}) for g in (plain, other)]
    tflite = [emit_tflite(g, Precision.FP32, IODtype.FLOAT32, ((8, 8),), {}) for g in (plain, other)]
    assert onnx[0] == onnx[1] and tflite[0] == tflite[1]


def test_the_fused_module_computes_and_loads_what_the_plain_one_does(gentle_model: SRModel) -> None:
    plain, fused = gentle_model.module, with_span_attn(gentle_model.module)
    assert fused is not plain and "span_attn" not in str(plain)
    assert fused.load_state_dict(plain.state_dict())
    x = torch.rand(2, 3, 5, 7, generator=torch.Generator().manual_seed(0))
    assert torch.equal(fused(x), plain(x))


def test_a_network_without_gates_is_refused() -> None:
    with pytest.raises(EdgeSRError, match="Sequential has no block of c1, c2, c3, guidance_map_conv"):
        with_span_attn(nn.Sequential(nn.Conv2d(3, 3, 1)))
