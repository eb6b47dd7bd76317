from dataclasses import replace

from edgesr.export.npu.by_operator import by_operator
from edgesr.export.npu.file_operator import DType, FileOperator, FileTensor, OperatorList
from edgesr.export.npu.placement import Evidence, OperatorPlacement, Place, Placement

IMAGE = FileTensor("image", (1, 3, 8, 8), DType.UINT8, False, True)


def network(*nodes: tuple[str, ...]) -> OperatorList:
    """One convolution for each list of nodes, named after the last of them."""
    operators = tuple(
        FileOperator(names[-1] if names else "y", "Conv", "CONV_2D", DType.UINT8, (IMAGE,), (IMAGE,), nodes=names)
        for names in nodes
    )
    return OperatorList("net", None, operators, (IMAGE,))


def placed(**places: Place) -> Placement:
    operators = tuple(
        OperatorPlacement(name, "node", place, "" if place is Place.NPU else f"why {name}", f"do {name}")
        for name, place in places.items()
    )
    return Placement("npu", Evidence.COMPILED, "compiler 1", operators, 2)


def test_an_operator_is_where_the_most_telling_of_its_nodes_is() -> None:
    found = by_operator(
        placed(conv=Place.NPU, relu=Place.CPU, q=Place.NPU, c2=Place.UNKNOWN, q2=Place.NPU, c3=Place.UNKNOWN),
        network(("conv", "relu", "q"), ("c2", "q2"), ("c3",), ("lost",)),
    )
    assert [(op.name, op.kind, op.place) for op in found.operators] == [
        ("q", "Conv", Place.CPU), ("q2", "Conv", Place.NPU), ("c3", "Conv", Place.UNKNOWN),
        ("lost", "Conv", Place.UNKNOWN),
    ]  # fmt: skip
    assert (found.operators[0].reason, found.operators[0].remedy) == ("why relu", "do relu")
    assert found.operators[3].reason == "the compiler did not answer for it"
    assert (found.source, found.partitions) == ("compiler 1", 2)


def test_nodes_of_no_operator_matter_on_the_cpu_alone() -> None:
    found = by_operator(placed(conv=Place.NPU, dq=Place.NPU, added=Place.CPU), network(("conv",)))
    assert [op.name for op in found.operators] == ["conv", "added"] and not found.is_whole


def test_conversions_for_an_operator_on_the_cpu_are_not_told_apart() -> None:
    net = network(("a",), ("b",))
    net = replace(net, operators=tuple(replace(op, feeds=(f"{op.name}.dq",)) for op in net.operators))
    places = {"a": Place.CPU, "a.dq": Place.CPU, "b": Place.NPU, "b.dq": Place.CPU}
    assert [op.name for op in by_operator(placed(**places), net).operators] == ["a", "b", "b.dq"]


def test_where_operators_are_nodes_nothing_changes() -> None:
    placement = placed(a=Place.NPU, b=Place.CPU)
    assert by_operator(placement, network(())) is placement
