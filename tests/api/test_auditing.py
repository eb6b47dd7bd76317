import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgesr.api.auditing import AuditReport, audit
from edgesr.errors import ArtifactError, CheckpointError, DeviceError, EdgeSRError
from edgesr.export.npu.compilers import NpuCompiler, find_compiler
from edgesr.export.npu.placement import Evidence, OperatorPlacement, Place, Placement
from edgesr.target import Format

Answer = Callable[[Path, str, Path], Placement]

MEMBERS = frozenset({"ethos-u85-256", "ethos-u85-1024"})


def answer(place: Place) -> Answer:
    """A compiler that puts the one operator it knows there."""

    def compile_(path: Path, npu: str, logs: Path) -> Placement:
        assert path.exists() and logs.is_dir()
        operator = OperatorPlacement("conv", "CONV_2D", place, "" if place is Place.NPU else "too large")
        return Placement(npu, Evidence.COMPILED, "fake 1.0", (operator,), 1, logs / "log")

    return compile_


def compiler(place: Answer, why_not: str | None = None) -> NpuCompiler:
    return NpuCompiler("fake", {"ethos-u85": "ethos-u85-256"}, MEMBERS, (Format.TFLITE,), lambda: why_not, place)


@pytest.fixture
def foreign(foreign_tflite: bytes, tmp_path: Path) -> Path:
    path = tmp_path / "foreign.tflite"
    path.write_bytes(foreign_tflite)
    return path


def test_a_file_on_every_npu(foreign: Path) -> None:
    (subject,) = audit(foreign, compilers=()).subjects
    assert subject.name == str(foreign) and len(subject.audits) == 8
    assert all(x.placements == (x.table,) and x.table.evidence is Evidence.TABLE for x in subject.audits)
    assert all(len(x.table.operators) == 7 for x in subject.audits)


def test_the_compiler_decides_where_it_speaks(foreign: Path) -> None:
    report = audit(foreign, ["ethos-u85"], compilers=[compiler(answer(Place.NPU))])
    (found,) = report.subjects[0].audits
    assert found.compiled is not None and found.compiled.npu == "ethos-u85-256"
    assert found.placements == (found.compiled, found.table) and found.decisive is found.compiled
    assert found.table.count(Place.CPU) == 7 and report.on_cpu == ()
    report = audit(foreign, ["ethos-u85-1024"], compilers=[compiler(answer(Place.CPU))])
    assert report.subjects[0].audits[0].decisive.npu == "ethos-u85-1024"
    assert report.on_cpu == ((str(foreign), "ethos-u85-1024", 1),)


def test_other_npus_and_formats_are_not_compiled(foreign: Path) -> None:
    report = audit(foreign, ["ethos-u55"], compilers=[compiler(answer(Place.NPU))])
    assert report.subjects[0].audits[0].compiled is None
    assert find_compiler("ethos-u85", Format.ONNX, [compiler(answer(Place.NPU))]) is None


def test_what_a_compiler_does_not_compile_is_a_note(foreign: Path, exported_once: Any) -> None:
    def never(path: Path, npu: str, logs: Path) -> Placement:
        raise AssertionError("it must not be asked")

    report = audit(foreign, ["ethos-u85-512"], compilers=[compiler(never)])
    assert report.subjects[0].audits[0].notes == ("not compiled: fake does not compile for ethos-u85-512",)
    qnn = NpuCompiler(
        "QNN", {"qualcomm-htp": "SM8750"}, frozenset({"SM8750"}), (Format.ONNX,), lambda: None, never, True
    )
    report = audit(exported_once.manifest.folder / "spanv2_x2-int8.onnx", ["SM8750"], compilers=[qnn])
    (found,) = report.subjects[0].audits
    assert found.notes == (
        "not compiled: QNN compiles fixed sizes alone, this file's is free; fix it by edgesr export --size HxW",
    )
    assert found.compiled is None and not found.failure and report.on_cpu == ()


def test_logs_stay_where_something_is_not_on_the_npu(foreign: Path) -> None:
    def compile_(path: Path, npu: str, logs: Path) -> Placement:
        (logs / "log").write_text("words")
        return answer(place)(path, npu, logs)

    for place in (Place.NPU, Place.CPU):
        (found,) = audit(foreign, ["ethos-u85"], compilers=[compiler(compile_)]).subjects[0].audits
        assert found.compiled is not None
        assert (found.compiled.log is None) == (place is Place.NPU)
        assert found.compiled.log is None or found.compiled.log.read_text() == "words"


def compiled_folder(exported: Path, facts: dict[str, object]) -> Path:
    """The exported INT8 file as the source of a file that holds nothing but a compiler's bytes."""
    path = exported / "manifest.json"
    plain = json.loads(path.read_text())
    (entry,) = [x for x in plain["artifacts"] if x["file"] == "spanv2_x2-int8.tflite"]
    shutil.copy(exported / entry["file"], exported / "reference" / "source.tflite")
    (exported / "net.tflite").write_bytes(b"opaque")
    entry |= {"file": "net.tflite", "sha256": hashlib.sha256(b"opaque").hexdigest(), "size_bytes": 6}
    entry |= {"source": "reference/source.tflite", "facts": entry["facts"] | facts}
    source = (exported / "reference" / "source.tflite").read_bytes()
    entry["companions"] = {"reference/source.tflite": hashlib.sha256(source).hexdigest()}
    path.write_text(json.dumps(plain | {"artifacts": [entry]}))
    return exported


@pytest.mark.parametrize("is_file", [False, True], ids=["folder", "file"])
def test_a_compiled_file_is_audited_by_its_source_for_its_npu(exported: Path, is_file: bool) -> None:
    folder = compiled_folder(exported, {"compiled": {"npu": "ethos-u85-1024"}})
    asked = folder / "net.tflite" if is_file else folder
    (subject,) = audit(asked, compilers=()).subjects
    assert subject.name == str(folder / "net.tflite")
    assert subject.notes[0] == (
        "compiled for ethos-u85-1024 from reference/source.tflite, which is audited in its place"
    )
    assert [x.npu for x in subject.audits] == ["ethos-u85-1024"]
    assert {op.kind for op in subject.audits[0].table.operators} >= {"CONV_2D", "DEPTH_TO_SPACE"}
    (subject,) = audit(asked, ["SM8750"], compilers=()).subjects
    assert [x.npu for x in subject.audits] == ["SM8750"] and subject.audits[0].table.is_whole
    (folder / "net.tflite").write_bytes(b"changed")
    with pytest.raises(ArtifactError, match=r"net\.tflite was changed after its export"):
        audit(folder, compilers=())


def test_a_compiled_file_of_which_nobody_says_for_what(exported: Path) -> None:
    (subject,) = audit(compiled_folder(exported, {"compiled": 3}), compilers=()).subjects
    assert len(subject.audits) == 8 and subject.notes[0].startswith("compiled for an NPU from ")


def test_a_compiler_that_is_absent_is_a_note(foreign: Path) -> None:
    report = audit(foreign, ["ethos-u85"], compilers=[compiler(answer(Place.NPU), 'pip install "edgesr[fake]"')])
    (found,) = report.subjects[0].audits
    assert found.notes == ('not compiled: pip install "edgesr[fake]"',) and found.compiled is None and not found.failure


def test_a_compiler_that_fails_is_no_placement_and_fails_the_gate(foreign: Path) -> None:
    def fail(path: Path, npu: str, logs: Path) -> Placement:
        raise DeviceError("it crashed; see the log")

    report = audit(foreign, ["ethos-u85"], compilers=[compiler(fail)])
    (found,) = report.subjects[0].audits
    assert found.failure == "fake failed: it crashed; see the log" and found.placements == (found.table,)
    assert report.on_cpu == ((str(foreign), "ethos-u85", 7),)


def test_unknown_is_neither_cpu_nor_npu(foreign: Path) -> None:
    report = audit(foreign, ["google"], compilers=())
    (found,) = report.subjects[0].audits
    assert found.table.count(Place.UNKNOWN) == 7 and not found.table.is_whole and report.on_cpu == ()


def test_export_folders_and_what_reads_them(exported_once: Any) -> None:
    report = audit(exported_once.manifest.folder, compilers=())
    names = [Path(subject.name).name for subject in report.subjects]
    assert names == [artifact.file for artifact in exported_once.manifest.artifacts]
    for subject in report.subjects:
        npus = [x.npu for x in subject.audits]
        if subject.name.endswith(".onnx"):
            assert npus == ["qualcomm-htp"]
            assert any("not audited, as they take no such file: mediatek" in note for note in subject.notes)
        else:
            assert len(npus) == 8


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_our_files_are_clean_on_htp(precision: str, exported_once: Any) -> None:
    path = exported_once.manifest.folder / f"spanv2_x2-{precision}.tflite"
    (found,) = audit(path, ["SM8750"], compilers=()).subjects[0].audits
    assert found.table.is_whole and found.table.partitions == 1 and found.table.npu == "SM8750"


def test_the_int8_file_leaves_ethos_u_only_the_shuffle(exported_once: Any) -> None:
    path = exported_once.manifest.folder / "spanv2_x2-int8.tflite"
    for found in audit(path, ["ethos-u55", "ethos-u65", "ethos-u85"], compilers=()).subjects[0].audits:
        left = [op for op in found.table.operators if op.place is not Place.NPU]
        assert [op.kind for op in left] == ["DEPTH_TO_SPACE"] and "on the host" in left[0].remedy


def test_onnx_files_of_free_size_are_unknown_until_it_is_fixed(exported_once: Any) -> None:
    path = exported_once.manifest.folder / "spanv2_x2-int8.onnx"
    (found,) = audit(path, ["SM8750"], compilers=()).subjects[0].audits
    assert found.table.count(Place.CPU) == 0 and found.table.count(Place.UNKNOWN) > 0
    assert {op.remedy for op in found.table.operators if op.place is Place.UNKNOWN} == {
        "fix the size: edgesr export --size HxW"
    }


def offenders(report: AuditReport, subject: int, npu: str) -> list[str]:
    found = next(x for x in report.subjects[subject].audits if x.npu == npu)
    return [op.name for op in found.table.operators if op.place is not Place.NPU]


@pytest.mark.parametrize("by_name", [True, False], ids=["bundled", "checkpoint"])
def test_a_model_offends_before_the_folds_and_not_after(by_name: bool, small_checkpoint: Path) -> None:
    report = audit("spanv2_x4" if by_name else small_checkpoint, compilers=())
    after, before = report.subjects
    assert after.name.endswith("after edgesr's folds") and before.name.endswith("as captured")
    assert after.is_gated and not before.is_gated and report.on_cpu == ()
    for npu in ("qualcomm-htp", "ethos-u55", "ethos-u65", "ethos-u85"):
        assert offenders(report, 0, npu) == []
    assert offenders(report, 1, "qualcomm-htp") == ["pixel_shuffle.split", "pixel_shuffle.turned", "pixel_shuffle"]
    for npu in ("ethos-u55", "ethos-u65", "ethos-u85"):
        assert offenders(report, 1, npu) == ["conv_near"]


def test_npus_that_read_none_of_the_files(exported_once: Any) -> None:
    path = exported_once.manifest.folder / "spanv2_x2-int8.onnx"
    with pytest.raises(EdgeSRError, match=r"ethos-u85 takes \.tflite files alone; export such a file"):
        audit(path, ["ethos-u85"])


def test_what_is_nothing(tmp_path: Path, foreign_tflite: bytes) -> None:
    with pytest.raises(ArtifactError, match=r"does not exist; give a \.tflite or \.onnx file"):
        audit("no/such.bin")
    with pytest.raises(CheckpointError, match="no bundled model is called 'spanv9'"):
        audit("spanv9")
    with pytest.raises(ArtifactError, match=r"manifest\.json does not exist"):
        audit(tmp_path)
    (tmp_path / "net.bin").write_bytes(foreign_tflite)
    with pytest.raises(ArtifactError, match=r"holds a TFLite file; rename it to net\.tflite"):
        audit(tmp_path / "net.bin")
    (tmp_path / "net.pth").write_bytes(b"nothing")
    with pytest.raises(CheckpointError):
        audit(tmp_path / "net.pth")


def test_json_has_everything(foreign: Path) -> None:
    plain: Any = audit(foreign, ["SM8750P"], compilers=[compiler(answer(Place.NPU))]).to_json()
    (subject,) = plain["subjects"]
    (found,) = subject["npus"]
    assert found["npu"] == "SM8750" and "SM8750P" in found["notes"][0] and "QNN validator" in found["table_proves"]
    (placement,) = found["placements"]
    assert placement["counts"] == {"npu": 4, "cpu": 3, "unknown": 0} and placement["partitions"] == 1
    assert placement["evidence"] == "table" and placement["source"] == "table qualcomm-htp of 2026-11-25"
    assert placement["operators"][5]["remedy"] and placement["operators"][0]["reason"] == ""
