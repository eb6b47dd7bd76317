from collections.abc import Callable

import pytest

from edgesr.export.npu.file_operator import DType, FileOperator
from edgesr.export.npu.placement import Place
from edgesr.export.npu.remedies import REMEDIES, Cause, remedy_for
from edgesr.export.npu.rule_facts import Setting
from edgesr.export.npu.table_verdict import judge
from edgesr.export.npu.tables import load_tables

ProbeOf = Callable[[str, str, DType], FileOperator]
TABLES = {table.npu: table for table in load_tables()}
INT8, INT16, FLOAT32 = DType.INT8, DType.INT16, DType.FLOAT32


@pytest.mark.parametrize(
    ("npu", "kind", "variant", "dtype", "words"),
    [
        ("qualcomm-htp", "RESHAPE", "rank6", INT8, "fold pixel-shuffle-to-depth-to-space"),
        ("qualcomm-htp", "TRANSPOSE", "rank5", INT16, "fold pixel-shuffle-to-depth-to-space"),
        ("qualcomm-htp", "DEPTH_TO_SPACE", "b4c48", INT16, "onnx-a16w8"),
        ("qualcomm-htp", "RELU6", "plain", INT16, "onnx-a16w8"),
        ("qualcomm-htp", "NEG", "plain", INT8, "onnx-int8"),
        ("ethos-u85", "DEPTH_TO_SPACE", "b4c48", INT8, "shuffle on the host"),
        ("mediatek-neuropilot", "DEPTH_TO_SPACE", "b4c48", INT8, "shuffle on the host"),
        ("samsung-exynos", "DEPTH_TO_SPACE", "b4c48", INT8, "shuffle on the host"),
        ("ethos-u85", "DEPTHWISE_CONV_2D", "mult16_c3", INT8, "fold densify-grouped-conv"),
        ("ethos-u85", "CONV_2D", "plain", FLOAT32, "--target tflite-int8"),
        ("ethos-u85", "QUANTIZE", "f32_to_q", INT8, "--io int8"),
        ("ethos-u85", "DEQUANTIZE", "plain", INT8, "--io int8"),
        ("ethos-u85", "RESIZE_BILINEAR", "x3_hp", INT8, "enlarge by 2"),
        ("ethos-u55", "TRANSPOSE_CONV", "s4k4_same", INT8, "DEPTH_TO_SPACE"),
        ("ethos-u85", "GELU", "plain", INT16, "8 bits for this operator"),
        ("samsung-exynos", "PRELU", "plain", INT8, "LEAKY_RELU"),
        ("mediatek-neuropilot", "RELU6", "plain", INT8, "fuse-activation"),
        ("mediatek-neuropilot", "TRANSPOSE_CONV", "s2k2_relu", INT8, "keep the activation as an operator of its own"),
    ],
)
def test_refusals_and_what_would_change_them(
    npu: str, kind: str, variant: str, dtype: DType, words: str, probe_of: ProbeOf
) -> None:
    table, op = TABLES[npu], probe_of(kind, variant, dtype)
    verdict = judge(op, table, Setting(None, 4, table.rows[kind].supported))
    assert verdict.place is not Place.NPU
    assert words in remedy_for(op, verdict.cause, table)


def test_every_refusal_has_a_remedy(probe_of: ProbeOf) -> None:
    for table in TABLES.values():
        for kind, row in table.rows.items():
            for dtype, variants in row.refused.items():
                for variant in variants:
                    op = probe_of(kind, variant, dtype)
                    verdict = judge(op, table, Setting(None, 4, row.supported))
                    assert remedy_for(op, verdict.cause, table), (table.npu, kind, variant, dtype)


def test_causes_come_before_operators(probe_of: ProbeOf) -> None:
    op, table = probe_of("LOGISTIC", "plain", INT8), TABLES["qualcomm-htp"]
    assert remedy_for(op, Cause.FREE, table) == "fix the size: edgesr export --size HxW"
    assert remedy_for(op, Cause.COMPILED, table).startswith("audit the file")
    assert "SiLU" in remedy_for(op, Cause.KIND, table)
    assert remedy_for(op, Cause.UNSEEN, table) == ""


def test_remedies_are_lines() -> None:
    assert all("\n" not in remedy.text and not remedy.text.endswith(".") for remedy in REMEDIES)
