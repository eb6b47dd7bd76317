import pytest

from edgesr.android_bench.runner_events import read_events
from edgesr.errors import DeviceError

START = '{"event":"start","schema":1,"runner":"edgesr_runner","version":"0.1.0","abi":"arm64-v8a","pid":7}\n'
READY = '{"event":"ready","init_ms":12.5,"accelerator":"cpu","fully_accelerated":true,"threads":1}\n'
RUNS = '{"event":"warmup","ns":[9000000]}\n{"event":"runs","ns":[5000000,5100000]}\n{"event":"runs","ns":[5200000]}\n'
DONE = '{"event":"done","runs":3,"cpu_ms":15.3,"peak_rss_bytes":4096,"output_written":true}\n'


def test_a_whole_run() -> None:
    block = read_events(START + "WARNING: linker says something\n" + READY + RUNS + DONE)
    assert block.latencies_ms == (5.0, 5.1, 5.2) and block.warmups == 1
    assert block.init_ms == 12.5 and block.peak_memory_bytes == 4096
    assert block.placement is not None and block.placement.words == "all operators on the CPU (XNNPACK)"
    assert block.problem is None


def test_samples_before_a_break_are_kept_and_marked() -> None:
    cut = START + READY + RUNS + '{"event":"runs","ns":[53000'
    block = read_events(cut)
    assert block.latencies_ms == (5.0, 5.1, 5.2) and block.problem == "it ended before its last run"


def test_an_error_event_is_the_problem() -> None:
    block = read_events(START + '{"event":"error","what":"needs 10 bytes, has 3","where":"input.raw"}\n')
    assert block.problem == "needs 10 bytes, has 3 (input.raw)" and not block.latencies_ms


def test_part_on_an_accelerator_is_told() -> None:
    ready = READY.replace('"cpu"', '"npu"').replace("true", "false")
    placement = read_events(START + ready + RUNS + DONE).placement
    assert placement is not None and placement.words == "not all operators on npu" and placement.left_to_cpu


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no result"),
        ("hello\n", "no result"),
        (START.replace(":1,", ":2,"), "schema 2"),
        (START + '{"event":"runs","ns":[1,}\n', "garbage"),
        (START + '{"event":"runs","ns":"many"}\n', "garbage"),
        (START + '{"event":"runs","ns":[-5]}\n', "garbage"),
        (START + '{"event":"runs"}\n', "garbage"),
        (START + '{"event":"runs","ns":[1' + "0" * 400 + "]}\n", "garbage"),
        (START + '{"event":"runs","ns":[true]}\n', "garbage"),
    ],
)
def test_garbage_is_refused(text: str, words: str) -> None:
    with pytest.raises(DeviceError, match=words):
        read_events(text)


def test_a_figure_that_is_no_number_is_unknown() -> None:
    assert read_events(START + READY.replace("12.5", "NaN") + RUNS + DONE).init_ms is None
