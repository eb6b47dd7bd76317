"""A worker that dies, hangs, fails or answers with garbage, played by other programs: needs no QNN."""

import json
import sys
import time
from pathlib import Path

import pytest

from edgesr.errors import ExportError
from edgesr.export.npu.qnn_process import Answer, Job, run_worker
from edgesr.qnn_session import Subgraph
from edgesr.qualcomm import find_soc

READ = "import json, os, signal, sys, time; request = json.load(open(sys.argv[-1])); "
SPOKEN = "print('Qnn_OpConfig node name: c3_token_4 package_name: qti QNN_op_type: Conv2d num', flush=True); "


def job(tmp_path: Path, program: str, limit_s: float = 60.0) -> Job:
    return Job(
        tmp_path / "model.onnx", "net", find_soc("SM8750"), whole=True, log=tmp_path / "logs" / "net.log",
        time_limit_s=limit_s, command=(sys.executable, "-c", READ + program),
    )  # fmt: skip


def run(tmp_path: Path, program: str, limit_s: float = 60.0) -> Answer:
    return run_worker(job(tmp_path, program, limit_s), tmp_path)


def message_of(tmp_path: Path, program: str, limit_s: float = 60.0) -> str:
    with pytest.raises(ExportError) as caught:
        run(tmp_path, program, limit_s)
    message = str(caught.value)
    assert message.startswith("net does not compile for snapdragon-8-elite (SM8750, HTP v79): ")
    assert message.endswith(f"; full log: {tmp_path / 'logs' / 'net.log'}") and "\n" not in message
    return message


def answering(text: str) -> str:
    return f"open(request['answer'], 'w').write({text!r})"


def test_the_answer_of_a_worker(tmp_path: Path) -> None:
    pieces = [{"provider": "QNN", "nodes": [["a", "Conv"], ["b", "Relu"]]}]
    found = run(tmp_path, "print('chatter'); " + answering(json.dumps({"seconds": 1.5, "subgraphs": pieces})))
    assert found == Answer(1.5, (Subgraph("QNN", (("a", "Conv"), ("b", "Relu"))),))
    assert (tmp_path / "logs" / "net.log").read_text() == "chatter\n"


def test_the_request_says_what_the_job_says(tmp_path: Path) -> None:
    run(tmp_path, "print(json.dumps(request)); " + answering('{"seconds": 0, "subgraphs": []}'))
    request = json.loads((tmp_path / "logs" / "net.log").read_text())
    assert request["model"] == str(tmp_path / "model.onnx") and request["soc"] == "SM8750"
    assert request["whole"] is True and request["context"] is None


def test_a_worker_that_dies(tmp_path: Path) -> None:
    message = message_of(tmp_path, SPOKEN + "os.kill(os.getpid(), signal.SIGSEGV)")
    assert "was killed by SIGSEGV without an answer, last at Conv2d 'c3'" in message
    assert "ended with code 7 without an answer" in message_of(tmp_path, "sys.exit(7)")


def test_a_worker_that_hangs_is_stopped(tmp_path: Path) -> None:
    started = time.monotonic()
    message = message_of(tmp_path, SPOKEN + "time.sleep(60)", limit_s=1.0)
    assert time.monotonic() - started < 30
    assert "QNN was stopped after 1 s, last at Conv2d 'c3'; export a smaller --size" in message


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("\x00garbage", "what is no JSON"),
        ("[1, 2]", "something else than was asked"),
        ('{"seconds": 1}', "something else than was asked"),
        ('{"seconds": "x", "subgraphs": []}', "something else than was asked"),
        ('{"seconds": 1, "subgraphs": [{"provider": "QNN", "nodes": [["a"]]}]}', "something else than was asked"),
    ],
)
def test_a_worker_that_answers_with_garbage(answer: str, said: str, tmp_path: Path) -> None:
    assert said in message_of(tmp_path, answering(answer))


def test_a_worker_that_prints_garbage(tmp_path: Path) -> None:
    message = message_of(tmp_path, "os.write(1, bytes(range(256)) * 20); sys.exit(1)")
    assert "ended with code 1 without an answer" in message


def test_a_worker_that_fails_names_the_operator_of_its_log(tmp_path: Path) -> None:
    failing = answering('{"error": "[ONNXRuntimeError] nodes on the CPU"}')
    assert "[ONNXRuntimeError] nodes on the CPU; see the log" in message_of(tmp_path, failing)
    log = "x Unsupported nodes in QNN EP: { name: erf, type: Erf }, \n"
    message = message_of(tmp_path, f"print({log!r}); " + failing)
    assert "QNN does not take Erf 'erf': QNN gives no reason" in message


def test_the_worker_itself_answers_where_a_file_cannot_be_opened(tmp_path: Path) -> None:
    """With QNN or without: what goes wrong inside becomes the answer."""
    real = Job(tmp_path / "absent.onnx", "net", find_soc("SM8750"), whole=True, log=tmp_path / "log")
    with pytest.raises(ExportError, match=r"^net does not compile for .*; full log: "):
        run_worker(real, tmp_path)
