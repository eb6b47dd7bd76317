"""Overlays for Model Explorer: keyed by what the files call their nodes, with the figures of the parity check."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import onnx
import pytest
from ai_edge_litert.interpreter import Interpreter

from edgesr.api import verify_parity
from edgesr.api.reporting import write_overlays
from edgesr.report.model_explorer import BAD, GOOD, overlays
from edgesr.runtime.parity import ParityReport

INT8 = {"spanv2_x2-int8.tflite": "litert-xnnpack", "spanv2_x2-int8.onnx": "onnxruntime"}


@pytest.fixture(scope="module")
def parity(exported_once: Any) -> ParityReport:
    return verify_parity(exported_once.manifest.folder, tuple(INT8.values()))


def names_in(path: Path) -> set[str]:
    """Nodes of an ONNX file, tensors of a TFLite file: what Model Explorer looks values up by."""
    if path.suffix == ".onnx":
        return {node.name for node in onnx.load(path).graph.node}
    return {tensor["name"] for tensor in Interpreter(str(path)).get_tensor_details()}


def test_every_value_has_its_node(parity: ParityReport, exported_once: Any, tmp_path: Path) -> None:
    paths = write_overlays(parity, tmp_path / "a new folder")
    written = {path.name: json.loads(path.read_text()) for path in paths}
    assert {path.name for path in (tmp_path / "a new folder").iterdir()} == set(written)
    for file, runner in INT8.items():
        nodes = names_in(exported_once.manifest.folder / file)
        for figure in ("sqnr", "own-sqnr", "clipped"):
            found = written[f"{file}.{runner}.{figure}.json"]
            rows = [row for row in parity.operators if (row.file, row.runner) == (file, runner)]
            assert found["results"].keys() == {row.operator for row in rows} - {"input edge", "output edge"}
            assert found["results"].keys() <= nodes
    assert "spanv2_x2-fp32.onnx.onnxruntime.sqnr.json" in written
    assert "spanv2_x2-fp32.onnx.onnxruntime.clipped.json" not in written, "floats have no rails"


def test_figures_are_those_of_the_check(parity: ParityReport) -> None:
    written = dict(overlays(parity.to_json()))
    (sources,) = [found for found in parity.sources if found.file == "spanv2_x2-int8.tflite"]
    share = written["spanv2_x2-int8.tflite.litert-xnnpack.share.json"]
    assert share["name"] == "share of the error, % (litert-xnnpack)"
    assert math.isclose(sum(result["value"] for result in share["results"].values()), 100, abs_tol=0.01)
    first = sources.sources[0]
    assert share["results"][first.operator]["value"] == pytest.approx(100 * first.share, abs=1e-4)
    assert [stop["bgColor"] for stop in share["gradient"]][::2] == [GOOD, BAD], "much of the error is bad"
    sqnr = written["spanv2_x2-int8.tflite.litert-xnnpack.sqnr.json"]
    of_file = [row for row in parity.operators if (row.file, row.runner) == (sources.file, sources.runner)]
    row = next(row for row in of_file if row.operator == first.operator)
    assert sqnr["results"][row.operator]["value"] == pytest.approx(row.sqnr_db, abs=1e-4)
    assert [stop["bgColor"] for stop in sqnr["gradient"]][::2] == [BAD, GOOD]


def test_what_has_no_number_has_no_colour() -> None:
    row = {"file": "b/x.tflite", "runner": "r", "sqnr_db": "inf", "own_sqnr_db": None, "span": None}
    plain = {"operators": [row | {"operator": "a"}, row | {"operator": "b", "sqnr_db": 3.0}], "error_sources": []}
    ((name, content),) = overlays(plain)
    assert name == "b-x.tflite.r.sqnr.json" and content["results"] == {"b": {"value": 3.0}}
