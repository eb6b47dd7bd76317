import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgesr import qnn_session
from edgesr.errors import DeviceError, MissingBackendError
from edgesr.qnn_session import (
    PROVIDER,
    QnnVersions,
    emulated_label,
    native_output_to,
    open_quietly,
    qnn_versions,
    refuse_fallback,
)
from edgesr.qualcomm import SOCS


def pretend(monkeypatch: pytest.MonkeyPatch, version: str | None) -> None:
    """An environment with onnxruntime-qnn of that version, or without."""

    def installed(name: str) -> str:
        if version is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return version

    info = SimpleNamespace(build_and_package_info=SimpleNamespace(qnn_version="2.51.0"))
    monkeypatch.setattr(importlib.metadata, "version", installed)
    monkeypatch.setitem(sys.modules, "onnxruntime_qnn", info if version else None)


def test_a_missing_package_is_one_line_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, None)
    for call in (qnn_versions, lambda: open_quietly(b"", SOCS[0], "x.onnx")):
        with pytest.raises(MissingBackendError, match=r'is not installed; run pip install "edgesr\[qnn\]"$'):
            call()


def test_a_package_that_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, "2.6.9")
    with pytest.raises(MissingBackendError, match=r'2\.6\.9 is too old, 2\.7 or newer .* "edgesr\[qnn\]" --upgrade$'):
        qnn_versions()
    pretend(monkeypatch, "2.10.0.dev1")
    assert qnn_versions() == QnnVersions("2.10.0.dev1", "2.51.0")
    assert qnn_versions().describe() == "onnxruntime-qnn 2.10.0.dev1 (QNN 2.51.0)"


def session(first: str, *providers: str) -> Any:
    pieces = [
        SimpleNamespace(ep_name=name, get_nodes=lambda: [SimpleNamespace(name="erf", op_type="Erf")])
        for name in providers
    ]
    return SimpleNamespace(get_providers=lambda: [first], get_provider_graph_assignment_info=lambda: pieces)


def test_a_fallback_is_refused() -> None:
    refuse_fallback(session(PROVIDER, PROVIDER))
    with pytest.raises(DeviceError, match="Erf 'erf' fell back to CPUExecutionProvider; "):
        refuse_fallback(session(PROVIDER, PROVIDER, "CPUExecutionProvider"))
    with pytest.raises(DeviceError, match="opened the file on CPUExecutionProvider instead of QNN"):
        refuse_fallback(session("CPUExecutionProvider", PROVIDER))


def test_results_are_labelled_emulated() -> None:
    assert emulated_label(SOCS[1]) == "emulated HTP v79, compiled for SM8550 (v73)"


def test_native_output_goes_to_the_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log"
    with native_output_to(log):
        os.write(1, b"out\n")
        os.write(2, b"err\n")
    os.write(2, b"after\n")
    assert log.read_text() == "out\nerr\n"
    assert capfd.readouterr() == ("", "after\n")


def test_native_output_with_closed_streams(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys; from edgesr.qnn_session import native_output_to\n"
        f"with native_output_to(pathlib.Path({str(tmp_path / 'log')!r})): pass"
    )
    shell = subprocess.run(
        [sys.executable, "-c", f"import os; os.close(1); os.close(2)\n{code}"], check=False, timeout=60
    )
    assert shell.returncode == 0 and (tmp_path / "log").read_bytes() == b""


def test_failures_keep_their_log_and_name_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*_: object, **__: object) -> None:
        os.write(2, b"[E] QNN SetupBackend failed Error: NO\n")
        raise RuntimeError("first\nsecond")

    pretend(monkeypatch, "2.7.0")
    monkeypatch.setattr(qnn_session, "open_qnn_session", fail)
    monkeypatch.setattr(qnn_session.tempfile, "tempdir", str(tmp_path))
    with pytest.raises(DeviceError) as caught:
        open_quietly(b"", SOCS[0], "x.onnx")
    (log,) = tmp_path.iterdir()
    message = str(caught.value)
    assert message.startswith("x.onnx does not run on snapdragon-8-gen-1 (SM8450, HTP v69): QNN SetupBackend failed")
    assert message.endswith(f"full log: {log}") and "\n" not in message
    assert log.read_text().count("SetupBackend") == 2, "both attempts are there"
