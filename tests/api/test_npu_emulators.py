"""Exports through the vendors' own tools, at small sizes."""

import importlib.util
from collections.abc import Callable

import pytest

from edgesr.api import ExportRequest, RebuildRequest, estimate, export, rebuild, verify_parity

pytestmark = pytest.mark.emulator
needs_qnn = pytest.mark.skipif(
    importlib.util.find_spec("onnxruntime_qnn") is None, reason='QNN is not installed: pip install "edgesr[qnn]"'
)
needs_vela = pytest.mark.skipif(
    importlib.util.find_spec("ethosu") is None, reason='Vela is not installed: pip install "edgesr[ethos-u]"'
)


@needs_qnn
@pytest.mark.parametrize("target", ["qnn-int8", "qnn-a16w8", "qnn-fp16"])
def test_a_context_binary_agrees_with_its_source_to_the_byte(
    target: str, request_for: Callable[..., ExportRequest]
) -> None:
    result = export(request_for(target, npus=("snapdragon-8-gen-2",), sizes=((16, 24),)))
    report = verify_parity(result.manifest.folder, ["qnn-htp"])
    contexts = [row for row in report.rows if row.runner == "qnn-htp context"]
    assert len(contexts) == 2 and all(row.passed and row.max_abs == 0 for row in contexts)
    assert {run.runner for run in report.emulated} == {"qnn-htp", "qnn-htp context"}
    assert all("emulated HTP v79" in run.emulated for run in report.emulated)


@needs_vela
@pytest.mark.parametrize("target", ["ethos-u85-1024", "ethos-u65-512", "ethos-u55-256"])
def test_vela_takes_the_whole_export_and_estimates_it(target: str, request_for: Callable[..., ExportRequest]) -> None:
    result = export(request_for(target, sizes=((16, 24),)))
    assert verify_parity(result.manifest.folder).failures == ()
    (one,) = estimate(result.manifest.folder, target, against_unfolded=True)
    assert not one.written_anew and one.estimate.left_out == 0 and one.estimate.cycles > 0
    assert one.unfolded is not None and one.unfolded.setting == one.estimate.setting
    assert one.unfolded_times is not None and one.unfolded_times > 1


@pytest.mark.parametrize(
    ("target", "npu"),
    [
        pytest.param("qnn-int8", "snapdragon-8-elite", marks=needs_qnn),
        pytest.param("ethos-u85-256", "ethos-u85", marks=needs_vela),
    ],
)
def test_compiled_files_are_the_same_again(target: str, npu: str, request_for: Callable[..., ExportRequest]) -> None:
    """In other temporary folders: QNN's binary once held a hash of the path that it was compiled from."""
    request = request_for(target, npus=(npu,), sizes=((16, 24),))
    export(request)
    (file,) = rebuild(RebuildRequest(request.out)).files
    assert file.is_same and file.companions_same
