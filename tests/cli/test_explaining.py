"""`edgesr export --explain` names each fold, and why an NPU wants it."""

import pytest

from edgesr.artifact import Artifact, IOContract
from edgesr.cli.explaining import print_explanations
from edgesr.target import IODtype, Layout

CONTRACT = IOContract(IODtype.INT8, Layout.NHWC, 3, 4, 1.0, ((8, 8),), False)
FACTS = {
    "npu": {
        "profile": "ethos-u85", "tail": "host-shuffle", "tail_why": "it has none",
        "folds": {"depthwise-before-concat": "memory is scarce"},
    },
    "folds": [
        {"fold": "fuse-activation", "exactness": "exact", "changed": ["a"]},
        {"fold": "depthwise-before-concat", "exactness": "exact", "changed": ["b", "c"]},
    ],
    "graph": {"macs_per_input_pixel": 1234.0},
    "quantization": {
        "graph_forms": [
            {"tensor": "t", "alone_db": 50.0, "added_macs_per_input_pixel": 8, "taken": True, "why": "below 58.9 dB"}
        ],
        "max_mac_growth": 1.07, "kept_at_8_bits": {"u": "no kernel"},
    },
}  # fmt: skip


def artifact(file: str, facts: dict[str, object]) -> Artifact:
    return Artifact(file, "tflite-int8", "", 1, CONTRACT, "reference/x", "reference/y", facts)


def test_a_fold_that_an_npu_wants_has_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    print_explanations([artifact("a.tflite", FACTS), artifact("b.tflite", FACTS)])
    out = capsys.readouterr().out
    assert out.count("Why a.tflite has its form (NPU profile ethos-u85):") == 1 and "b.tflite" not in out
    assert "  tail: host-shuffle, because it has none\n" in out
    assert "  fold fuse-activation (exact): a\n" in out
    assert "  fold depthwise-before-concat (exact): b, c, because memory is scarce\n" in out
    assert "within 1.07 times" in out and "u keeps 8 bits: no kernel" in out and "1,234 MACs" in out


def test_an_older_manifest_has_no_reasons(capsys: pytest.CaptureFixture[str]) -> None:
    npu = {key: value for key, value in dict(FACTS["npu"]).items() if key != "folds"}  # type: ignore[call-overload]  # a dict
    print_explanations([artifact("a.tflite", {**FACTS, "npu": npu})])
    assert "depthwise-before-concat (exact): b, c\n" in capsys.readouterr().out
