"""From an account of ONNX Runtime and a log, both made up here, to a placement."""

from collections.abc import Sequence
from pathlib import Path

from edgesr.export.npu.onnx_nodes import NamedNode
from edgesr.export.npu.placement import Evidence, Place, Placement
from edgesr.export.npu.qnn_placement import placement_of
from edgesr.qnn_session import PROVIDER, Subgraph
from edgesr.qualcomm import SOCS

CPU = "CPUExecutionProvider"
LOG = (
    "x Validation FAILED for 1 nodes in OrtNodeUnit (Erf) :\n\tOperator type: Erf Node name: erf Node index: 4\n"
    "\tREASON : Operators of type `Erf` are not supported by QNN EP.Erf node `erf` will not be assigned to QNN EP.\n"
)


def chain(*kinds: str) -> tuple[NamedNode, ...]:
    """Nodes one behind the other, each named by its kind in small letters."""
    values = ["x", *(kind.lower() for kind in kinds)]
    steps = zip(kinds, values, values[1:], strict=False)
    return tuple(NamedNode(made, kind, f"{made}.out", (f"{read}.out",), (f"{made}.out",)) for kind, read, made in steps)


def place(nodes: Sequence[NamedNode], *pieces: tuple[str, tuple[str, ...]], log: str = "") -> Placement:
    subgraphs = [Subgraph(provider, tuple((name, "Kind") for name in names)) for provider, names in pieces]
    return placement_of(nodes, subgraphs, SOCS[0], "a compiler", log, Path("log"))


def places(placement: Placement) -> dict[str, Place]:
    return {op.name: op.place for op in placement.operators}


def test_all_on_the_npu() -> None:
    found = place(chain("Conv", "Relu"), (PROVIDER, ("conv_token_3", "relu")))
    assert found.is_whole and found.partitions == 1 and found.evidence is Evidence.COMPILED
    assert (found.npu, found.source, found.log) == ("snapdragon-8-gen-1", "a compiler", Path("log"))
    assert [(op.name, op.kind) for op in found.operators] == [("conv.out", "Conv"), ("relu.out", "Relu")]


def test_an_operator_on_the_cpu_has_qnns_reason_and_splits_the_graph() -> None:
    found = place(chain("Conv", "Erf", "Relu"), (PROVIDER, ("conv",)), (CPU, ("erf",)), (PROVIDER, ("relu",)), log=LOG)
    assert found.partitions == 2 and found.count(Place.CPU) == 1
    erf = found.operators[1]
    assert erf.reason == "Operators of type Erf are not supported by QNN EP" and erf.remedy.startswith("replace it")
    unexplained = place(chain("Conv"), (CPU, ("conv",))).operators[0]
    assert unexplained.reason == "QNN gives no reason" and unexplained.remedy


def test_what_is_gone_shares_the_place_of_its_reader_or_behind_the_last_of_its_maker() -> None:
    nodes = chain("Transpose", "Conv", "Erf", "Clip")
    found = places(place(nodes, (PROVIDER, ("conv",)), (CPU, ("erf",)), log=LOG))
    assert found == {"transpose.out": Place.NPU, "conv.out": Place.NPU, "erf.out": Place.CPU, "clip.out": Place.CPU}
    clip = place(nodes, (PROVIDER, ("conv",)), (CPU, ("erf",)), log=LOG).operators[3]
    assert clip.reason == "joined with Erf 'erf.out': Operators of type Erf are not supported by QNN EP"


def test_two_that_are_gone_in_a_row() -> None:
    found = place(chain("Constant", "Transpose", "Conv", "Cast", "Identity"), (PROVIDER, ("conv",)))
    assert found.is_whole


def test_one_reader_on_the_cpu_keeps_a_value_there() -> None:
    shared = NamedNode("shared", "Transpose", "s", ("x",), ("s",))
    readers = [NamedNode(name, "Add", name, ("s",), (name,)) for name in ("a", "b")]
    found = places(place([shared, *readers], (PROVIDER, ("a",)), (CPU, ("b",))))
    assert found["s"] is Place.CPU


def test_what_nobody_can_know_is_unknown() -> None:
    alone = NamedNode("alone", "Constant", "alone", (), ("alone",))
    found = place([*chain("Conv"), alone], (PROVIDER, ("conv",)))
    assert found.operators[1].place is Place.UNKNOWN and not found.is_whole


def test_copies_count_for_the_operator_that_they_copy() -> None:
    found = place(chain("Dq", "Conv"), (PROVIDER, ("dq", "conv")), (CPU, ("dq/duplicated",)))
    assert places(found) == {"dq.out": Place.CPU, "conv.out": Place.NPU}
    assert places(place(chain("Dq"), (PROVIDER, ("dq/duplicated", "dq"))))["dq.out"] is Place.NPU


def test_what_onnx_runtime_adds_on_the_cpu_is_listed() -> None:
    found = place(chain("Conv"), (PROVIDER, ("conv", "Transpose_token_4")), (CPU, ("Transpose_token_9",)))
    assert not found.is_whole and found.operators[-1].name == "Transpose_token_9"
    assert found.operators[-1].reason.startswith("ONNX Runtime added it; ")
