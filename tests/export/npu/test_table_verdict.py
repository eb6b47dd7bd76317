from collections.abc import Callable
from dataclasses import replace

import pytest

from edgesr.export.npu.file_operator import Attributes, DType, FileOperator, OperatorList
from edgesr.export.npu.placement import Evidence, Place
from edgesr.export.npu.read_tflite import parse_tflite
from edgesr.export.npu.remedies import Cause
from edgesr.export.npu.rule_facts import Setting
from edgesr.export.npu.table_verdict import Verdict, judge, place_by_table
from edgesr.export.npu.tables import Acceptance, NpuTable, Supported, load_tables
from edgesr.target import Format

ProbeOf = Callable[[str, str, DType], FileOperator]
NetworkOf = Callable[..., OperatorList]
TABLES = {table.npu: table for table in load_tables()}
VALIDATED = [name for name, table in TABLES.items() if table.acceptance is Acceptance.VALIDATED]
OFFERED = [name for name, table in TABLES.items() if table.acceptance is Acceptance.OFFERED]


def verdict(npu: str, op: FileOperator, soc: str | None = None, rank: int = 4) -> Verdict:
    table = TABLES[npu]
    row = table.rows.get(op.table_kind)
    return judge(op, table, Setting(soc, rank, Supported.UNKNOWN if row is None else row.supported))


def probes(table: NpuTable, accepted: bool) -> list[tuple[str, str, DType]]:
    return [
        (kind, variant, dtype)
        for kind, row in table.rows.items()
        for dtype, variants in (row.accepted if accepted else row.refused).items()
        for variant in variants
    ]


DOUBTED = {
    (npu, "DEPTHWISE_CONV_2D", variant): Place.UNKNOWN
    for npu in ("ethos-u55", "ethos-u65", "ethos-u85")
    for variant in ("mult2", "mult16_c3")
}
"""Probes that were accepted alone, while whole networks with such an operator abort."""
NEEDS_SOC = ("BATCH_MATMUL",)


@pytest.mark.parametrize("npu", VALIDATED)
def test_every_accepted_probe_is_on_the_npu(npu: str, probe_of: ProbeOf) -> None:
    listed = probes(TABLES[npu], accepted=True)
    assert len(listed) > 150
    for kind, variant, dtype in listed:
        soc = "SM8550" if kind in NEEDS_SOC and npu == "qualcomm-htp" else None
        found = verdict(npu, probe_of(kind, variant, dtype), soc)
        wanted = DOUBTED.get((npu, kind, variant), Place.NPU)
        assert found.place is wanted, (kind, variant, dtype, found)


@pytest.mark.parametrize("npu", VALIDATED)
def test_every_refused_probe_is_on_the_cpu_for_a_reason(npu: str, probe_of: ProbeOf) -> None:
    listed = probes(TABLES[npu], accepted=False)
    assert len(listed) > 30
    for kind, variant, dtype in listed:
        found = verdict(npu, probe_of(kind, variant, dtype))
        assert found.place is Place.CPU and found.reason, (kind, variant, dtype, found)


@pytest.mark.parametrize("npu", OFFERED)
def test_what_only_reaches_a_closed_compiler_is_never_on_the_npu(npu: str, probe_of: ProbeOf) -> None:
    for kind in TABLES[npu].rows:
        variant = {"TRANSPOSE_CONV": "s2k2_valid", "RESIZE_BILINEAR": "x2", "RESIZE_NEAREST_NEIGHBOR": "x2"}
        assert verdict(npu, probe_of(kind, variant.get(kind, "plain"), DType.INT8)).place is not Place.NPU


def test_reasons_say_what_was_found(probe_of: ProbeOf) -> None:
    found = verdict("ethos-u55", probe_of("TRANSPOSE_CONV", "s4k4_same", DType.INT8))
    assert (found.cause, found.reason) == (Cause.RULE, "stride: stride is 4, above 2")
    found = verdict("ethos-u85", probe_of("CONV_2D", "plain", DType.FLOAT32))
    assert (found.cause, found.reason) == (Cause.DTYPE, "float: dtype is float32")
    found = verdict("qualcomm-htp", probe_of("RESHAPE", "rank6", DType.INT8))
    assert (found.cause, found.reason) == (Cause.RANK, "rank limit: rank is 6, above 5")
    found = verdict("qualcomm-htp", probe_of("NEG", "plain", DType.INT8))
    assert found.cause is Cause.DTYPE and found.reason.startswith("int8 activations were refused in every probe")
    found = verdict("qualcomm-htp", probe_of("CAST", "f_to_u8", DType.FLOAT16))
    assert found.cause is Cause.PROBE and "the probe 'f_to_u8' in float16" in found.reason


def test_rank_6_is_refused_in_tflite_and_in_onnx_open_where_it_may_be_joined_away(probe_of: ProbeOf) -> None:
    table, reshape = TABLES["qualcomm-htp"], probe_of("RESHAPE", "rank6", DType.INT8)
    onnx, tflite = (Setting(None, 4, Supported.YES, format_) for format_ in (Format.ONNX, Format.TFLITE))
    assert judge(reshape, table, tflite).place is Place.CPU
    found = judge(reshape, table, onnx)
    assert (found.place, found.cause) == (Place.UNKNOWN, Cause.RANK) and "joins some RESHAPE" in found.reason
    relu = replace(probe_of("RELU", "plain", DType.INT8), inputs=reshape.inputs, outputs=reshape.outputs)
    assert judge(relu, table, onnx).place is Place.CPU


def test_resizes_are_judged_by_their_factor(probe_of: ProbeOf) -> None:
    plain = probe_of("RESIZE_BILINEAR", "x2", DType.INT8)
    uneven = replace(plain, attributes=replace(plain.attributes, output_hw=(32, 64)))
    assert verdict("ethos-u85", uneven).place is Place.CPU
    assert (
        verdict("ethos-u55", replace(plain, attributes=replace(plain.attributes, output_hw=(64, 64)))).place
        is Place.NPU
    )
    unknown = replace(plain, attributes=replace(plain.attributes, output_hw=None))
    found = verdict("ethos-u85", unknown)
    assert (found.place, found.cause) == (Place.UNKNOWN, Cause.UNDECIDED) and "nobody can tell" in found.reason


def test_rules_for_some_socs_need_the_soc(probe_of: ProbeOf) -> None:
    op = probe_of("BATCH_MATMUL", "plain", DType.UINT16)
    places = [verdict("qualcomm-htp", op, soc).place for soc in ("SM8450", "SM8550", None)]
    assert places == [Place.CPU, Place.NPU, Place.UNKNOWN]
    assert verdict("qualcomm-htp", probe_of("BATCH_MATMUL", "plain", DType.INT8)).place is Place.NPU


def test_wrong_results_are_said_as_such_and_stay_off(probe_of: ProbeOf) -> None:
    found = verdict("mediatek-neuropilot", probe_of("TRANSPOSE_CONV", "s2k2_relu", DType.INT8))
    assert (found.place, found.cause) == (Place.CPU, Cause.WRONG)
    assert found.reason.startswith("the NPU would compute a wrong result: activation dropped")


def test_one_operator_that_fails_the_model_takes_all_off(probe_of: ProbeOf, network_of: NetworkOf) -> None:
    network = network_of(probe_of("ADD", "plain", DType.INT8), probe_of("DEPTH_TO_SPACE", "b4c48", DType.INT8))
    placement = place_by_table(network, TABLES["samsung-exynos"]).placement
    assert [op.place for op in placement.operators] == [Place.CPU, Place.CPU] and placement.partitions == 0
    assert "because of DEPTH_TO_SPACE 'depth_to_space_1'" in placement.operators[0].reason
    assert placement.operators[1].reason.startswith("it fails the whole model, not itself alone: ")
    network = network_of(probe_of("ADD", "plain", DType.INT16), probe_of("HARD_SWISH", "plain", DType.INT16))
    placement = place_by_table(network, TABLES["ethos-u85"]).placement
    assert placement.count(Place.CPU) == 2 and "compile aborts" in placement.operators[1].reason


def test_what_no_table_knows_is_unknown(probe_of: ProbeOf) -> None:
    op = probe_of("ADD", "plain", DType.INT8)
    found = verdict("ethos-u85", replace(op, table_kind="CUMSUM"))
    assert found == Verdict(Place.UNKNOWN, Cause.ABSENT, "it is not in the table of 2026-11-25")
    assert verdict("ethos-u85", replace(op, table_kind="", is_custom=True)).place is Place.CPU
    assert verdict("ethos-u85", replace(op, table_kind="", is_custom=True, compiled_for="Vela")).place is Place.UNKNOWN
    found = verdict("qualcomm-htp", replace(op, dtype=DType.INT32))
    assert (found.place, found.reason) == (Place.UNKNOWN, "no probe had int32 activations")
    assert verdict("ethos-u85", probe_of("CAST", "plain", DType.INT8)).place is Place.UNKNOWN


def test_free_sizes_are_unknown(probe_of: ProbeOf) -> None:
    op = probe_of("RELU", "plain", DType.INT8)
    free = replace(op, inputs=(replace(op.inputs[0], shape=(1, -1, -1, 8)),))
    assert verdict("qualcomm-htp", free).cause is Cause.FREE


def test_warnings_do_not_move_an_operator(probe_of: ProbeOf, network_of: NetworkOf) -> None:
    result = place_by_table(network_of(probe_of("TRANSPOSE_CONV", "s2k2_same", DType.INT8)), TABLES["ethos-u85"])
    assert result.placement.is_whole
    assert result.warnings == (
        "TRANSPOSE_CONV 'transpose_conv_0': expanded to stride squared NPU ops: stride is 2, above 1",
    )


@pytest.mark.parametrize("npu", ["ethos-u55", "ethos-u65", "ethos-u85"])
def test_multipliers_that_abort_some_compilations_are_doubted_on_every_ethos_u(npu: str, probe_of: ProbeOf) -> None:
    found = verdict(npu, probe_of("DEPTHWISE_CONV_2D", "mult16_c3", DType.INT8))
    assert found.place is Place.UNKNOWN and "before a CONCATENATION it can abort" in found.reason
    assert verdict(npu, probe_of("DEPTHWISE_CONV_2D", "c1_mult8", DType.INT8)).place is Place.NPU


def test_derived_rules_follow_the_words_of_the_source(probe_of: ProbeOf) -> None:
    op = probe_of("CONV_2D", "plain", DType.INT8)
    strided = replace(op, attributes=replace(op.attributes, stride=(4, 4)))
    assert verdict("ethos-u55", strided).place is Place.CPU and verdict("ethos-u85", strided).place is Place.NPU
    pool = probe_of("AVERAGE_POOL_2D", "plain", DType.INT8)
    large = replace(pool, attributes=replace(pool.attributes, kernel=(9, 9), padding="SAME"))
    assert verdict("ethos-u85", large).place is Place.CPU


def test_a_foreign_network_on_every_npu(foreign_tflite: bytes) -> None:
    network = parse_tflite(foreign_tflite, "foreign")
    placement = place_by_table(network, TABLES["qualcomm-htp"], "SM8750").placement
    assert (placement.npu, placement.evidence, placement.partitions) == ("SM8750", Evidence.TABLE, 1)
    refused = [(op.kind, op.name) for op in placement.operators if op.place is Place.CPU]
    assert refused == [("RESHAPE", "split"), ("TRANSPOSE", "turned"), ("RESHAPE", "output")]
    assert all("pixel-shuffle-to-depth-to-space" in op.remedy for op in placement.operators if op.place is Place.CPU)
    placement = place_by_table(network, TABLES["ethos-u85"]).placement
    assert placement.count(Place.CPU) == 7 and placement.partitions == 0
    integers = OperatorList("as int8", network.format, tuple(as_int8(op) for op in network.operators), network.inputs)
    placement = place_by_table(integers, TABLES["ethos-u85"]).placement
    assert [op.kind for op in placement.operators if op.place is Place.CPU] == ["RESIZE_BILINEAR"]
    assert placement.partitions == 2
    assert place_by_table(integers, TABLES["google-tensor"]).placement.partitions is None


def as_int8(op: FileOperator) -> FileOperator:
    inputs, outputs = (
        tuple(t if t.is_constant else replace(t, dtype=DType.INT8, is_quantized=True) for t in tensors)
        for tensors in (op.inputs, op.outputs)
    )
    return replace(op, dtype=DType.INT8, inputs=inputs, outputs=outputs)


def test_no_attribute_at_all_is_never_a_crash() -> None:
    for table in TABLES.values():
        for kind in table.rows:
            for dtype in DType:
                op = FileOperator("y", kind, kind, dtype, (), (), Attributes())
                setting = Setting(None, 4, table.rows[kind].supported)
                assert judge(op, table, setting).place in Place
