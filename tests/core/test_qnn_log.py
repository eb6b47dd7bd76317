"""On pieces of logs that onnxruntime-qnn 2.7.0 wrote."""

from edgesr.qnn_log import NO_REASON, OTHER_CURE, cure_of, explain, last_operator, left_over, refused

STAMP = "2026-11-25 15:00:23.686221498 [V:onnxruntime:, qnn_execution_provider.cc:1713 LogNodeSupport] "


def block(kind: str, name: str, reason: str) -> str:
    return (
        f"{STAMP}Validation FAILED for 1 nodes in OrtNodeUnit ({kind}) :\n"
        f"\tOperator type: {kind} Node name: {name} Node index: 4\n\tREASON : {reason}\n\n"
    )


def unsupported(*nodes: tuple[str, str]) -> str:
    listed = "".join(f"{{ name: {name}, type: {kind} }}" for name, kind in nodes)
    return f"\x1b[1;31m{STAMP}Unsupported nodes in QNN EP: {listed}, \x1b[m\n"


ERF = block(
    "Erf", "erf", "Operators of type `Erf` are not supported by QNN EP.Erf node `erf` will not be assigned to QNN EP."
)
VALIDATOR = (
    f"{STAMP}QNN.backendValidateOpConfig() failed for node `t_token_3` of type `Transpose` with error code 3110\n"
)
SETUP = "[E] QNN SetupBackend failed Failed to create device. Error: QNN_DEVICE_ERROR_INVALID_CONFIG: Invalid config\n"


def test_the_reason_is_qnns_without_its_repetition() -> None:
    (refusal,) = refused(ERF).values()
    assert (refusal.name, refusal.kind) == ("erf", "Erf")
    assert refusal.reason == "Operators of type Erf are not supported by QNN EP"
    assert "replace it" in refusal.remedy


def test_only_the_last_answer_counts() -> None:
    """QNN is asked before and after transposes are moved: what it refuses first may be gone then."""
    log = block("Transpose", "t", "Failed to add node.") + unsupported(("t", "Transpose"), ("erf", "Erf")) + ERF
    log += unsupported(("erf", "Erf"))
    assert [refusal.name for refusal in left_over(log)] == ["erf"]
    why, cure = explain(log) or ("", "")
    assert why == "QNN does not take Erf 'erf': Operators of type Erf are not supported by QNN EP"
    assert cure == cure_of(why)


def test_nodes_keep_their_own_names_and_get_the_validators_code() -> None:
    log = VALIDATOR + block("Transpose", "t_token_3", "Failed to add node.")
    assert refused(log)["t"].reason == "the HTP's validator refuses it (code 3110)"


def test_several_are_counted_and_all_nodes_of_a_unit_are_refused() -> None:
    unit = (
        f"{STAMP}Validation FAILED for 2 nodes in OrtNodeUnit (Conv) :\n"
        "\tOperator type: DequantizeLinear Node name: d Node index: 1\n"
        "\tOperator type: Conv Node name: c Node index: 2\n"
        "\tREASON : Cannot get shape\n"
    )
    assert set(refused(unit)) == {"d", "c"}
    why, cure = explain(unit + ERF) or ("", "")
    assert "its size is free" in why and why.endswith("(and 2 more)") and "--size" in cure


def test_a_backend_that_does_not_start_comes_first() -> None:
    why, cure = explain(ERF + SETUP) or ("", "")
    assert "QNN_DEVICE_ERROR_INVALID_CONFIG" in why and "--npu" in cure


def test_a_log_without_a_reason() -> None:
    assert explain("nothing of use\n") is None and explain("") is None
    assert left_over(unsupported(("x", "Foo")))[0].reason == NO_REASON
    assert cure_of("whatever") == OTHER_CURE


def test_the_operator_that_was_spoken_of_last() -> None:
    spoken = "Qnn_OpConfig node name: {} package_name: qti.aisw QNN_op_type: {} num_of_inputs: 2\n"
    assert last_operator(spoken.format("a", "Conv2d") + spoken.format("b_token_7", "Relu")) == "Relu 'b'"
    assert last_operator("") == ""
