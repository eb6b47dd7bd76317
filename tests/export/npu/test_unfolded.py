"""The network with PixelShuffle as a converter writes it, and with the shuffle on the host: the same bytes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgesr.errors import ExportError
from edgesr.export.folds.host_shuffle import host_block, without_shuffle
from edgesr.export.npu.tflite_listing import list_operators
from edgesr.export.npu.unfolded import emit_unfolded, in_torch_order
from edgesr.pixel_shuffle import shuffle_pixels
from edgesr.quantized import QuantizedGraph

SIZES = ((12, 20), (7, 5))
TAIL = ["TRANSPOSE", "RESHAPE", "TRANSPOSE", "RESHAPE", "TRANSPOSE", "RESHAPE", "TRANSPOSE"]


@pytest.fixture(params=["small", "official"])
def network(request: pytest.FixtureRequest) -> QuantizedGraph:
    found: QuantizedGraph = request.getfixturevalue(f"{request.param}_network")
    return found


def pixels(size: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(3).integers(-128, 128, (1, *size, 3), dtype=np.int8)


@pytest.mark.parametrize("size", SIZES)
def test_all_three_tails_give_the_same_bytes(
    size: tuple[int, int], network: QuantizedGraph, emit: Callable[..., bytes], run_tflite: Callable[..., Any]
) -> None:
    image = pixels(size)
    native = run_tflite(emit(network, size), image)
    assert len(np.unique(native)) > 20, "an image of few values would hide a wrong order"
    bare = run_tflite(emit(without_shuffle(network), size), image)
    assert bare.shape == (1, *size, 3 * host_block(network) ** 2)
    assert np.array_equal(shuffle_pixels(bare, host_block(network)), native)
    assert np.array_equal(run_tflite(emit_unfolded(network, size), image), native)


def test_the_tail_is_the_converters(small_network: QuantizedGraph, emit: Callable[..., bytes]) -> None:
    unfolded = [op.kind for op in list_operators(emit_unfolded(small_network, (12, 20)), "unfolded")]
    native = [op.kind for op in list_operators(emit(small_network, (12, 20)), "native")]
    assert unfolded == native[:-1] + TAIL and native[-1] == "DEPTH_TO_SPACE"


def test_in_torchs_order_the_bytes_would_be_wrong_without_the_converters_tail(
    small_network: QuantizedGraph, emit: Callable[..., bytes], run_tflite: Callable[..., Any]
) -> None:
    image = pixels((12, 20))
    moved = run_tflite(emit(in_torch_order(small_network), (12, 20)), image)
    assert not np.array_equal(moved, run_tflite(emit(small_network, (12, 20)), image))


def test_a_network_without_a_shuffle(small_network: QuantizedGraph) -> None:
    with pytest.raises(ExportError, match="which is no DepthToSpace"):
        emit_unfolded(without_shuffle(small_network), (12, 20))
