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


@pytest.mark.parametrize("command", ["export", "score", "audit"])
def test_help_says_that_the_file_is_executed(command: str) -> None:
    text = cli.commands[command].help or ""
    assert "EXECUTES the file" in text


def test_scores_classes_with_their_own_weights_and_arguments(run: Run, net: Path) -> None:
    names: dict[str, Any] = {}
    exec(SOURCE.replace("print", "str"), names)
    torch.save(names["Net"](3).state_dict(), net.parent / "w3.pth")
    given = (
        "--weights",
        net.parent / "w.pth",
        "--weights",
        net.parent / "w3.pth",
        "--init",
        '{"n": 2}',
        "--init",
        '{"n": 3}',
    )
    outcome = run("score", f"{net}:Net", f"{net}:Net", *given, "--runs", 0, "--json")
    assert outcome.code == 0, outcome.err
    models = json.loads(outcome.out)["models"]
    assert [model["complexity"]["parameters"] for model in models] == [168 + 21, 252 + 30]
    assert all("net.py:Net" in model["label"] for model in models) and "the file runs" in outcome.err


def test_audits_a_class(run: Run, net: Path) -> None:
    given = ("--weights", net.parent / "w.pth", "--init", '{"n": 2}', "--npu", "qualcomm-htp")
    outcome = run("audit", f"{net}:Net", *given, "--json")
    assert outcome.code == 0, outcome.err
    folded, _ = json.loads(outcome.out)["subjects"]
    kinds = [operator["kind"] for operator in folded["npus"][0]["placements"][-1]["operators"]]
    assert kinds == ["CONV_2D", "CONV_2D"] and "the file runs" in outcome.err


@pytest.mark.parametrize("command", ["score", "audit"])
@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("net.py:Net", (), "net.py:Net has no weights, and a network of random numbers proves nothing; give its"),
        ("net.py:Net", ("--weights", "w.pth", "--weights", "w.pth"), "1 class and 2 --weights; give one for each"),
        ("net.py:Net", ("--weights", "w.pth", "--init", "{}", "--init", "{}"), "1 class and 2 --init; give one"),
        ("net.py:Net", ("--weights", "w.pth", "--init", "[2]"), "it is a list, no object; give an object, like"),
        ("net.py", (), "net.py is a Python file; name the class in it, like net.py:Network"),
        ("spanv2_x4", ("--weights", "w.pth"), "are for a class of your own; name it like path/to/net.py:Class"),
    ],
)
def test_what_does_not_match_is_a_usage_error(
    command: str, model: str, options: tuple[str, ...], message: str, run: Run, net: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(net.parent)
    outcome = run(command, model, *options)
    assert outcome.code == 2 and outcome.out == "" and message in outcome.err


def test_a_size_off_the_multiple_is_written_padded_and_said(run: Run, tmp_path: Path) -> None:
    source = SOURCE.replace("3, 1, 1)", "3, 2, 1)").replace(
        "self.d(torch.relu(self.c(x)))", "self.d(self.u(self.c(x)))"
    )
    source = source.replace(
        "        self.d =", "        self.u = nn.UpsamplingNearest2d(scale_factor=2)\n        self.d ="
    )
    (tmp_path / "halving.py").write_text(source)
    names: dict[str, Any] = {}
    exec(source.replace("print", "str"), names)
    torch.save(names["Net"](2).state_dict(), tmp_path / "w.pth")
    given = ("--weights", tmp_path / "w.pth", "--init", '{"n": 2}', "-t", "tflite-fp32", "-o", tmp_path / "out")
    outcome = run("export", f"{tmp_path / 'halving.py'}:Net", *given, "--size", "11x16")
    assert outcome.code == 0, outcome.err
    assert (
        outcome.err.count("images of 11x16 go in as 12x16, their last row and column repeated, and come out cut") == 1
    )
    (artifact,) = json.loads((tmp_path / "out" / "manifest.json").read_text())["artifacts"]
    contract = artifact["contract"]
    assert (contract["sizes"], contract["size_multiple"], contract["padding"]) == ([[12, 16]], 2, "replicate")
    assert artifact["facts"]["padded_sizes"] == [[11, 16]]
