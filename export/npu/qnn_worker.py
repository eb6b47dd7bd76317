"""The child process that hands a graph to QNN: `python -m edgesr.export.npu.qnn_worker REQUEST.json`.

QNN is native code that may print anything, run for minutes or take its process down. Here it may: the parent keeps what
is printed, has a time limit, and believes nothing but the answer file. Request and answer are JSON:

    request   {"model": path, "soc": part number, "whole": bool, "context": path or null, "answer": path}
    answer    {"seconds": s, "subgraphs": [{"provider": p, "nodes": [[name, kind], ...]}, ...]} or {"error": line}
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from edgesr.atomic import write_atomically
from edgesr.errors import first_line
from edgesr.qnn_session import TALKATIVE, open_qnn_session, subgraphs
from edgesr.qualcomm import find_soc


def main(request_path: str) -> int:
    """Open the session that the request describes and write the answer; 1 where that failed."""
    request = json.loads(Path(request_path).read_text(encoding="utf-8"))
    context = Path(request["context"]) if request["context"] else None
    started = time.perf_counter()
    answer: dict[str, object]
    try:
        path = Path(request["model"])
        # of a file ONNX Runtime would hash the path into the compiled graph's name, and the path is another each time
        model = path if context is None else path.read_bytes()
        session = open_qnn_session(model, find_soc(request["soc"]), request["whole"], context, severity=TALKATIVE)
        pieces = [{"provider": piece.provider, "nodes": piece.nodes} for piece in subgraphs(session)]
        answer = {"seconds": time.perf_counter() - started, "subgraphs": pieces}
    except Exception as error:  # onnxruntime's exceptions share no base class but Exception
        answer = {"error": first_line(error)}
    with write_atomically(Path(request["answer"])) as temporary:
        temporary.write_text(json.dumps(answer), encoding="utf-8")
    return 1 if "error" in answer else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
