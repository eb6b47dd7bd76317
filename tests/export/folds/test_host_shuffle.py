"""A graph that leaves its last DepthToSpace to the host."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from edgesr.errors import ExportError
from edgesr.export.folds.host_shuffle import HostShuffle, host_block, without_shuffle
from edgesr.export.pipeline import NATIVE_FOLDS, run_folds
from edgesr.graph import Graph
from edgesr.ops import Concat, DepthToSpace, Relu, ShuffleOrder
from edgesr.pixel_shuffle import shuffle_pixels
from edgesr.quantized import QuantizedGraph

FOLD = HostShuffle()


def shuffle(source: str, name: str = "d", order: ShuffleOrder = ShuffleOrder.DCR, block: int = 2) -> DepthToSpace:
    return DepthToSpace(name=name, inputs=(source,), block=block, order=order)


def on_host(graph: Graph, x: torch.Tensor, block: int) -> np.ndarray:
    return shuffle_pixels(graph.execute(x).permute(0, 2, 3, 1).numpy(), block)


@pytest.mark.parametrize("size", [(7, 5), (1, 1), (1, 6)])
def test_shuffling_on_the_host_gives_the_image(size: tuple[int, int], spanv2: Graph) -> None:
    before, _ = run_folds(spanv2, NATIVE_FOLDS)
    block = host_block(before)
    result = FOLD.apply(before)
    assert result.changed == (before.output,) and result.graph.scale == 1
    assert result.graph.specs[result.graph.output].channels == 3 * block**2
    x = torch.rand(2, 3, *size, dtype=torch.float64)
    assert np.array_equal(on_host(result.graph, x, block), before.execute(x).permute(0, 2, 3, 1).numpy())
    again = FOLD.apply(result.graph)
    assert again.changed == () and again.graph is result.graph


def test_only_the_last_of_two_goes(build: Any) -> None:
    conv = build.conv("a", "input", 3, 48, stride=(2, 2))
    before = build.graph(conv, shuffle("a", "first"), shuffle("first"))
    result = FOLD.apply(before)
    assert result.changed == ("d",) and result.graph.output == "first"
    x = torch.rand(1, 3, 8, 6, dtype=torch.float64)
    assert np.array_equal(on_host(result.graph, x, 2), before.execute(x).permute(0, 2, 3, 1).numpy())


REFUSED: dict[str, tuple[Callable[[Any], Graph], str]] = {
    "torch order": (
        lambda b: b.graph(b.conv("a", "input", 3, 12), shuffle("a", order=ShuffleOrder.CRD)),
        "PyTorch's channel order: run the fold pixel-shuffle-to-depth-to-space before",
    ),
    "in the middle": (
        lambda b: b.graph(b.conv("a", "input", 3, 12), shuffle("a"), Relu(name="r", inputs=("d",))),
        "the graph ends in 'r', not in this DepthToSpace",
    ),
    "from another size": (
        lambda b: b.graph(b.conv("a", "input", 3, 12, stride=(2, 2)), shuffle("a")),
        "its input 'a' has 1/2 times the image's size",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case: str, build: Any, refused: Callable[..., str]) -> None:
    make, reason = REFUSED[case]
    assert reason in refused(FOLD, make(build), "d")


def small(build: Any, *tail: Any) -> Graph:
    graph: Graph = build.graph(build.conv("a", "input", 3, 12), *tail)
    return graph


def test_an_int8_network_keeps_its_grids(build: Any, quantize_by_range: Callable[..., QuantizedGraph]) -> None:
    image = torch.rand(1, 3, 6, 7, dtype=torch.float64)
    before = quantize_by_range(small(build, shuffle("a")), [image], True)
    after = without_shuffle(before)
    assert after.output == before.output and set(after.activations) == {"input", "a"}
    expected = before.execute(image).permute(0, 2, 3, 1).numpy()
    assert np.array_equal(shuffle_pixels(after.execute(image).permute(0, 2, 3, 1).numpy(), 2), expected)


def test_int8_networks_that_end_otherwise(build: Any, quantize_by_range: Callable[..., QuantizedGraph]) -> None:
    image = torch.rand(1, 3, 6, 7, dtype=torch.float64)
    for graph, message in (
        (small(build), "cannot leave its shuffle to the host: it ends in 'a', which is no DepthToSpace"),
        (small(build, shuffle("a", order=ShuffleOrder.CRD)), "to the host: it has PyTorch's channel order"),
        (small(build, shuffle("a"), Concat(name="c", inputs=("d", "d"))), "it ends in 'c'"),
    ):
        with pytest.raises(ExportError, match=message):
            without_shuffle(quantize_by_range(graph, [image], True))
    with pytest.raises(ExportError, match="ends in 'a', which is no DepthToSpace"):
        host_block(small(build))


def test_a_shuffle_that_rescales(build: Any, quantize_by_range: Callable[..., QuantizedGraph]) -> None:
    network = quantize_by_range(small(build, shuffle("a")), [torch.rand(1, 3, 6, 7, dtype=torch.float64)])
    other = dataclasses.replace(network.activations["d"], scale=1.0)
    moved = dataclasses.replace(network, activations={**network.activations, "d": other})
    with pytest.raises(ExportError, match="DepthToSpace 'd' changes the grid"):
        without_shuffle(moved)
