import threading
import time
from pathlib import Path

import pytest

from edgesr.runtime import idleness
from edgesr.runtime.idleness import LoadWatch, wait_until_idle


class Spinner:
    """A process whose processor time runs as fast as the wall's, until a moment."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, until_s: float) -> None:
        self.now = 0.0
        monkeypatch.setattr(time, "sleep", self.sleep)
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(time, "perf_counter_ns", lambda: round(self.now * 1e9))
        monkeypatch.setattr(time, "process_time_ns", lambda: round(min(self.now, until_s) * 1e9))

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_it_waits_as_long_as_threads_spin(monkeypatch: pytest.MonkeyPatch) -> None:
    spinner = Spinner(monkeypatch, until_s=0.1)
    assert wait_until_idle()
    assert 0.1 < spinner.now < 0.11


def test_it_gives_up_where_they_never_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    spinner = Spinner(monkeypatch, until_s=1e9)
    assert not wait_until_idle(limit_s=0.5)
    assert 0.5 < spinner.now < 0.51


def test_a_thread_that_works_is_waited_for() -> None:
    end = time.monotonic() + 0.15

    def work() -> None:
        while time.monotonic() < end:
            pass

    thread = threading.Thread(target=work)
    thread.start()
    wait_until_idle(5.0)
    thread.join()
    assert time.monotonic() >= end - 0.1


def test_others_load_is_what_all_did_less_what_this_process_did(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stat, clock = tmp_path / "stat", {"wall": 100.0, "own": 5.0}
    monkeypatch.setattr(idleness, "STAT", stat)
    monkeypatch.setattr(time, "perf_counter", lambda: clock["wall"])
    monkeypatch.setattr(time, "process_time", lambda: clock["own"])
    monkeypatch.setattr(idleness.os, "sysconf", lambda name: 100)
    stat.write_text("cpu 1000 0 0 5000 0 0 0 50 0 0\ncpu0 1 1\n")
    watch = LoadWatch()
    clock.update(wall=110.0, own=13.0)
    stat.write_text("cpu 2000 100 200 9000 0 0 0 150 0 0\ncpu0 1 1\n")
    load = watch.read()
    assert load is not None
    assert load.busy_cores == pytest.approx(1.3 - 0.8) and load.stolen_cores == pytest.approx(0.1)


@pytest.mark.parametrize("text", [None, "", "cpu a b", "cpu 1 2 3"])
def test_systems_that_do_not_tell_are_not_guessed(
    text: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(idleness, "STAT", tmp_path / "stat")
    if text is not None:
        (tmp_path / "stat").write_text(text)
    assert LoadWatch().read() is None
