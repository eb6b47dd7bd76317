"""Into how many pieces a delegate cuts a network when the NPU takes some of its operators.

A piece must be able to run as a whole once its inputs are there, so what counts is what waits for what, not the order
in the file. As TFLite's partitioner does: take every operator that is ready and stands on the same side (NPU or not) as
the first ready one, again and again until none of that side is ready; that is one piece; then the other side.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgesr.export.npu.file_operator import FileOperator


def count_partitions(operators: Sequence[FileOperator], on_npu: Sequence[bool]) -> int:
    """How many pieces the NPU gets; operators that wait for one another for ever count as ready."""
    waits = _dependencies(operators)
    readers: list[list[int]] = [[] for _ in operators]
    for index, needed in enumerate(waits):
        for maker in needed:
            readers[maker].append(index)
    missing = [len(needed) for needed in waits]
    ready = [index for index, count in enumerate(missing) if not count]
    pieces, done = 0, [False] * len(operators)
    while ready or not all(done):
        ready = ready or [done.index(False)]
        side = on_npu[min(ready)]
        pieces += side
        stack = [index for index in ready if on_npu[index] is side]
        ready = [index for index in ready if on_npu[index] is not side]
        while stack:
            index = stack.pop()
            if done[index]:
                continue
            done[index] = True
            for reader in readers[index]:
                missing[reader] -= 1
                if not missing[reader] and not done[reader]:
                    (stack if on_npu[reader] is side else ready).append(reader)
        ready = [index for index in ready if not done[index]]
    return pieces


def _dependencies(operators: Sequence[FileOperator]) -> list[set[int]]:
    """For each operator, which others make what it reads."""
    makers = {tensor.key: index for index, op in enumerate(operators) for tensor in op.outputs}
    waits = []
    for index, op in enumerate(operators):
        read = {makers[tensor.key] for tensor in op.inputs if not tensor.is_constant and tensor.key in makers}
        waits.append(read - {index})
    return waits
