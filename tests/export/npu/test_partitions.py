from edgesr.export.npu.file_operator import DType, FileOperator, FileTensor
from edgesr.export.npu.partitions import count_partitions


def operators(*edges: tuple[str, str]) -> list[FileOperator]:
    """Operators by what they make and the letters of what they read."""
    return [
        FileOperator(name, "ADD", "ADD", DType.INT8, tuple(map(tensor, reads)), (tensor(name),))
        for name, reads in edges
    ]


def tensor(name: str) -> FileTensor:
    return FileTensor(name, (1, 1, 1, 1), DType.INT8)


CHAIN = operators(("a", "x"), ("b", "a"), ("c", "b"), ("d", "c"))


def test_a_chain_is_cut_at_every_operator_of_the_cpu() -> None:
    assert count_partitions(CHAIN, [True] * 4) == 1
    assert count_partitions(CHAIN, [True, False, True, True]) == 2
    assert count_partitions(CHAIN, [False, True, True, False]) == 1
    assert count_partitions(CHAIN, [False] * 4) == 0


def test_a_branch_beside_the_cpu_does_not_cut() -> None:
    """c stands before d in the file but beside it in the graph: a, b and d wait for nothing of the CPU."""
    graph = operators(("a", "x"), ("b", "a"), ("c", "a"), ("d", "b"), ("e", "cd"))
    assert count_partitions(graph, [True, True, False, True, True]) == 2
    assert count_partitions(graph, [True, True, False, True, False]) == 1


def test_two_branches_of_the_npu_are_one_piece() -> None:
    graph = operators(("a", "x"), ("b", "x"), ("c", "ab"))
    assert count_partitions(graph, [True, True, False]) == 1


def test_a_join_waits_for_the_cpu() -> None:
    graph = operators(("a", "x"), ("b", "a"), ("c", "ab"))
    assert count_partitions(graph, [True, False, True]) == 2


def test_operators_that_wait_for_each_other_end() -> None:
    assert count_partitions(operators(("a", "b"), ("b", "a")), [True, False]) >= 1


def test_order_in_the_file_does_not_count() -> None:
    graph = [CHAIN[2], CHAIN[0], CHAIN[3], CHAIN[1]]
    assert count_partitions(graph, [True, True, True, False]) == 2
