"""`edgesr export --route general`: what the command line adds to the API."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

Run = Callable[..., Any]
SOURCE = """
import torch
from torch import nn
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.c = nn.Conv2d(3, 3, 3, 1, 1)
    def forward(self, x):
        return torch.softmax(self.c(x), 1)
"""


@pytest.fixture(name="arguments")
def arguments_of_a_network_with_softmax(tmp_path: Path) -> tuple[object, ...]:
    (tmp_path / "net.py").write_text(SOURCE)
    torch.save(weights(), tmp_path / "w.pth")
    return f"{tmp_path / 'net.py'}:Net", "--weights", tmp_path / "w.pth", "--size", "16x24", "-o", tmp_path / "out"


def weights() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {"c.weight": torch.randn(3, 3, 3, 3, generator=generator), "c.bias": torch.zeros(3)}


def test_exports_and_verifies_without_the_class(run: Run, arguments: tuple[object, ...], tmp_path: Path) -> None:
    outcome = run("export", *arguments, "-t", "onnx-fp32", "--route", "general", "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["artifacts"][0]["file"] == "Net_x1-general-fp32.onnx"
    (tmp_path / "net.py").unlink()
    assert "ok" in run("verify", "parity", tmp_path / "out").done()
    fused = run("verify", "parity", tmp_path / "out", "--runner", "cuda-fused")
    assert fused.code == 1 and "Net_x1 went the general route" in fused.err


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (("-t", "onnx-fp32"), 1, "export it as it is with --route general"),
        (("-t", "onnx-fp16", "--route", "general"), 1, "onnx-fp16 does not go the general route"),
        (("-t", "onnx-fp32", "--route", "scenic"), 2, "scenic"),
        (("-t", "onnx-fp32", "--route", "general", "--npu", "qualcomm-htp"), 1, "--npu"),
    ],
)
def test_what_it_refuses(
    more: tuple[str, ...], code: int, message: str, run: Run, arguments: tuple[object, ...], tmp_path: Path
) -> None:
    outcome = run("export", *arguments, *more)
    assert outcome.code == code
    assert message in outcome.err
    assert not (tmp_path / "out").exists()
