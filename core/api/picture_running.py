"""Pictures through a network: while one runs, the next is decoded and the last is encoded.

One thread decodes, the caller's runs the network, some others encode. What waits between them is bounded twice: by the
pixels of pictures that are decoded and not written yet, and by the bytes of rows that are computed and not encoded yet.
With PNG, which is written row by row, memory is that of the picture that is read, of two strips of rows, and of what
the runtime holds for a tile, however large the output is.
"""

from __future__ import annotations

import dataclasses
import io
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from edgesr.api.overlap import Allowance, Belt, StoppedError, usable_cores, work_ahead
from edgesr.api.run_ledger import Ledger
from edgesr.api.run_plan import STREAM, PictureTask
from edgesr.api.run_record import Outcome, RunItem
from edgesr.artifact import IOContract
from edgesr.atomic import write_atomically
from edgesr.errors import ArtifactError, EdgeSRError, ExportError, ImageError
from edgesr.pictures.picture import OutputShape, Picture
from edgesr.pictures.reading import picture_size, read_picture
from edgesr.pictures.rows import finish_rows, network_images
from edgesr.pictures.writing import open_writer
from edgesr.progress import Progress, silent
from edgesr.runtime.tiled_runner import TiledRunner
from edgesr.target import IODtype

PIXELS_AHEAD = 32 << 20
"""Pixels of pictures that are decoded and not written yet, of the output where a format is put together in memory; a
single one may have more."""
FEWEST_PIXELS = 1 << 20
"""What a picture counts at least: no more than 32 are open at a time."""
BYTES_AHEAD = 64 << 20
"""Bytes of rows that are computed and not encoded yet; a single strip may have more."""
MOST_ENCODERS = 4
STANDARD_INPUT = "standard input"


def run_by_strips(
    tiled: TiledRunner, contract: IOContract, picture: Picture, in_floats: bool, progress: Progress = silent
) -> Iterator[np.ndarray]:
    """The output's rows (N, sW, C) from the top, as bytes or as floats in [0, value_range]; refusals come at once."""
    run = tiled.strips if in_floats else tiled.byte_strips
    streams = [run(image, progress) for image in network_images(picture, contract.channels)]
    if len(streams) == 1:
        return (part[0] for part in streams[0])
    return (np.concatenate([part[0] for part in parts], axis=2) for parts in zip(*streams, strict=True))


@dataclass(frozen=True, eq=False)
class _Decoded:
    """A picture, or why there is none; `weight` is its part of the pixels ahead."""

    picture: Picture | EdgeSRError
    weight: int = 0


class PictureRun:
    """Runs pictures on one file; `report` hears of every failure as it happens."""

    def __init__(
        self,
        tiled: TiledRunner,
        contract: IOContract,
        quality: int,
        ledger: Ledger | None = None,
        report: Callable[[RunItem], None] = lambda item: None,
    ) -> None:
        self._tiled, self._contract, self._quality, self._ledger = tiled, contract, quality, ledger
        self._report = report
        self._given = b""
        self._pixels, self._strips = Allowance(PIXELS_AHEAD), Allowance(BYTES_AHEAD)
        self._finished: dict[PictureTask, RunItem] = {}
        self._writing: dict[PictureTask, Future[RunItem]] = {}

    def run(self, tasks: Sequence[PictureTask], progress: Progress = silent) -> list[RunItem]:
        """Every task's outcome, in their order.

        A picture that cannot be read or run is an outcome; an output that cannot be written ends the run with
        `ExportError`. Whatever ends it, finished pictures stay and no half-written one does.
        """
        within = progress if len(tasks) == 1 else silent
        if any(task.source == STREAM for task in tasks):
            self._given = sys.stdin.buffer.read()
        with ThreadPoolExecutor(min(MOST_ENCODERS, usable_cores()), "edgesr-encode") as pool:
            try:
                for task, decoded in work_ahead(tasks, self._read, self._pixels):
                    self._start(task, decoded, pool, within)
                    self._collect(progress if len(tasks) > 1 else silent, len(tasks))
                for future in self._writing.values():
                    future.result()
            except BaseException as error:
                self._pixels.stop()
                self._strips.stop()
                pool.shutdown(wait=True, cancel_futures=True)
                cause = self._cause(error)
                if cause is error:
                    raise
                raise cause from None
        self._collect(silent, len(tasks))
        return [self._finished[task] for task in tasks]

    def _read(self, task: PictureTask) -> _Decoded:
        weight = 0
        try:
            source, name = self._source(task)
            height, width = picture_size(source, name=name)
            grown = 1 if task.kind.by_rows else self._contract.upscale**2  # others are put together in memory
            weight = max(FEWEST_PIXELS, height * width * grown)
            self._pixels.take(weight)
            return _Decoded(read_picture(source, name=name), weight)
        except EdgeSRError as error:
            return _Decoded(error, weight)

    def _source(self, task: PictureTask) -> tuple[Path | BinaryIO, str | None]:
        if task.source != STREAM:
            return task.source, None
        return io.BytesIO(self._given), STANDARD_INPUT

    def _start(self, task: PictureTask, decoded: _Decoded, pool: ThreadPoolExecutor, progress: Progress) -> None:
        """Run one picture and give its rows to an encoder."""
        picture = decoded.picture
        try:
            if isinstance(picture, EdgeSRError):
                raise picture
            shape = OutputShape.enlarged(picture, self._contract.upscale, task.kind)
            refusal = task.kind.refusal(shape.size, shape.has_alpha)
            if refusal:
                raise ImageError(f"{task.source}: {refusal}")
            plan = self._tiled.plan(picture.size)
            in_floats = shape.bits == 16 and self._contract.dtype is IODtype.FLOAT32
            strips = run_by_strips(self._tiled, self._contract, picture, in_floats, progress)
        except (ImageError, ArtifactError) as error:
            self._pixels.give(decoded.weight)
            self._finish(task, RunItem(task.source, task.output, Outcome.FAILED, why=str(error)))
            return
        item = RunItem(
            task.source, task.output, Outcome.DONE, picture.size, shape.size,
            notes=() if plan.inexact is None else (plan.inexact,),
        )  # fmt: skip
        belt: Belt[np.ndarray] = Belt(self._strips, lambda strip: int(strip.nbytes))
        future = pool.submit(self._encode, task, picture, shape, belt, item)
        future.add_done_callback(lambda _: self._pixels.give(decoded.weight))
        self._writing[task] = future
        try:
            for strip in strips:
                belt.put(strip)
            belt.end()
        except ArtifactError as error:  # the runtime gave up on this picture
            belt.end(error)
        except BaseException:
            belt.end(StoppedError())
            raise

    def _encode(
        self, task: PictureTask, picture: Picture, shape: OutputShape, belt: Belt[np.ndarray], item: RunItem
    ) -> RunItem:
        """Write the rows as they come."""
        try:
            with self._opened(task) as file:
                writer = open_writer(file, task.kind, shape, self._quality)
                first, scale = 0, self._contract.upscale
                for strip in belt:
                    for rows in finish_rows(picture, strip, first, scale, shape, self._contract.value_range):
                        self._strips.check()
                        writer.write(rows)
                    first += len(strip)
                writer.close()
        except ArtifactError as error:
            return dataclasses.replace(item, outcome=Outcome.FAILED, why=str(error))
        except BaseException:
            self._strips.stop()  # who computes further rows must not wait for room
            raise
        return item

    @contextmanager
    def _opened(self, task: PictureTask) -> Iterator[BinaryIO]:
        if task.output == STREAM:
            try:
                yield sys.stdout.buffer
                sys.stdout.buffer.flush()
            except BrokenPipeError as error:
                raise ExportError(
                    "standard output was closed before the picture's end; let its reader go on"
                ) from error
            return
        with write_atomically(task.output) as temporary:
            with temporary.open("wb") as file:
                yield file
            if self._ledger is not None:
                self._ledger.add(task, temporary)

    def _collect(self, progress: Progress, total: int) -> None:
        """Take what is written; raises what a writer raised."""
        for task in [task for task, future in self._writing.items() if future.done()]:
            self._finish(task, self._writing[task].result())
            del self._writing[task]
        progress("images", len(self._finished), total)

    def _finish(self, task: PictureTask, item: RunItem) -> None:
        self._finished[task] = item
        if item.outcome is Outcome.FAILED:
            self._report(item)

    def _cause(self, error: BaseException) -> BaseException:
        """What ended the run: a writer's failure rather than that others were told to stop."""
        if not isinstance(error, StoppedError):
            return error
        for future in self._writing.values():
            found = None if future.cancelled() else future.exception()
            if found is not None and not isinstance(found, StoppedError):
                return found
        return error
