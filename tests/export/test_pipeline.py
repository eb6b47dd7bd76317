"""What every target gets: the folds in their order, and a record of what they did."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgesr.architecture import SRModel
from edgesr.export.capture import capture
from edgesr.export.pipeline import NATIVE_FOLDS, run_folds
from edgesr.ops import Activation, Conv2d, DepthToSpace, ShuffleOrder


class Scaled(nn.Module):
    """A network written for bytes: the image times 255 goes in, a grouped convolution and a shuffle follow."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 12, 3, padding=1, groups=3)
        self.last = nn.Conv2d(12, 12, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Twice the size."""
        return torch.pixel_shuffle(self.last(torch.relu(self.first(x * 255.0))), 2)


def model() -> SRModel:
    torch.manual_seed(0)
    return SRModel("scaled_x2", "scaled", Scaled().eval(), {}, 2, "test", "0" * 64)


def test_nothing_but_native_operators_is_left_and_the_function_stays() -> None:
    captured = capture(model())
    folded, records = run_folds(captured, NATIVE_FOLDS)
    first, last, shuffle = folded
    assert isinstance(first, Conv2d) and first.groups == 1 and first.activation is Activation.RELU
    assert isinstance(last, Conv2d) and last.activation is Activation.NONE
    assert isinstance(shuffle, DepthToSpace) and shuffle.order is ShuffleOrder.DCR
    x = torch.rand(2, 3, 5, 7, dtype=torch.float64)
    assert (folded.execute(x) - captured.execute(x)).abs().max() < 1e-11
    assert [record.fold for record in records] == [
        "fuse-input-range",
        "fuse-activation",
        "densify-grouped-conv",
        "pixel-shuffle-to-depth-to-space",
    ]


def test_folding_again_changes_nothing() -> None:
    folded, _ = run_folds(capture(model()), NATIVE_FOLDS)
    again, records = run_folds(folded, NATIVE_FOLDS)
    assert records == [] and again is folded
