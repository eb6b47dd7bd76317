from edgesr.export.npu.tflite_listing import list_operators
from edgesr.export.npu.tflite_set_aside import set_aside


def test_only_the_operators_set_aside_change(native_file: bytes) -> None:
    before = list_operators(native_file, "before")
    after = list_operators(set_aside(native_file, [(0, 1), (0, 4)]), "after")
    assert [op.key for op in after] == [op.key for op in before]
    changed = [op.index for op, old in zip(after, before, strict=True) if op.kind != old.kind]
    assert changed == [1, 4] and {after[1].kind, after[4].kind} == {"set-aside"}
