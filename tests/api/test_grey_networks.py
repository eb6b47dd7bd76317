"""INT8 for networks on grey images: RGB photographs calibrate them by their mean, and learned efforts work as well."""

from pathlib import Path
from typing import Any

import pytest
import torch

from edgesr.api import ExportRequest, export
from edgesr.errors import CalibrationError
from edgesr.target import find_target

SOURCE = """
from torch import nn
from torch.nn import functional as F


class Net(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.first, self.last = nn.Conv2d(channels, 6, 3, padding=1), nn.Conv2d(6, 4 * channels, 3, padding=1)

    def forward(self, x):
        return F.pixel_shuffle(self.last(F.relu(self.first(x))), 2) + F.interpolate(x, scale_factor=2, mode="nearest")
"""


@pytest.fixture
def request_of(tmp_path: Path, photos: Path) -> Any:
    def make(channels: int, **options: Any) -> ExportRequest:
        file, weights = tmp_path / "net.py", tmp_path / "net.pth"
        file.write_text(SOURCE)
        generator = torch.Generator().manual_seed(0)
        shapes = {"first.weight": (6, channels, 3, 3), "last.weight": (4 * channels, 6, 3, 3)}
        state = {key: 0.05 * torch.randn(shape, generator=generator) for key, shape in shapes.items()}
        state |= {"first.bias": torch.zeros(6), "last.bias": torch.zeros(4 * channels)}
        torch.save(state, weights)
        targets = tuple(t for name in ("tflite-int8", "onnx-int8") if (t := find_target(name)))
        init = {"channels": channels}
        return ExportRequest(
            targets, tmp_path / "out", f"{file}:Net", weights, ((24, 20),), calibration=photos, init=init, **options
        )

    return make


@pytest.mark.parametrize("options", [{}, {"max_drop_db": 0.5}], ids=["plain", "with a budget"])
def test_a_grey_network_gets_proven_integers(options: dict[str, Any], request_of: Any) -> None:
    result = export(request_of(1, **options))
    assert [artifact.contract.channels for artifact in result.artifacts] == [1, 1]
    reports = [result.parity[artifact.file] for artifact in result.artifacts]
    assert all(report.operators and not report.failures for report in reports)


def test_channels_that_no_photograph_has_are_refused(request_of: Any) -> None:
    with pytest.raises(CalibrationError, match="calibration images have 3 channels, the network takes 4"):
        export(request_of(4))
