from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from edgesr.export.folds.elide_output_clip import ElideOutputClip
from edgesr.export.folds.fold import Exactness
from edgesr.graph import Graph
from edgesr.ops import Add, Clip, Concat, DepthToSpace, Op, Relu, ResizeNearest, Slice
from edgesr.quantized import IMAGE_GRID, QuantParams, as_stored

FOLD = ElideOutputClip()


def clip(source: str, low: float = 0, high: float = 1, name: str = "c") -> Clip:
    return Clip(name=name, inputs=(source,), low=low, high=high)


def far_outside(height: int, width: int, channels: int = 3) -> Tensor:
    return 8 * torch.rand(2, channels, height, width, dtype=torch.float64) - 4


TAILS: dict[str, tuple[Op, ...]] = {
    "nothing": (),
    "depth to space": (DepthToSpace(name="d", inputs=("c",), block=2),),
    "resize": (ResizeNearest(name="d", inputs=("c",), factor=3),),
    "slice": (Slice(name="d", inputs=("c",), start=1, stop=3),),
    "all of them": (
        Slice(name="s", inputs=("c",), start=0, stop=8),
        DepthToSpace(name="d", inputs=("s",), block=2),
        ResizeNearest(name="r", inputs=("d",), factor=2),
    ),
}


@pytest.mark.parametrize("tail", TAILS)
def test_saturation_on_the_image_grid_is_the_clip(tail: str, build: Any) -> None:
    before = build.graph(build.conv("a", "input", 3, 12), clip("a"), *TAILS[tail])
    result = FOLD.apply(before)
    assert result.changed == ("c",)
    assert [op.name for op in result.graph] == ["a", *(op.name for op in TAILS[tail])]
    for size in ((7, 5), (1, 1), (1, 6)):
        x = far_outside(*size)
        bare, clipped = result.graph.execute(x), before.execute(x)
        assert not torch.equal(bare, clipped), "the clip must have something to do"
        assert torch.equal(IMAGE_GRID.quantize(bare), IMAGE_GRID.quantize(clipped))
    again = FOLD.apply(result.graph)
    assert again.changed == () and again.graph is result.graph


def test_every_value_near_the_ends_of_the_grid(build: Any) -> None:
    ends = torch.cat([torch.linspace(-2, 3, 40_001), torch.tensor([-0.5 / 255, 255.5 / 255, 0, 1, -1e-30, 1e30])])
    x = ends.double().reshape(1, 1, 1, -1)
    before = build.graph(clip("input"), channels=1)
    after = FOLD.apply(before).graph
    assert after.ops == () and after.output == "input"
    assert torch.equal(IMAGE_GRID.quantize(before.execute(x)), IMAGE_GRID.quantize(after.execute(x)))


def test_on_another_grid_the_comparison_fails(build: Any) -> None:
    """The stated exactness is a condition: a grid that reaches beyond 1 shows the overshoot."""
    before = build.graph(build.conv("a", "input", 3, 12), clip("a"))
    after, x, wide = FOLD.apply(before).graph, far_outside(5, 5), QuantParams(as_stored(2 / 255), -128)
    assert not torch.equal(wide.quantize(before.execute(x)), wide.quantize(after.execute(x)))
    assert FOLD.exactness is Exactness.ON_IMAGE_GRID


def test_two_clips_in_a_row_both_go(build: Any) -> None:
    before = build.graph(build.conv("a", "input", 3, 4), clip("a"), clip("c", name="e"))
    assert FOLD.apply(before).changed == ("e", "c")


@pytest.mark.parametrize("size", [(5, 7), (1, 1)])
def test_spanv2(size: tuple[int, int], spanv2: Graph) -> None:
    before = Graph("clipped", spanv2.input, (*spanv2.ops, clip(spanv2.output)), "c")
    result = FOLD.apply(before)
    assert result.changed == ("c",)
    x = torch.rand(2, 3, *size, dtype=torch.float64)
    assert torch.equal(IMAGE_GRID.quantize(before.execute(x)), IMAGE_GRID.quantize(result.graph.execute(x)))


SHUFFLE = DepthToSpace(name="d", inputs=("c",), block=2)
REFUSED: dict[str, tuple[Callable[[Any], Graph], str]] = {
    "other bounds": (lambda b: b.graph(clip("input", -1, 1)), "it clips to -1..1, not to the image's 0..1"),
    "upper bound alone": (lambda b: b.graph(clip("input", -float("inf"), 1)), "it clips to -inf..1"),
    "in the middle": (
        lambda b: b.graph(clip("input"), b.conv("a", "c", 3, 4)),
        "'a' computes with the clipped values",
    ),
    "behind a shuffle": (
        lambda b: b.graph(clip("input"), SHUFFLE, Relu(name="r", inputs=("d",)), channels=4),
        "'r' computes with the clipped values",
    ),
    "joined": (
        lambda b: b.graph(clip("input"), Concat(name="j", inputs=("input", "c"))),
        "'j' computes with the clipped values",
    ),
    "read twice": (
        lambda b: b.graph(
            clip("input"),
            Slice(name="s", inputs=("c",), start=0, stop=1),
            Slice(name="t", inputs=("c",), start=1, stop=2),
            Add(name="sum", inputs=("s", "t")),
        ),
        "'c' is read more than once",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case: str, build: Any, refused: Callable[..., str]) -> None:
    make, reason = REFUSED[case]
    assert reason in refused(FOLD, make(build), "c")


def test_considers_clips_alone() -> None:
    assert FOLD.considers(clip("input", -1, 1))
    assert not FOLD.considers(Relu(name="r", inputs=("input",)))
