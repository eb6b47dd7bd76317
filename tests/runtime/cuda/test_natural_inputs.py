"""The kernels on what they meet in practice: photographs, and a trained network's own features."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from edgesr.architecture import SRModel
from edgesr.export.capture import capture
from edgesr.export.pipeline import NATIVE_FOLDS, run_folds
from edgesr.graph import Graph
from edgesr.images import load_rgb, pair_folders
from edgesr.model.registry import load_model
from edgesr.quant.builtin import builtin_calibration_paths
from edgesr.runtime.cuda.fused_precision import FusedPrecision
from edgesr.runtime.cuda.spanv2_layers import SpanV2Layers
from edgesr.runtime.metrics import psnr_db
from edgesr.runtime.torch_runner import to_nchw

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason='Triton is not installed: pip install "edgesr[cuda]"'
)
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
FP16_AGAINST_EAGER = 1.25
GATE_LIMITS = {torch.float32: 1e-6, torch.float16: 5e-4}
MAX_ABS = {FusedPrecision.FP32: 5e-5, FusedPrecision.FP16: 2.5e-2}
RELATIVE = {FusedPrecision.FP32: 2e-6, FusedPrecision.FP16: 2.5e-3}
PSNR_CHANGE_DB = 0.01
CROP = 16
PIECES = [
    ("135069.jpg", 281, 445, 17, 23),
    ("235098.jpg", 279, 411, 16, 16),
    ("176039.jpg", 92, 434, 24, 40),
]
"""Where a plain float32 sum errs most in block 5, of 260 pieces: file of train_bsds500, top, left, height, width."""


def folded(model: SRModel) -> Graph:
    return run_folds(capture(model), NATIVE_FOLDS)[0]


@pytest.fixture(scope="module")
def bundled() -> Graph:
    return folded(load_model("spanv2_x4"))


@pytest.fixture(scope="module")
def official(shared: Any) -> Graph:
    return folded(load_model(weights=shared / "checkpoints" / "spanv2_x4_official.pth"))


def photograph(height: int, width: int) -> Tensor:
    return piece_of(builtin_calibration_paths()[1], 0, 0, height, width)


def piece_of(path: Path, top: int, left: int, height: int, width: int) -> Tensor:
    piece = load_rgb(path)[top : top + height, left : left + width]
    return to_nchw(piece[None].astype(np.float64) / 255, torch.float64)


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found.double().cpu() - expected).norm() / expected.norm())


def gates(graph: Graph, image: Tensor) -> Iterator[tuple[str, list[Tensor]]]:
    """Each gate's x, f, w and b in float64 as the network meets them on an image."""
    tensors = graph.trace(image)
    for op in graph:
        if op.name.endswith("guidance_map_conv"):
            block = op.name.rpartition(".")[0]
            (f,) = op.inputs
            first = graph.producer(f"{block}.c1.conv")
            assert first is not None
            values = vars(op)
            yield op.name, [tensors[first.inputs[0]], tensors[f], values["weight"].double(), values["bias"].double()]


@pytest.mark.parametrize("dtype", list(GATE_LIMITS), ids=str)
def test_gates_of_a_trained_network(dtype: torch.dtype, bundled: Graph) -> None:
    check_gates(bundled, dtype, photograph(17, 23))


@pytest.mark.emulator
def test_gates_of_the_official_network_in_fp16(official: Graph) -> None:
    check_gates(official, torch.float16, photograph(17, 23))


@pytest.mark.emulator
@pytest.mark.parametrize("size", [(17, 23), (37, 53)])
def test_gates_of_the_official_network_in_fp32(size: tuple[int, int], official: Graph) -> None:
    check_gates(official, torch.float32, photograph(*size))


@pytest.mark.emulator
def test_fp32_gates_on_a_dozen_photographs(official: Graph, shared: Any) -> None:
    paths = sorted((shared / "images" / "calib").glob("*.png"))[:12]
    assert len(paths) == 12
    for path in paths:
        check_gates(official, torch.float32, piece_of(path, 24, 24, CROP, CROP))


@pytest.mark.emulator
@pytest.mark.parametrize(("file", "top", "left", "height", "width"), PIECES)
def test_fp32_gates_where_a_plain_sum_fails(
    file: str, top: int, left: int, height: int, width: int, official: Graph, shared: Any
) -> None:
    image = piece_of(shared / "images" / "train_bsds500" / file, top, left, height, width)
    check_gates(official, torch.float32, image)
    *_, (name, inputs) = gates(official, image)
    assert name == "block_5.guidance_map_conv"
    x, f, w, b = (tensor.float() for tensor in inputs)
    plain = b[:, None, None].expand(f.shape).clone()
    for channel in range(f.shape[1]):
        plain += w[:, channel, :, :] * f[:, channel, None]
    expected = (x.double() + f.double()) * F.conv2d(f.double(), w.double(), b.double())
    assert relative((x + f) * plain, expected) > GATE_LIMITS[torch.float32]


def check_gates(graph: Graph, dtype: torch.dtype, image: Tensor) -> None:
    from edgesr.runtime.cuda.gate_kernel import fused_gate

    found = list(gates(graph, image))
    assert len(found) == 4, "SPANV2's first block has no gate"
    for name, inputs in found:
        x, f, w, b = (tensor.to(dtype).to(DEVICE) for tensor in inputs)
        wide = [tensor.double().cpu() for tensor in (x, f, w, b)]
        expected = (wide[0] + wide[1]) * F.conv2d(*wide[1:])
        own = relative(fused_gate(x, f, w, b), expected)
        last = x.contiguous(memory_format=torch.channels_last)
        assert own <= GATE_LIMITS[dtype] and relative(fused_gate(last, f, w, b), expected) <= GATE_LIMITS[dtype], name
        if dtype is torch.float16:
            assert own <= FP16_AGAINST_EAGER * relative((x + f) * F.conv2d(f, w, b), expected), name


def check_network(graph: Graph, precision: FusedPrecision, image: Tensor) -> None:
    from edgesr.runtime.cuda.network import FusedNetwork

    network = FusedNetwork(SpanV2Layers.from_graph(graph), precision, DEVICE)
    expected, output = graph.execute(image), network(image.to(DEVICE)).double().cpu()
    assert network.launch_count == 16
    assert float((output - expected).abs().max()) <= MAX_ABS[precision]
    assert relative(output, expected) <= RELATIVE[precision]


@pytest.mark.parametrize("precision", list(MAX_ABS), ids=lambda p: p.value)
def test_a_trained_network_on_a_photograph(precision: FusedPrecision, bundled: Graph) -> None:
    check_network(bundled, precision, photograph(9, 18))


@pytest.mark.emulator
@pytest.mark.parametrize("size", [(37, 53), (1, 1), (1, 40)])
@pytest.mark.parametrize("precision", list(MAX_ABS), ids=lambda p: p.value)
def test_the_official_network(precision: FusedPrecision, size: tuple[int, int], official: Graph) -> None:
    check_network(official, precision, photograph(*size))
    noise = torch.randint(64, 192, (1, 3, *size), generator=torch.Generator().manual_seed(2))
    check_network(official, precision, noise.double() / 255)


@pytest.mark.emulator
def test_fp16_on_noise_of_full_range_errs_as_eager_does(official: Graph, shared: Any) -> None:
    """There FP16 itself leaves the limits: PyTorch eager is 3.0e-2 off, relative 3.6e-3."""
    from edgesr.runtime.cuda.network import FusedNetwork

    module = load_model(weights=shared / "checkpoints" / "spanv2_x4_official.pth").module.half().to(DEVICE)
    noise = torch.rand(1, 3, 37, 53, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    fused = FusedNetwork(SpanV2Layers.from_graph(official), FusedPrecision.FP16, DEVICE)(noise.to(DEVICE))
    with torch.no_grad():
        eager = module(noise.half().to(DEVICE))
    expected = official.execute(noise)
    assert relative(fused, expected) <= FP16_AGAINST_EAGER * relative(eager, expected)


def as_picture(output: Tensor) -> np.ndarray:
    picture = output[0].permute(1, 2, 0).double().cpu().clamp(0, 1).numpy()
    return np.rint(picture * 255).astype(np.uint8)


@pytest.mark.emulator
@pytest.mark.parametrize("folder", ["set5", "set14"])
def test_fp16_costs_no_quality(folder: str, official: Graph, shared: Any) -> None:
    """Mean PSNR over pieces of every image, beside the float64 graph; whole images where a GPU is at hand."""
    from edgesr.runtime.cuda.network import FusedNetwork

    network = FusedNetwork(SpanV2Layers.from_graph(official), FusedPrecision.FP16, DEVICE)
    changes = []
    for low, high in pair_folders(shared / "images" / folder / "LR", shared / "images" / folder / "HR"):
        lr, hr = load_rgb(low), load_rgb(high)
        if DEVICE.type == "cpu":
            top, left = (lr.shape[0] - CROP) // 2, (lr.shape[1] - CROP) // 2
            lr = lr[top : top + CROP, left : left + CROP]
            hr = hr[4 * top : 4 * (top + CROP), 4 * left : 4 * (left + CROP)]
        image = to_nchw(lr[None].astype(np.float64) / 255, torch.float64)
        exact, fused = as_picture(official.execute(image)), as_picture(network(image.to(DEVICE)))
        reference = hr[: exact.shape[0], : exact.shape[1]]
        changes.append(psnr_db(fused, reference, 4) - psnr_db(exact, reference, 4))
    assert len(changes) == {"set5": 5, "set14": 14}[folder]
    assert abs(np.mean(changes)) <= PSNR_CHANGE_DB, changes
