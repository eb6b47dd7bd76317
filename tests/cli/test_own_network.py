"""`edgesr export net.py:Class`: what the command line adds to the API."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from edgesr.cli import cli

Run = Callable[..., Any]
SOURCE = """
import torch
from torch import nn
print("the file runs")
class Net(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.c = nn.Conv2d(3, 3 * n, 3, 1, 1)
        self.d = nn.Conv2d(3 * n, 3, 1)
    def forward(self, x):
        return self.d(torch.relu(self.c(x)))
"""


@pytest.fixture(name="net")
def own_net(tmp_path: Path) -> Path:
    (tmp_path / "net.py").write_text(SOURCE)
    names: dict[str, Any] = {}
    exec(SOURCE.replace("print", "str"), names)
    torch.manual_seed(0)
    torch.save(names["Net"](2).state_dict(), tmp_path / "w.pth")
    return tmp_path / "net.py"


def test_exports_a_class_and_keeps_what_it_prints_out_of_the_json(run: Run, net: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = ("-t", "onnx-fp32", "--weights", tmp_path / "w.pth", "--init", '{"n": 2}', "-o", out)
    outcome = run("export", f"{net}:Net", *arguments, "--json")
    assert outcome.code == 0, outcome.err
    assert json.loads(outcome.out)["artifacts"][0]["file"] == "Net_x1-fp32.onnx"
    assert "the file runs" in outcome.err
    net.unlink()
    assert "ok" in run("verify", "parity", out).done()


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        ({"--init": "{n: 2}"}, 2, "it is no JSON"),
        ({"--init": "[2]"}, 2, "it is a list, no object; give an object, like"),
        ({"--init": None}, 1, "its constructor needs n; give them by --init"),
        ({"--weights": None}, 1, "has no weights, and a network of random numbers proves nothing; give its checkpoint"),
        ({"model": "net.py"}, 2, "is a Python file; name the class in it, like"),
        ({"model": "spanv2_x4"}, 1, "init is for a class of your own; name it as the model"),
        ({"model": "net.py:Nett"}, 1, "Nett is not in it; choose from Net"),
    ],
)
def test_bad_input(
    changes: dict[str, str | None], code: int, message: str, run: Run, net: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(net.parent)
    options: dict[str, str | None] = {"model": "net.py:Net", "--init": '{"n": 2}', "--weights": "w.pth"} | changes
    model = options.pop("model")
    given = [part for key, value in options.items() if value is not None for part in (key, value)]
    outcome = run("export", model, *given, "-t", "onnx-fp32", "-o", "out")
    assert outcome.code == code and outcome.out == ""
    assert message in outcome.err and "Traceback" not in outcome.err
    assert not Path("out", "manifest.json").exists()


def test_help_says_that_the_file_is_executed() -> None:
    text = cli.commands["export"].help or ""
    assert "EXECUTES the file" in text
