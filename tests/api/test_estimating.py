"""Estimates of exported files: which bytes the compiler gets, and what the answer says about them."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgesr.api import estimating, export
from edgesr.api.estimating import estimate
from edgesr.api.export_request import ExportRequest
from edgesr.artifact import load_manifest
from edgesr.errors import ArtifactError, EdgeSRError, ExportError
from edgesr.ethos_u import EthosU
from edgesr.export.npu.tflite_listing import list_operators
from edgesr.export.npu.vela_report import NpuEstimate

FAST = NpuEstimate("ethos-u85-1024", "Vela 5.2.0", "a system", 1000, 4096, 1000, 7, 1, 2, 3, ())


@dataclasses.dataclass(frozen=True)
class Compiled:
    estimate: NpuEstimate


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bytes, str, str]]:
    """Vela, faked: what it was given, and 10 times the cycles for a file with a TRANSPOSE."""
    seen: list[tuple[bytes, str, str]] = []

    def compile_ethos_u(content: bytes, accelerator: EthosU, logs: Path, source: str) -> Compiled:
        seen.append((content, accelerator.name, source))
        slow = any(op.kind == "TRANSPOSE" for op in list_operators(content, source))
        return Compiled(dataclasses.replace(FAST, cycles=10_000 if slow else 1000))

    monkeypatch.setattr(estimating, "compile_ethos_u", compile_ethos_u)
    return seen


def kinds(content: bytes) -> set[str]:
    return {op.kind for op in list_operators(content, "given")}


def test_of_a_folder_the_int8_tflite_file_is_written_anew_without_its_shuffle(
    given: list[tuple[bytes, str, str]], exported_once: Any
) -> None:
    (one,) = estimate(exported_once.manifest.folder, "ethos-u85-1024")
    assert (one.file, one.size, one.written_anew, one.unfolded) == ("spanv2_x2-int8.tflite", (128, 128), True, None)
    ((content, npu, source),) = given
    assert (npu, source) == ("ethos-u85-1024", one.file)
    assert "DEPTH_TO_SPACE" not in kinds(content) and "CONV_2D" in kinds(content)
    assert "DEPTH_TO_SPACE" in kinds((exported_once.manifest.folder / one.file).read_bytes())


def test_the_unfolded_graph_is_estimated_in_the_same_setting(
    given: list[tuple[bytes, str, str]], exported_once: Any
) -> None:
    path = exported_once.manifest.folder / "spanv2_x2-int8.tflite"
    (one,) = estimate(path, "ethos-u65-256", (16, 24), against_unfolded=True)
    assert one.size == (16, 24) and one.unfolded is not None and one.unfolded_times == 10.0
    assert [npu for _, npu, _ in given] == ["ethos-u65-256"] * 2
    assert one.unfolded.setting == one.estimate.setting
    plain: Any = one.to_json()
    assert plain["estimate"]["estimate"] is True and "no measurement" in plain["unfolded_estimate"]["label"]


def test_a_file_in_the_npus_form_is_estimated_as_it_is(
    given: list[tuple[bytes, str, str]], request_for: Callable[..., ExportRequest]
) -> None:
    result = export(request_for("tflite-int8", npus=("ethos-u85",), sizes=((16, 24),)))
    path = result.manifest.folder / result.artifacts[0].file
    (one,) = estimate(path, "ethos-u85-1024")
    assert not one.written_anew and given[0][0] == path.read_bytes()
    (other,) = estimate(path, "ethos-u85-1024", (8, 8))
    assert other.written_anew and given[1][0] != path.read_bytes()


def test_what_cannot_be_estimated_is_refused(exported_once: Any) -> None:
    folder = exported_once.manifest.folder
    with pytest.raises(EdgeSRError, match="no Ethos-U accelerator is called 'ethos-u85-1000'; choose ethos-u85-1024"):
        estimate(folder, "ethos-u85-1000")
    with pytest.raises(ArtifactError, match=r"fp32.tflite is no INT8 TFLite file.*; export one with --target tflite"):
        estimate(folder / "spanv2_x2-fp32.tflite", "ethos-u85-1024")
    with pytest.raises(ArtifactError, match="0x8 is no multiple of 1; give another --size"):
        estimate(folder, "ethos-u85-1024", (0, 8))


def test_a_compilers_failure_comes_through_with_its_log(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Path] = []

    def failing(content: bytes, accelerator: EthosU, logs: Path, source: str) -> Compiled:
        kept.append(logs / "vela.log")
        kept[0].write_text("aborted")
        raise ExportError(f"Vela fails; see {kept[0]}")

    monkeypatch.setattr(estimating, "compile_ethos_u", failing)
    with pytest.raises(ExportError, match=r"see .*vela\.log"):
        estimate(exported, "ethos-u85-1024")
    assert kept[0].read_text() == "aborted"
    kept[0].unlink()
    kept[0].parent.rmdir()
    manifest = load_manifest(exported)
    (exported / manifest.find("spanv2_x2-int8.tflite").graph).unlink()
    with pytest.raises(ArtifactError, match="is missing"):
        estimate(exported, "ethos-u85-1024")
