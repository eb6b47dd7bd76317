"""Threads that work ahead stay within bounds, and end when they are told to."""

import threading
import time
from collections.abc import Callable

import pytest

from edgesr.api.overlap import Allowance, Belt, StoppedError, work_ahead


def wait_for(thread: threading.Thread) -> None:
    thread.join(10)
    assert not thread.is_alive()


def until(done: Callable[[], bool]) -> None:
    """Wait for what another thread does, however slow the machine is."""
    ends = time.monotonic() + 60
    while not done():
        assert time.monotonic() < ends
        time.sleep(0.001)


def test_an_allowance_is_never_exceeded_but_by_one_piece_alone() -> None:
    allowance, taken = Allowance(10), []

    def take() -> None:
        for amount in (4, 6, 25, 1):
            allowance.take(amount)
            taken.append(amount)

    thread = threading.Thread(target=take)
    thread.start()
    until(lambda: taken == [4, 6])
    allowance.give(4)
    time.sleep(0.1)
    assert taken == [4, 6]
    allowance.give(6)
    until(lambda: taken == [4, 6, 25])
    allowance.give(25)
    wait_for(thread)
    assert taken == [4, 6, 25, 1]


def test_stopping_ends_who_waits_and_who_comes_later() -> None:
    allowance = Allowance(1)
    allowance.take(1)
    errors: list[type] = []

    def take() -> None:
        try:
            allowance.take(1)
        except StoppedError as error:
            errors.append(type(error))

    thread = threading.Thread(target=take)
    thread.start()
    allowance.stop()
    wait_for(thread)
    assert errors == [StoppedError]
    with pytest.raises(StoppedError):
        allowance.take(0)


def test_a_belt_hands_over_in_order_and_gives_room_back() -> None:
    belt: Belt[int] = Belt(Allowance(3), lambda item: 2)
    received: list[int] = []
    thread = threading.Thread(target=lambda: received.extend(belt))
    thread.start()
    for item in range(20):
        belt.put(item)
    belt.end()
    wait_for(thread)
    assert received == list(range(20))


def test_a_belt_hands_errors_over() -> None:
    belt: Belt[int] = Belt(Allowance(3), lambda item: 1)
    belt.put(1)
    belt.end(KeyError("x"))
    received = iter(belt)
    assert next(received) == 1
    with pytest.raises(KeyError):
        next(received)


def test_work_ahead_gives_items_with_results_and_raises_what_was_raised() -> None:
    def invert(number: int) -> float:
        allowance.take(1)
        return 1 / number

    allowance = Allowance(2)
    results = []
    with pytest.raises(ZeroDivisionError):
        for item, result in work_ahead([1, 2, 4, 0, 5], invert, allowance):
            results.append((item, result))
            allowance.give(1)
    assert results == [(1, 1.0), (2, 0.5), (4, 0.25)]


def test_work_ahead_stays_within_its_allowance_and_ends_on_leaving() -> None:
    allowance, begun = Allowance(2), []

    def work(number: int) -> None:
        allowance.take(1)
        begun.append(number)

    results = work_ahead(range(100), work, allowance)
    next(results)
    until(lambda: begun == [0, 1])
    results.close()
    assert begun == [0, 1] and not [t for t in threading.enumerate() if t.name == "edgesr-ahead"]
