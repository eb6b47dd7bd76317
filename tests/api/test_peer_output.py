import logging
import os
import sys
import warnings

import pytest

from edgesr.api.peer_output import without_noise
from edgesr.progress import silent


def test_nothing_that_is_written_inside_comes_out(capfd: pytest.CaptureFixture[str]) -> None:
    with without_noise(silent):
        print("python")
        os.write(1, b"native")
        os.write(2, b"native")
        sys.stderr.write("bar")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    assert capfd.readouterr() == ("", "")
    print("after")
    os.write(2, b"wards")
    assert capfd.readouterr() == ("after\n", "wards")


def test_progress_is_shown_all_the_same(capfd: pytest.CaptureFixture[str]) -> None:
    def progress(stage: str, done: int, total: int) -> None:
        os.write(2, f"{stage} {done}/{total};".encode())

    with without_noise(progress) as shown:
        os.write(2, b"noise")
        shown("work", 1, 2)
        os.write(2, b"noise")
        shown("work", 2, 2)
    assert capfd.readouterr().err == "work 1/2;work 2/2;"


def test_what_is_raised_passes_and_output_works_again(capfd: pytest.CaptureFixture[str]) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # file descriptors, no paths
    with pytest.raises(KeyboardInterrupt), without_noise(silent):
        raise KeyboardInterrupt
    os.write(1, b"again")
    assert capfd.readouterr().out == "again"
    assert len(os.listdir("/proc/self/fd")) == before, "no descriptor is left open"  # noqa: PTH208  # as above


def test_log_handlers_that_a_package_leaves_behind_stay_silent(capfd: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("a package that logs")
    with without_noise(silent):
        handler = logging.StreamHandler()
        logger.addHandler(handler)
    logger.propagate = False
    logger.warning("later")
    logger.removeHandler(handler)
    assert capfd.readouterr() == ("", "")


def test_a_process_without_streams_runs_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    with without_noise(silent) as shown:
        assert shown is silent
