import json

import pytest

from edgesr.runtime.instruction_counts import InstructionCounts
from edgesr.runtime.json_fields import FieldError, Fields


def test_counts_that_repeat_raise_no_doubt() -> None:
    counts = InstructionCounts("a", "r", (7, 7, 7))
    assert counts.repeats and counts.median == 7 and counts.warnings() == []


def test_counts_that_differ_and_partial_ones_say_so() -> None:
    counts = InstructionCounts("a", "r", (1000, 3000, 2500, 1500), problem="the device went away")
    assert not counts.repeats and counts.median == 1500, "a count that was executed, not a mean of two"
    assert counts.warnings() == [
        "a: partial, the device went away", "a: the counts of its runs differ by up to 2,000 instructions"
    ]  # fmt: skip


@pytest.mark.parametrize("instructions", [(), (5, 0)])
def test_nothing_is_refused(instructions: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="no run was counted, or one executed nothing"):
        InstructionCounts("a", "r", instructions)


def test_they_are_read_back_and_hold_no_time() -> None:
    counts = InstructionCounts("a", "r", (5, 6), "ab" * 32)
    plain = json.loads(json.dumps(counts.to_json()))
    assert InstructionCounts.from_json(Fields(plain)) == counts
    assert not any("ms" in name for name in plain)
    with pytest.raises(FieldError, match=r"instructions is \[5, 6.5\], wanted a list of whole numbers"):
        InstructionCounts.from_json(Fields(plain | {"instructions": [5, 6.5]}))
