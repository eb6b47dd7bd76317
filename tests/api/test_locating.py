import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from edgesr.api import verify_parity
from edgesr.api.locating import ANY_FILE
from edgesr.artifact import load_manifest

Run = tuple[str, str]


def runs_of(precision: str) -> set[Run]:
    """The file and runner of every run of the integers of one precision."""
    tflite, onnx = f"spanv2_x2-{precision}.tflite", f"spanv2_x2-{precision}.onnx"
    return {(ANY_FILE, "graph-int8"), (tflite, "litert-xnnpack"), (tflite, "litert-reference"), (onnx, "onnxruntime")}


def pair(row: Any) -> frozenset[Run]:
    return frozenset({(row.first_file, row.first_runner), (row.second_file, row.second_runner)})


@pytest.fixture(scope="module")
def report(exported_once: Any) -> Any:
    return verify_parity(exported_once.manifest.folder)


def test_every_pair_of_runs_of_one_network_is_compared(report: Any) -> None:
    """Integers across formats and with exact arithmetic, FP32 across formats; FP16 and A16W8 apart from the rest."""
    pairs = [pair(row) for row in report.divergences if row.in_steps]
    expected = [frozenset(two) for bits in ("int8", "a16w8") for two in itertools.combinations(runs_of(bits), 2)]
    assert len(pairs) == len(expected) == 12 and set(pairs) == set(expected)
    floats = [(row.first_file, row.second_file) for row in report.divergences if not row.in_steps]
    tflite, onnx = "spanv2_x2-fp{}.tflite", "spanv2_x2-fp{}.onnx"
    files = [
        (a.format(bits), b.format(bits)) for bits in (32, 16) for a, b in ((tflite, tflite), *[(tflite, onnx)] * 2)
    ]
    assert sorted(floats) == sorted(files)


def test_formats_part_by_one_step_at_first(report: Any) -> None:
    """TFLite's 16-bit kernels scale by a multiplier of 15 bits, exact arithmetic by one of 31: more values part."""
    for row in report.divergences:
        assert row.tensors > 12
        if row.in_steps and row.at_all is not None:
            share = 0.1 if "a16w8" in row.second_file else 0.01
            assert row.at_all.largest == 1 and row.at_all.differing_share < share


def test_the_sources_are_found_once_for_files_of_the_same_integers(report: Any) -> None:
    assert [(found.file, found.runner) for found in report.sources] == [
        ("spanv2_x2-int8.tflite", "litert-xnnpack"), ("spanv2_x2-a16w8.tflite", "litert-xnnpack")
    ]  # fmt: skip
    for found in report.sources:
        assert len(found.sources) > 10 and sum(s.share for s in found.sources) == pytest.approx(1)
        operators = {row.operator for row in report.operators if row.file == found.file}
        assert {s.operator for s in found.sources} < operators
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
    found = [pair(row) for row in report.divergences if row.in_steps and "a16w8" not in row.second_file]
    exact, tflite = (ANY_FILE, "graph-int8"), ("spanv2_x2-int8.tflite", "litert-xnnpack")
    assert set(found) == {frozenset({exact, tflite}), frozenset({exact, ("spanv2_x2-int8.onnx", "onnxruntime")})}
