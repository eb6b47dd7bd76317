import os
import subprocess
import sys
import textwrap

import pytest

from edgesr.runtime.native_output import native_output_kept_quiet

CHATTER = b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n"


def written(capfd: pytest.CaptureFixture[str]) -> str:
    return capfd.readouterr().err


def test_chatter_is_held_back_and_messages_are_not(capfd: pytest.CaptureFixture[str]) -> None:
    with native_output_kept_quiet():
        os.write(2, CHATTER)
        os.write(2, b"ERROR: tensor 3 has no buffer\nWARNING: slow kernel\n")
        os.write(2, CHATTER)
        os.write(2, b"I0000 00:00:1700000000.1 cpu_feature_guard.cc:227] rebuilt\n\n")
        assert written(capfd) == "", "nothing appears before the end"
    assert written(capfd) == "ERROR: tensor 3 has no buffer\nWARNING: slow kernel\n"


def test_messages_survive_an_exception(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="cannot load"), native_output_kept_quiet():
        os.write(2, b"tflite/kernels/conv.cc:343 input->params.scale was 0\n")
        raise ValueError("cannot load")
    assert written(capfd) == "tflite/kernels/conv.cc:343 input->params.scale was 0\n"


def test_stderr_works_again_afterwards(capfd: pytest.CaptureFixture[str]) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # file descriptors, no paths
    for _ in range(3):
        with native_output_kept_quiet():
            os.write(2, CHATTER)
    assert len(os.listdir("/proc/self/fd")) == before, "no descriptor is left open"  # noqa: PTH208  # as above
    os.write(2, CHATTER)
    assert written(capfd) == CHATTER.decode(), "outside of the block nothing is held back"


def test_python_writing_inside_is_kept(capfd: pytest.CaptureFixture[str]) -> None:
    with native_output_kept_quiet():
        print("half a line", end="", file=sys.stderr)
    print(", then the rest", file=sys.stderr)
    assert written(capfd).replace("\n", "") == "half a line, then the rest"


def test_much_output_does_not_block(capfd: pytest.CaptureFixture[str]) -> None:
    with native_output_kept_quiet():
        for _ in range(1000):
            os.write(2, b"x" * 1000 + b"\n")
    assert len(written(capfd)) == 1001 * 1000


def test_bytes_that_are_no_text_are_shown(capfd: pytest.CaptureFixture[str]) -> None:
    with native_output_kept_quiet():
        os.write(2, b"broken \xff name\n")
    assert written(capfd) == "broken \ufffd name\n"


def test_a_process_without_stderr_runs_on() -> None:
    """As cron or `2>&-` start one: Python then has no sys.stderr at all."""
    code = """
        import os, sys
        os.close(2)
        sys.stderr = None
        from edgesr.runtime.native_output import native_output_kept_quiet
        with native_output_kept_quiet():
            print("inside")
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, check=True, text=True)
    assert done.stdout == "inside\n"
