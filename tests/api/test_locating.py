import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from edgesr.api import verify_parity
from edgesr.api.locating import ANY_FILE
from edgesr.artifact import load_manifest

INT8 = {(ANY_FILE, "graph-int8"), ("spanv2_x2-int8.tflite", "litert-xnnpack"),
        ("spanv2_x2-int8.tflite", "litert-reference"), ("spanv2_x2-int8.onnx", "onnxruntime")}  # fmt: skip


@pytest.fixture(scope="module")
def report(exported_once: Any) -> Any:
    return verify_parity(exported_once.manifest.folder)


def test_every_pair_of_runs_of_one_network_is_compared(report: Any) -> None:
    """INT8 across formats and with exact integers, FP32 across formats; FP16 apart from both."""
    pairs = [
        {(r.first_file, r.first_runner), (r.second_file, r.second_runner)} for r in report.divergences if r.in_steps
    ]
    assert len(pairs) == 6 and all(set(pair) in pairs for pair in itertools.combinations(INT8, 2))
    floats = [(row.first_file, row.second_file) for row in report.divergences if not row.in_steps]
    tflite, onnx = "spanv2_x2-fp{}.tflite", "spanv2_x2-fp{}.onnx"
    expected = [
        (a.format(bits), b.format(bits)) for bits in (32, 16) for a, b in ((tflite, tflite), *[(tflite, onnx)] * 2)
    ]
    assert sorted(floats) == sorted(expected)


def test_formats_part_by_one_step_at_first(report: Any) -> None:
    for row in report.divergences:
        assert row.tensors > 12
        if row.in_steps and row.at_all is not None:
            assert row.at_all.largest == 1 and row.at_all.differing_share < 0.01


def test_the_sources_are_found_once_for_files_of_the_same_integers(report: Any) -> None:
    (sources,) = report.sources
    assert (sources.file, sources.runner) == ("spanv2_x2-int8.tflite", "litert-xnnpack")
    assert len(sources.sources) > 10 and sum(s.share for s in sources.sources) == pytest.approx(1)
    operators = {row.operator for row in report.operators if row.file == sources.file}
    assert {s.operator for s in sources.sources} < operators
    assert json.dumps(report.to_json())


def test_one_runner_of_one_int8_file_is_compared_with_exact_integers(exported_once: Any) -> None:
    report = verify_parity(exported_once.manifest.folder / "spanv2_x2-int8.onnx")
    (row,) = report.divergences
    assert (row.first_runner, row.second_runner) == ("graph-int8", "onnxruntime")
    assert [sources.file for sources in report.sources] == ["spanv2_x2-int8.onnx"]
    report = verify_parity(exported_once.manifest.folder / "spanv2_x2-fp32.onnx")
    assert report.divergences == report.sources == ()


def test_the_manifest_holds_shift_and_clipping(exported: Path) -> None:
    for artifact in load_manifest(exported).artifacts:
        parity: Any = artifact.facts["parity"]
        assert 0 <= parity["tensor_clipped_share"] < 0.1
        for worst in parity["worst"].values():
            assert 0 <= worst["colour_shift_levels"] < (2 if "int8" in artifact.target else 0.1)
            assert 0 <= worst["wrongly_clipped_share"] < 0.05


def test_files_of_fixed_and_other_sizes_are_not_compared(exported: Path) -> None:
    """They are checked on other images."""
    manifest = load_manifest(exported)
    onnx = manifest.find("spanv2_x2-int8.onnx")
    contract = dataclasses.replace(onnx.contract, sizes=((48, 40),), any_size=False)
    changed = tuple(dataclasses.replace(a, contract=contract) if a is onnx else a for a in manifest.artifacts)
    dataclasses.replace(manifest, artifacts=changed).save()
    report = verify_parity(exported, ["litert-xnnpack", "onnxruntime"])
    found = {(row.first_runner, row.second_runner) for row in report.divergences if row.in_steps}
    assert found == {("graph-int8", "litert-xnnpack"), ("graph-int8", "onnxruntime")}
