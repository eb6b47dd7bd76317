"""`edgesr export --max-drop`: one line for every budget that makes no sense, and help that names it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]

WRONG = {
    "a float target": (("-t", "onnx-fp32", "--max-drop", "0.1"), "onnx-fp32 has one width throughout"),
    "two targets": (("-t", "onnx-int8", "-t", "onnx-a16w8", "--max-drop", "0.1"), "onnx-a16w8 has one width"),
    "no number": (("-t", "onnx-int8", "--max-drop", "low"), "'low' is not a valid float"),
    "zero": (("-t", "onnx-int8", "--max-drop", "0"), "no positive number of decibels"),
    "not a number": (("-t", "onnx-int8", "--max-drop", "nan"), "no positive number of decibels"),
    "an unknown NPU": (("-t", "onnx-int8", "--npu", "tpu"), "no NPU profile is called 'tpu'; choose"),
}


@pytest.mark.parametrize("why", WRONG)
def test_a_wrong_budget_is_a_usage_error(why: str, run: Run, tmp_path: Path) -> None:
    arguments, message = WRONG[why]
    result = run("export", *arguments, "-o", tmp_path / "out")
    assert result.code == 2 and message in result.err
    assert not (tmp_path / "out").exists()
