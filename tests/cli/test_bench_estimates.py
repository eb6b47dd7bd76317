"""`edgesr bench --device <NPU>`: an estimate that says so everywhere, and options that would be ignored refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgesr.api import estimating
from edgesr.api.estimating import FileEstimate
from edgesr.export.npu.vela_report import LayerEstimate, NpuEstimate

Run = Callable[..., Any]
LAYER = LayerEstimate("conv", "Conv2D", 1_500_000, 1.5, 7_000, 0.25, "DRAM", 10, 20, 2048)
ESTIMATE = NpuEstimate("ethos-u85-1024", "Vela 5.2.0", "a system", 1000, 4096, 1_500_000, 7_000, 1, 2, 2048, (LAYER,))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """The estimate, faked: what was asked of it."""
    seen: list[tuple[object, ...]] = []

    def estimate(*arguments: object) -> tuple[FileEstimate, ...]:
        seen.append(arguments[:4])
        unfolded = ESTIMATE if arguments[3] else None
        one = FileEstimate("net.tflite", (8, 12), True, ESTIMATE, unfolded)
        return (one, one) if str(arguments[0]) == "two" else (one,)

    monkeypatch.setattr(estimating, "estimate", estimate)
    return seen


def test_tables_say_whose_estimate_they_are(run: Run, asked: list[tuple[object, ...]], tmp_path: Path) -> None:
    out = run("bench", "net.tflite", "--device", "Ethos-U85-1024", "--size", "8x12", "--against-unfolded").done()
    assert asked == [(Path("net.tflite"), "ethos-u85-1024", (8, 12), True)]
    assert out.startswith("net.tflite at 8x12, written anew for this size with its shuffle on the host\n")
    assert out.count("estimate by Vela 5.2.0 for ethos-u85-1024 (a system), no measurement") == 2
    assert "unfolded" in out and out.endswith("no figure above was measured\n")


def test_json_and_plot(run: Run, asked: list[tuple[object, ...]], tmp_path: Path) -> None:
    plot, file = tmp_path / "new" / "e.svg", tmp_path / "e.json"
    out = run("bench", "x", "--device", "ethos-u85-1024", "--plot", plot, "--json", "-o", file).done()
    plain = json.loads(out)
    assert plain == json.loads(file.read_text())
    assert (plain["device"], plain["estimate"]) == ("ethos-u85-1024", True)
    assert plain["results"][0]["estimate"]["estimated_ms"] == 1.5
    assert plot.read_text().startswith("<svg") and "an estimate" in plot.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--device", "ethos-u85-1000"), "no device is called 'ethos-u85-1000'; choose ethos-u85-1024 or"),
        (("--device", "pixel"), "no device is called 'pixel'; choose"),
        (("--against-unfolded",), "--against-unfolded has no use: --device host estimates nothing"),
        (("--device", "ethos-u85-1024", "--runtime", "onnxruntime"), "--runtime has no use"),
        (("--device", "ethos-u85-1024", "--no-memory"), "--memory has no use"),
        (("--device", "ethos-u85-1024", "--runs", "3"), "--runs has no use: --device ethos-u85-1024 is estimated"),
    ],
)
def test_options_without_a_use_are_refused(run: Run, arguments: tuple[str, ...], message: str) -> None:
    assert message in run("bench", "net.tflite", *arguments).refused(2)


def test_a_plot_shows_one_file(run: Run, asked: list[tuple[object, ...]], tmp_path: Path) -> None:
    message = run("bench", "two", "--device", "ethos-u85-1024", "--plot", tmp_path / "x.svg").refused(2)
    assert message.startswith("--plot draws one file, PATH holds 2 that fit; name one of them")
    assert not (tmp_path / "x.svg").exists()
