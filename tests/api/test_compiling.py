"""A compiler's log goes when it did its work, and stays, named, where it failed; nothing is left to the CPU unsaid."""

import re
from pathlib import Path

import pytest
import torch

from edgesr.api import compiling
from edgesr.api.compiling import CompiledFile, compile_file, compiler_logs, refuse_width
from edgesr.api.export_request import Job
from edgesr.errors import ExportError
from edgesr.export.npu.litert_aot import AotCompiled
from edgesr.export.npu.placement import Evidence, OperatorPlacement, Place, Placement
from edgesr.graph import Graph
from edgesr.npu_profile import find_npu_profile
from edgesr.ops import Conv2d, DepthToSpace, TensorSpec
from edgesr.target import Compiler, find_target


def job(target: str, npu: str) -> Job:
    found = find_target(target)
    assert found is not None
    return Job(found, find_npu_profile(npu))


U85 = job("ethos-u85-1024", "ethos-u85-1024")


def shuffling(block: int) -> Graph:
    conv = Conv2d(name="y", inputs=("x",), weight=torch.zeros(3 * block**2, 3, 1, 1, dtype=torch.float64))
    return Graph("net", TensorSpec("x", 3), (conv, DepthToSpace(name="z", inputs=("y",), block=block)), "z")


@pytest.mark.parametrize("width", [29, 30, 31, 61, 62, 125, 159])
def test_widths_that_qnn_gets_wrong_are_refused_with_the_next_that_are_right(width: int) -> None:
    qnn = job("qnn-int8", "snapdragon-8-elite")
    with pytest.raises(ExportError, match=rf"--size 90x{width}: QNN 2.51 gets .*; choose 90x\d+ or 90x\d+$") as caught:
        refuse_width(qnn, shuffling(4), [(90, width)])
    lower, upper = (int(text) for text in re.findall(r"90x(\d+)", str(caught.value))[1:])
    assert lower < width < upper
    refuse_width(qnn, shuffling(4), [(width, lower), (width, upper)])
    refuse_width(qnn, shuffling(2), [(90, width)])
    refuse_width(U85, shuffling(4), [(90, width)])


def test_the_log_goes_with_success(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Path] = []

    def compiler(content: bytes, job: Job, file: str, logs: Path) -> CompiledFile:
        (logs / "vela.log").write_text("all went well")
        seen.append(logs)
        return CompiledFile(content[::-1])

    monkeypatch.setattr(compiling, "COMPILE", {Compiler.VELA: compiler})
    assert compile_file(b"abc", U85, "net.tflite").content == b"cba"
    assert not seen[0].exists()


def test_the_log_stays_with_failure_and_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def compiler(content: bytes, job: Job, file: str, logs: Path) -> CompiledFile:
        log = logs / "vela.log"
        log.write_text("it went wrong")
        raise ExportError(f"Vela fails; its output is in {log}")

    monkeypatch.setattr(compiling, "COMPILE", {Compiler.VELA: compiler})
    with pytest.raises(ExportError) as caught:
        compile_file(b"abc", U85, "net.tflite")
    named = re.search(r"in (/\S+)$", str(caught.value))
    assert named is not None and Path(named[1]).read_text() == "it went wrong"
    Path(named[1]).unlink()
    Path(named[1]).parent.rmdir()


def test_a_failure_that_said_nothing_leaves_nothing() -> None:
    with pytest.raises(KeyboardInterrupt), compiler_logs() as logs:
        raise KeyboardInterrupt
    assert not logs.exists()


def test_an_operator_left_to_the_cpu_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    operators = (
        OperatorPlacement("a", "CONV_2D", Place.NPU),
        OperatorPlacement("b", "TANH", Place.CPU, "no kernel", "use ReLU"),
    )
    placed = Placement("SM8750", Evidence.COMPILED, "LiteRT", operators, 1, tmp_path / "log")
    monkeypatch.setattr(compiling, "compile_litert_aot", lambda *_, **__: AotCompiled(b"x", placed))
    with pytest.raises(ExportError, match=r"net.tflite: TANH 'b' would run on the CPU beside SM8750: no kernel; use"):
        compile_file(b"abc", job("litert-aot-int8", "snapdragon-8-elite"), "net.tflite")


def test_every_compiler_has_its_entry() -> None:
    assert set(compiling.COMPILE) == set(Compiler)
