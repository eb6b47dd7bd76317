"""Sessions of ONNX Runtime on Qualcomm's HTP: its compiler, and on x86-64 hosts its emulator.

Four things are pinned, each because its default hides something: `soc_model` and `htp_arch` together, since QNN guesses
the one that is missing; `offload_graph_io_quantization=0`, without which a context binary computes other bytes than the
direct session; `session.disable_cpu_ep_fallback=1`; and ONNX Runtime's own retry on the CPU, which is switched off.
What was taken is then read from the session itself: QNN comes first, and no node is assigned to anything else.

The package `onnxruntime-qnn` is an extra. Its library is registered once a process. It writes to file descriptors 1 and
2 from C; that is held back, and kept in a file that the error names when a session does not open.
"""

from __future__ import annotations

import importlib.metadata
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgesr.errors import DeviceError, MissingBackendError, first_line
from edgesr.qnn_log import OTHER_CURE, explain
from edgesr.qualcomm import Soc

if TYPE_CHECKING:
    import onnxruntime as ort

PROVIDER = "QNNExecutionProvider"
DISTRIBUTION = "onnxruntime-qnn"
INSTALL_LINE = 'pip install "edgesr[qnn]"'
OLDEST = (2, 7)
"""Older packages register themselves differently and know no `framework_op_trace`."""
EMULATED_ARCH = "v79"
"""What the emulator of QNN 2.51 executes, whatever is asked; graphs are compiled for the generation that is asked."""
TALKATIVE, ERRORS_ONLY = 0, 3
COMPILED_KIND = "EPContext"
"""The node that stands for a compiled graph in the wrapper of a context binary."""

_registering = threading.Lock()


@dataclass(frozen=True)
class QnnVersions:
    """The installed package and the QNN SDK inside it."""

    package: str
    sdk: str

    def describe(self) -> str:
        """Both, for reports."""
        return f"{DISTRIBUTION} {self.package} (QNN {self.sdk})"


@dataclass(frozen=True)
class Subgraph:
    """Nodes, as (name, kind), that one execution provider got as one piece."""

    provider: str
    nodes: tuple[tuple[str, str], ...]


def qnn_versions() -> QnnVersions:
    """What is installed; raises `MissingBackendError` where there is none, or one that is too old."""
    try:
        package = importlib.metadata.version(DISTRIBUTION)
        from onnxruntime_qnn import build_and_package_info as info
    except (importlib.metadata.PackageNotFoundError, ImportError):
        raise MissingBackendError(
            f"Qualcomm's compiler ({DISTRIBUTION}) is not installed; run {INSTALL_LINE}"
        ) from None
    if _numbers(package)[:2] < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        raise MissingBackendError(
            f"{DISTRIBUTION} {package} is too old, {wanted} or newer is needed; run {INSTALL_LINE} --upgrade"
        )
    return QnnVersions(package, str(info.qnn_version))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdigit() else 0 for part in version.split("."))


def emulated_label(soc: Soc) -> str:
    """What a result of the emulator is: which SoC the graph was compiled for, and which generation computed."""
    return f"emulated HTP {EMULATED_ARCH}, compiled for {soc.part} ({soc.arch})"


def open_qnn_session(
    model: bytes | Path, soc: Soc, whole: bool = True, context: Path | None = None, severity: int = ERRORS_ONLY
) -> ort.InferenceSession:
    """A session on the HTP of a SoC, from an ONNX file or its bytes.

    `whole` allows nothing on the CPU; `context` is where a compiled graph's ONNX wrapper is to be written. Raises
    `MissingBackendError`, `DeviceError` for operators on the CPU, and what ONNX Runtime raises.
    """
    import onnxruntime as ort

    devices, backend = _register()
    options = ort.SessionOptions()
    options.log_severity_level = severity
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    if whole:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    if context is not None:
        options.add_session_config_entry("ep.context_enable", "1")
        options.add_session_config_entry("ep.context_file_path", str(context))
        options.add_session_config_entry("ep.context_embed_mode", "0")
    options.add_provider_for_devices(devices, _provider_options(soc, backend))
    source = str(model) if isinstance(model, Path) else model
    session = ort.InferenceSession(source, options, enable_fallback=0)
    if whole:
        refuse_fallback(session)
    return session


def _provider_options(soc: Soc, backend: str) -> dict[str, str]:
    return {
        "backend_path": backend,
        "soc_model": str(soc.soc_model),
        "htp_arch": str(soc.htp_arch),
        "offload_graph_io_quantization": "0",
    }


def _register() -> tuple[list[Any], str]:
    """QNN's device as ONNX Runtime lists it, and the path of the HTP's library."""
    import onnxruntime as ort

    qnn_versions()
    import onnxruntime_qnn

    with _registering:
        if not _devices():
            ort.register_execution_provider_library(PROVIDER, onnxruntime_qnn.get_library_path())
    devices = _devices()[:1]
    if not devices:
        raise DeviceError(f"{DISTRIBUTION} offers no device on this machine; it emulates the HTP on x86-64 Linux alone")
    return devices, onnxruntime_qnn.get_qnn_htp_path()


def _devices() -> list[Any]:
    import onnxruntime as ort

    return [device for device in ort.get_ep_devices() if device.ep_name == PROVIDER]


def subgraphs(session: ort.InferenceSession) -> tuple[Subgraph, ...]:
    """Which pieces of the graph each provider got, by ONNX Runtime's own account."""
    return tuple(
        Subgraph(piece.ep_name, tuple((node.name, node.op_type) for node in piece.get_nodes()))
        for piece in session.get_provider_graph_assignment_info()
    )


def refuse_fallback(session: ort.InferenceSession) -> None:
    """Raise `DeviceError` unless QNN is the session's first provider and has every node."""
    first = session.get_providers()[0]
    if first != PROVIDER:
        raise DeviceError(f"ONNX Runtime opened the file on {first} instead of {PROVIDER}; reinstall: {INSTALL_LINE}")
    for piece in subgraphs(session):
        if piece.provider != PROVIDER:
            name, kind = piece.nodes[0]
            raise DeviceError(f"{kind} '{name}' fell back to {piece.provider}; {OTHER_CURE}")


def open_quietly(model: bytes | Path, soc: Soc, label: str) -> ort.InferenceSession:
    """A whole session that prints nothing; raises `DeviceError` in one line, which names the saved log.

    The second attempt after a failure is there for the log: only at its most talkative does QNN name operators.
    """
    qnn_versions()
    log = new_log()
    with native_output_to(log):
        try:
            session = open_qnn_session(model, soc)
        except Exception:  # onnxruntime's exceptions share no base class but Exception
            session = None
    if session is None:
        with native_output_to(log):
            try:
                session = open_qnn_session(model, soc, severity=TALKATIVE)
            except Exception as error:  # as above
                raise DeviceError(failure(label, soc, log, first_line(error))) from error
    log.unlink(missing_ok=True)
    return session


def failure(label: str, soc: Soc, log: Path, otherwise: str) -> str:
    """One line for a graph that did not reach the NPU: the operator, the cure, and the log."""
    with suppress(OSError):
        why, cure = explain(log.read_text(encoding="utf-8", errors="replace")) or (otherwise, OTHER_CURE)
        return f"{label} does not run on {soc.describe()}: {why}; {cure}; full log: {log}"
    return f"{label} does not run on {soc.describe()}: {otherwise}; {OTHER_CURE}"


def new_log() -> Path:
    """A new empty file for what native code says, which stays until somebody removes it."""
    descriptor, name = tempfile.mkstemp(prefix="edgesr-qnn-", suffix=".log")
    os.close(descriptor)
    return Path(name)


@contextmanager
def native_output_to(log: Path) -> Iterator[None]:
    """Append what native code writes to file descriptors 1 and 2 within the block to a file."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # closed when the process was started without it
            stream.flush()
    with log.open("ab") as file:
        saved = {number: os.dup(number) for number in (1, 2) if _is_open(number)}
        try:
            for number in saved:
                os.dup2(file.fileno(), number)
            yield
        finally:
            for number, copy in saved.items():
                os.dup2(copy, number)
                os.close(copy)


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True
