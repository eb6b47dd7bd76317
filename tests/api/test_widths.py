"""Widths in an export: a16w8 files, a budget met by a mixed file, what the manifest says of it, and refusals."""

import json
from pathlib import Path
from typing import Any

import onnx
import pytest

from edgesr.api import ExportRequest, export
from edgesr.errors import EdgeSRError, ExportError, QualityError
from edgesr.graph_file import load_graph
from edgesr.quant import mixed_precision
from edgesr.quant.drop import Drop
from edgesr.quantized import QuantizedGraph
from edgesr.target import find_target


def targets(*names: str) -> tuple[Any, ...]:
    return tuple(find_target(name) for name in names)


@pytest.fixture
def drops(monkeypatch: pytest.MonkeyPatch) -> None:
    """A drop that falls by 0.01 dB with every 16-bit tensor, from 0.5: what is searched, not what is measured."""

    def measure(self: Any, network: QuantizedGraph) -> Drop:
        return Drop((0.5 - 0.01 * len(network.wide_tensors),))

    monkeypatch.setattr(mixed_precision.DropMeter, "measure", measure)


def request(out: Path, weights: Path, photos: Path, *names: str, **options: Any) -> ExportRequest:
    return ExportRequest(targets=targets(*names), out=out, weights=weights, calibration=photos, **options)


def test_a_budget_makes_a_mixed_file_and_the_manifest_says_how(
    drops: None, small_checkpoint: Path, photos: Path, tmp_path: Path
) -> None:
    budget: dict[str, Any] = {"max_drop_db": 0.4, "npus": ("qualcomm-htp",)}
    asked = request(tmp_path, small_checkpoint, photos, "onnx-int8", "tflite-int8", **budget)
    result = export(asked)
    for artifact in result.artifacts:
        facts = json.loads(json.dumps(artifact.facts))["quantization"]
        network = load_graph(tmp_path / artifact.graph)
        assert isinstance(network, QuantizedGraph)
        assert facts["bits"] == {name: network.bits(name) for name in network.graph.specs}
        assert set(facts["bits"].values()) == {8, 16}
        assert facts["judged_drop_db"] <= facts["max_drop_db"] == 0.4 < facts["judged_drop_db_of_8_bits"]
        assert facts["cost_per_pixel"] > facts["cost_per_pixel_of_8_bits"]
        assert facts["npu"] == "qualcomm-htp" and facts["cost_assumption"]
        assert set(facts["sensitivity_db"]) >= {name for group in facts["chosen"] for name in group}
        assert all(facts["bits"][name] == 16 for group in facts["chosen"] for name in group)
        assert facts["kept_at_8_bits"]["pixel_shuffle"] == "the image has 8 bits"
    model = onnx.load(tmp_path / result.artifacts[0].file)
    assert [opset.version for opset in model.opset_import] == [21]
    kinds = {x.data_type for x in model.graph.initializer}
    assert onnx.TensorProto.UINT16 in kinds and onnx.TensorProto.INT16 not in kinds


def test_a_budget_that_8_bits_meet_leaves_the_file_as_it_is(
    small_checkpoint: Path, photos: Path, tmp_path: Path
) -> None:
    plain = export(request(tmp_path / "a", small_checkpoint, photos, "onnx-int8"))
    loose = export(request(tmp_path / "b", small_checkpoint, photos, "onnx-int8", max_drop_db=50.0))
    assert plain.artifacts[0].sha256 == loose.artifacts[0].sha256
    facts: Any = loose.artifacts[0].facts["quantization"]
    assert facts["chosen"] == [] and set(facts["bits"].values()) == {8}
    assert "bits" not in plain.artifacts[0].facts["quantization"]  # type: ignore[operator]  # a mapping
    assert onnx.load(tmp_path / "b" / loose.artifacts[0].file).opset_import[0].version == 17


def test_a_budget_that_cannot_be_met_writes_nothing(
    drops: None, small_checkpoint: Path, photos: Path, tmp_path: Path
) -> None:
    with pytest.raises(QualityError, match=r"--max-drop 0.01 dB cannot be met: 8 bits lose 0.500 dB, the best reached"):
        export(request(tmp_path / "out", small_checkpoint, photos, "onnx-int8", max_drop_db=0.01))
    assert not (tmp_path / "out").exists()


def test_a16w8_files_say_what_has_16_bits(exported_once: Any) -> None:
    found = {artifact.target: artifact.facts["quantization"] for artifact in exported_once.artifacts
             if artifact.target.endswith("a16w8")}  # fmt: skip
    assert set(found) == {"tflite-a16w8", "onnx-a16w8"}
    for facts in found.values():
        eight = {name for name, bits in facts["bits"].items() if bits == 8}
        assert eight == {"input", "pixel_shuffle", "pointwise_conv.8bit"}
        assert facts["kept_at_8_bits"] == dict.fromkeys(
            ("input", "pointwise_conv", "pixel_shuffle"), "the image has 8 bits"
        )


REFUSALS: dict[str, tuple[tuple[str, ...], dict[str, Any], str]] = {
    "a float target": (("onnx-fp32",), {"max_drop_db": 0.1}, "onnx-fp32 has one width throughout"),
    "a16w8": (("onnx-int8", "tflite-a16w8"), {"max_drop_db": 0.1}, "tflite-a16w8 has one width throughout"),
    "zero": (("onnx-int8",), {"max_drop_db": 0.0}, "--max-drop 0 is no positive number"),
    "negative": (("onnx-int8",), {"max_drop_db": -1.0}, "--max-drop -1 is no positive number"),
    "not a number": (("onnx-int8",), {"max_drop_db": float("nan")}, "--max-drop nan is no positive number"),
    "no such NPU": (("onnx-int8",), {"npus": ("ethosu85",)}, "no NPU profile is called 'ethosu85'; choose ethos-u85"),
    "not its format": (
        ("onnx-int8",),
        {"npus": ("ethos-u85",)},
        "ethos-u85 takes tflite files alone; leave onnx-int8 out",
    ),
}


@pytest.mark.parametrize("why", REFUSALS)
def test_what_no_target_can_answer_is_refused_at_once(why: str, tmp_path: Path) -> None:
    names, options, message = REFUSALS[why]
    with pytest.raises(EdgeSRError, match=message) as failure:
        ExportRequest(targets=targets(*names), out=tmp_path, **options)
    assert "\n" not in str(failure.value) and isinstance(failure.value, ExportError) == ("called" not in message)
