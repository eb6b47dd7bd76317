"""The three generations' output, each in the shape that public logs show (figures are made up)."""

from pathlib import Path

import pytest

from edgesr.android_bench.benchmark_model import fallback, read_output, read_placement
from edgesr.errors import DeviceError

OUTPUTS = Path(__file__).parent / "data" / "benchmark_model"
TF1 = (OUTPUTS / "tensorflow-1.txt").read_text(encoding="utf-8")
TF2 = (OUTPUTS / "tensorflow-2.txt").read_text(encoding="utf-8")
TF2_PERCENTILES = (OUTPUTS / "tensorflow-2-percentiles.txt").read_text(encoding="utf-8")
LITERT = (OUTPUTS / "litert.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "count", "mean_ms", "min_ms", "max_ms", "median_ms", "init_ms", "warmups", "memory_mb"),
    [
        (TF1, 50, 23.3135, 23.1, 24.012, None, 21.528, 18, None),
        (TF2, 50, 55.0432, 53.077, 60.727, None, 18.777, 5, 18.5),
        (TF2_PERCENTILES, 50, 1240.0, 1198.007, 1310.0, 1199.281, 614.333, 1, 149.5),
        (LITERT, 10, 7.43, 7.41, 7.48, None, 44.73, 5, 14.5),
    ],
    ids=["tensorflow-1", "tensorflow-2", "tensorflow-2-percentiles", "litert"],
)
def test_every_generation_is_read(
    text: str, count: int, mean_ms: float, min_ms: float, max_ms: float, median_ms: float | None, init_ms: float,
    warmups: int, memory_mb: float | None,
) -> None:  # fmt: skip
    block = read_output(text, accelerated=False)
    assert block.summary is not None
    assert block.summary.count == count and block.warmups == warmups
    assert block.latencies_ms == (pytest.approx(mean_ms),)
    assert (block.summary.min_ms, block.summary.max_ms) == (pytest.approx(min_ms), pytest.approx(max_ms))
    assert block.summary.median_ms == (None if median_ms is None else pytest.approx(median_ms))
    assert block.init_ms == pytest.approx(init_ms)
    assert block.peak_memory_bytes == (None if memory_mb is None else memory_mb * 2**20)


@pytest.mark.parametrize("figure", ["0", "1.2.3", "1e999"])
def test_a_figure_that_is_none_is_garbage(figure: str) -> None:
    with pytest.raises(DeviceError, match="garbage"):
        read_output(f"Inference timings in us: Init: 1, Inference (avg): {figure}\n", accelerated=False)


def test_a_profile_after_the_timings_is_not_their_statistics() -> None:
    profile = "Timings (microseconds): count=50 first=8 curr=8 min=8 max=9 avg=8 std=0\n"
    summary = read_output(TF2 + profile, accelerated=False).summary
    assert summary is not None and summary.min_ms == pytest.approx(53.077)


def test_an_accelerator_of_which_nothing_is_said_is_doubted() -> None:
    assert any("may be the CPU's time" in warning for warning in read_output(TF2, accelerated=True).warnings)
    part = "Replacing 28 out of 32 node(s) with delegate (TfLiteGpuDelegateV2) node, yielding 3 partitions.\n"
    assert any("no figure of the accelerator alone" in w for w in read_output(part + TF2, accelerated=True).warnings)
    assert not read_output(part.replace("28", "32") + TF2, accelerated=True).warnings


@pytest.mark.parametrize("text", ["", "STARTING!\nSegmentation fault\n", "count=50 first=1 curr=1 avg=1\n", "\x00\xff"])
def test_no_timing_is_an_error(text: str) -> None:
    with pytest.raises(DeviceError, match="no timing that edgesr knows"):
        read_output(text, accelerated=False)


FELL_BACK = (
    "INFO: NNAPI delegate created.\nINFO: Though NNAPI delegate is explicitly applied, the model graph will not be "
)
FELL_BACK += "executed by the delegate.\n"


def test_the_silent_fallback_is_an_error() -> None:
    with pytest.raises(DeviceError, match="the NNAPI delegate took no operator"):
        read_output(FELL_BACK + TF2, accelerated=True)


def test_xnnpack_that_takes_nothing_is_no_fallback() -> None:
    """benchmark_model applies XNNPACK by itself, after another delegate took the whole network."""
    text = FELL_BACK.replace("NNAPI", "XNNPACK")
    assert fallback(text) is None


@pytest.mark.parametrize(
    "line",
    [
        "GPU acceleration is unsupported on this platform.",
        "ERROR: Failed to load library libQnnTFLiteDelegate.so: dlopen failed: library not found",
        "WARNING: Failed to create NNAPI delegate",
        "Could not create the external delegate.",
        "INFO: Unable to load external delegate from : libQnnTFLiteDelegate.so, reason: dlopen failed",
        "E litert: Failed to create a dispatch delegate kernel: No usable Dispatch runtime found",
    ],
)
def test_a_delegate_that_does_not_start_is_an_error(line: str) -> None:
    with pytest.raises(DeviceError, match="does not start"):
        read_output(f"{line}\n{TF2}", accelerated=True)
    assert read_output(f"{line}\n{TF2}", accelerated=False).summary is not None


@pytest.mark.parametrize(
    ("line", "words", "left"),
    [
        ("INFO: Replacing 32 out of 32 node(s) with delegate (TfLiteQnnDelegate) node, yielding 1 partitions for the "
         "whole graph.", "32 of 32 operators on TfLiteQnnDelegate", False),
        ("VERBOSE: Replacing 28 out of 32 node(s) with delegate (TfLiteGpuDelegateV2) node, yielding 3 partitions.",
         "28 of 32 operators on TfLiteGpuDelegateV2, 4 on the CPU", True),
        ("Explicitly applied GPU delegate, and the model graph will be completely executed by the delegate.",
         "all operators on GPU", False),
        ("Explicitly applied NNAPI delegate, and the model graph will be partially executed by the delegate w/ 11 "
         "delegate kernels.", "not all operators on NNAPI", True),
    ],
)  # fmt: skip
def test_what_the_delegate_took_is_told(line: str, words: str, left: bool) -> None:
    placement = read_placement(line, accelerated=True)
    assert placement is not None
    assert (placement.words, placement.left_to_cpu) == (words, left)


def test_xnnpack_in_place_of_the_delegate_is_an_error() -> None:
    line = "INFO: Replacing 470 out of 476 node(s) with delegate (TfLiteXNNPackDelegate) node, yielding 3 partitions.\n"
    with pytest.raises(DeviceError, match="XNNPACK took them on the CPU"):
        read_output(line + TF2, accelerated=True)
    assert read_output(line + TF2, accelerated=False).placement is not None


def test_without_a_word_nothing_is_claimed() -> None:
    assert read_placement(TF2, accelerated=True) is None


def test_flags_that_an_old_binary_does_not_know_are_told() -> None:
    block = read_output("Unconsumed cmdline flags: --output_filepath=/x\n" + TF2, accelerated=False)
    assert block.warnings == ("benchmark_model does not know --output_filepath",)
