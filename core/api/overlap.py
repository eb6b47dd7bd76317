"""Threads that work ahead of each other within bounds: what is in flight never takes more memory than was allowed.

Decoders, ISA-L and the runtimes release Python's lock, so that threads are enough to decode the next picture and encode
the last one while a network runs.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from queue import SimpleQueue
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def usable_cores() -> int:
    """How many cores this process may use, 1 at least."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class StoppedError(Exception):
    """The work was given up: what waits for it ends."""


class Allowance:
    """A semaphore with weights: what is taken stays within `limit`, but one piece may exceed it when it is alone."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._used = 0
        self._stopped = False
        self._changed = threading.Condition()

    def take(self, amount: int) -> None:
        """Wait until there is room; raises `StoppedError` after `stop`."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or not self._used or self._used + amount <= self._limit)
            self._refuse()
            self._used += amount

    def give(self, amount: int) -> None:
        """Give back what was taken."""
        with self._changed:
            self._used -= amount
            self._changed.notify_all()

    def stop(self) -> None:
        """Let everyone who waits, now or later, end."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def check(self) -> None:
        """Raise `StoppedError` after `stop`."""
        with self._changed:
            self._refuse()

    def _refuse(self) -> None:
        if self._stopped:
            raise StoppedError


class Belt(Generic[Item]):
    """Pieces on their way from one thread to another, each of a weight that its receiver gives back."""

    def __init__(self, allowance: Allowance, weigh: Callable[[Item], int]) -> None:
        self._allowance = allowance
        self._weigh = weigh
        self._queue: SimpleQueue[Item | BaseException | None] = SimpleQueue()

    def put(self, item: Item) -> None:
        """Hand a piece over as soon as there is room; raises `StoppedError`."""
        self._allowance.take(self._weigh(item))
        self._queue.put(item)

    def end(self, error: BaseException | None = None) -> None:
        """Say that nothing more comes, or what went wrong instead."""
        self._queue.put(error)

    def __iter__(self) -> Iterator[Item]:
        """The pieces; the room of each is free again when the next one is asked for. Raises what went wrong."""
        while (item := self._queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
            self._allowance.give(self._weigh(item))
            self._allowance.check()


def work_ahead(
    items: Iterable[Item], work: Callable[[Item], Result], allowance: Allowance
) -> Generator[tuple[Item, Result], None, None]:
    """Every item with what `work` makes of it, by a thread that goes on while the results are used.

    `work` takes its room from the allowance, and who uses the result gives it back. On leaving early the allowance is
    stopped; what `work` raises is raised here.
    """
    results: SimpleQueue[tuple[Item, Result] | BaseException | None] = SimpleQueue()

    def run() -> None:
        try:
            for item in items:
                allowance.check()
                results.put((item, work(item)))
            results.put(None)
        except BaseException as error:  # handed over, whatever it is
            results.put(error)

    thread = threading.Thread(target=run, name="edgesr-ahead", daemon=True)
    thread.start()
    try:
        while (found := results.get()) is not None:
            if isinstance(found, BaseException):
                raise found
            yield found
    finally:
        allowance.stop()
        thread.join()
