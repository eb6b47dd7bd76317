"""The three generations' output, each in the shape that public logs show (figures are made up)."""

import pytest

from edgesr.android_bench.benchmark_model import fallback, read_output, read_placement
from edgesr.errors import DeviceError

TF1 = """STARTING!
Num runs: [50]
Graph: [/data/local/tmp/model.tflite]
Initialized session in 21.5ms
Running benchmark for at least 1 iterations and at least 0.5 seconds
count=18 first=27917 curr=27001 min=26800 max=29012 avg=27417.4 std=430

Running benchmark for at least 50 iterations and at least 1 seconds
count=50 first=23213 curr=23313 min=23100 max=24012 avg=23313.5 std=150

Average inference timings in us: Warmup: 27417.4, Init: 21528, no stats: 23313.5
"""
TF2 = """STARTING!
Log parameter values verbosely: [0]
Min num runs: [50]
Loaded model /data/local/tmp/model.tflite
INFO: Initialized TensorFlow Lite runtime.
The input model file size (MB): 0.17
Initialized session in 18.777ms.
Running benchmark for at least 5 iterations and at least 0 seconds but terminate if exceeding 150 seconds.
count=5 first=64791 curr=56295 min=54873 max=65831 avg=57758.2 std=4065

Running benchmark for at least 50 iterations and at least 0 seconds but terminate if exceeding 150 seconds.
count=50 first=58154 curr=53809 min=53077 max=60727 avg=55043.2 std=1562

Inference timings in us: Init: 18777, First inference: 64791, Warmup (avg): 57758.2, Inference (avg): 55043.2
Memory footprint delta from the start of the tool (MB): init=8.97656 overall=18.5
"""
TF2_PERCENTILES = """INFO: STARTING!
INFO: Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
INFO: count=1 curr=905463 p5=905463 median=905463 p95=905463
INFO: Running benchmark for at least 50 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
INFO: count=50 first=1200416 min=1198007 max=1.31e+06 avg=1.24e+06 std=1549 p5=1198333 median=1199281 p95=1304305
INFO: Inference timings in us: Init: 614333, First inference: 905463, Warmup (avg): 905463, Inference (avg): 1.24e+06
INFO: Memory footprint delta from the start of the tool (MB): init=133.086 overall=149.5
"""
LITERT = """INFO: [benchmark_litert_model.h:90]
========== BENCHMARK RESULTS ==========
INFO: [benchmark_litert_model.h:92] Signature name:       serving_default
INFO: [benchmark_litert_model.h:94] Model initialization: 44.73 ms
INFO: [benchmark_litert_model.h:96] Warmup (first):       9.04 ms
INFO: [benchmark_litert_model.h:98] Warmup (avg):         8.04 ms (5 runs)
INFO: [benchmark_litert_model.h:100] Inference (avg):      7.43 ms (10 runs)
INFO: [benchmark_litert_model.h:104] Inference (min):      7.41 ms
INFO: [benchmark_litert_model.h:106] Inference (max):      7.48 ms
INFO: [benchmark_litert_model.h:108] Inference (std):      0.02
INFO: [benchmark_litert_model.h:126] Init footprint:       12.50 MB
INFO: [benchmark_litert_model.h:128] Overall footprint:    14.50 MB
"""


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
    assert block.warnings == ("benchmark_model does not know --output_filepath=/x",)
