from collections.abc import Mapping
from typing import Any

from edgesr.architecture import SRModel
from edgesr.export.capture import capture
from edgesr.export.npu.file_operator import DType
from edgesr.export.npu.read_graph import KINDS, read_graph
from edgesr.export.npu.read_tflite import parse_tflite
from edgesr.export.pipeline import NATIVE_FOLDS, run_folds
from edgesr.export.tflite import emit_tflite
from edgesr.ops import VOCABULARY, Clip, Constant
from edgesr.target import IODtype, Precision


def test_every_operator_of_the_vocabulary_has_a_kind() -> None:
    assert {*KINDS, Clip, Constant} == set(VOCABULARY)


def test_a_graph_reads_like_the_file_that_is_written_from_it(integer_case: Any) -> None:
    """Kinds, names and attributes, for what is written operator by operator: explicit padding is one operator more."""
    network = integer_case.quantized
    read = read_graph(network.graph, "graph", integer_case.size)
    file = parse_tflite(emit_tflite(network, Precision.INT8, IODtype.INT8, [integer_case.size], {}), "file")
    written = [op for op in file.operators if op.kind != "PAD"]
    assert [(op.kind, op.name, op.dtype) for op in read.operators] == [(x.kind, x.name, x.dtype) for x in written]
    if len(written) == len(file.operators):
        for a, b in zip(read.operators, written, strict=True):
            assert [t.shape for t in a.outputs] == [t.shape for t in b.outputs]
            same = ("kernel", "stride", "dilation", "depth_multiplier", "activation", "block", "mode", "output_hw")
            assert [getattr(a.attributes, x) for x in same] == [getattr(b.attributes, x) for x in same], a.kind


def test_an_unfolded_shuffle_is_written_in_pieces(gentle_model: SRModel) -> None:
    captured = capture(gentle_model, 3)
    ops = read_graph(captured, "captured").operators
    assert [(op.kind, op.rank) for op in ops[-3:]] == [("RESHAPE", 6), ("TRANSPOSE", 6), ("RESHAPE", 6)]
    assert ops[-3].outputs[0].shape == (1, 128, 128, 3, 2, 2) and ops[-2].outputs[0].shape == (1, 128, 2, 128, 2, 3)
    assert ops[0].kind == "DEPTHWISE_CONV_2D" and ops[0].attributes.depth_multiplier == 4
    assert all(op.dtype is DType.INT8 for op in ops)


def test_the_host_can_have_the_last_shuffle(gentle_model: SRModel) -> None:
    folded, _ = run_folds(capture(gentle_model, 3), NATIVE_FOLDS)
    whole, open_ended = read_graph(folded, "folded"), read_graph(folded, "folded", host_tail=True)
    assert whole.operators[-1].kind == "DEPTH_TO_SPACE"
    assert open_ended.operators == whole.operators[:-1] and "left to the host" in open_ended.notes[0]


def test_a_clip_is_two_operators(operator_cases: Mapping[str, Any]) -> None:
    ops = read_graph(operator_cases["clip"].graph, "clip", (8, 8)).operators
    assert [op.kind for op in ops] == ["MAXIMUM", "MINIMUM"] and ops[1].inputs[0].key == ops[0].outputs[0].key
