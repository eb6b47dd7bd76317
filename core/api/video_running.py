"""A video through a network: ffmpeg decodes and encodes in processes of its own while frames are computed."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np

from edgesr.api.overlap import Allowance, Belt, StoppedError, work_ahead
from edgesr.api.picture_running import run_by_strips
from edgesr.api.run_plan import STREAM
from edgesr.api.run_record import Outcome, RunItem
from edgesr.artifact import IOContract
from edgesr.atomic import write_atomically
from edgesr.errors import ExportError
from edgesr.pictures.picture import Picture
from edgesr.progress import Progress, silent
from edgesr.runtime.tiled_runner import TiledRunner
from edgesr.videos.containers import Container, copied_streams, find_container
from edgesr.videos.ffmpeg import Ffmpeg
from edgesr.videos.frames import Frame, decoder, encoder, read_frames
from edgesr.videos.stream import VideoStream, probe_video

BYTES_AHEAD = 64 << 20
"""Bytes of frames that are decoded and not computed, and of those that ffmpeg has not taken; one may have more."""


def plan_video(source: Path, output: Path) -> tuple[Path, Container]:
    """Where a video is written; raises `ExportError` for a name that is none of a video's, or the video's own."""
    if output == STREAM:
        raise ExportError("a video cannot be written to standard output; give the name of a file")
    if output.is_dir():
        output = output / source.name
    container = find_container(output)
    if output.exists() and source.exists() and output.samefile(source):
        raise ExportError(f"{output} is the video itself, which is never written over; give another name")
    return output, container


class VideoRun:
    """Runs videos on one file."""

    def __init__(self, tiled: TiledRunner, contract: IOContract, crf: int) -> None:
        self._tiled, self._contract, self._crf = tiled, contract, crf

    def run(self, source: Path, output: Path, container: Container, progress: Progress = silent) -> RunItem:
        """Write every frame of `source`, with its sound and its rate, to `output`, whole or not at all.

        Raises `ImageError` for what cannot be decoded, `ArtifactError` for a size that cannot be run, `ExportError` for
        what cannot be written and `MissingBackendError` without ffmpeg. An interrupt ends ffmpeg, too.
        """
        video, scale = probe_video(source), self._contract.upscale
        plan = self._tiled.plan(video.size)
        copied, notes = copied_streams(container, video, output)
        notes += _notes(video) + ([] if plan.inexact is None else [plan.inexact])
        with write_atomically(output) as temporary, decoder(source, video) as frames:
            with encoder(temporary, source, video, container, copied, self._crf, scale) as sink:
                count = self._pass(read_frames(frames, source, video.size), sink, video, progress)
                if sink.finish():
                    raise ExportError(_why(output, sink))
            damage = frames.complaints()
        notes += [f"ffmpeg met damage: {damage[0]} ({len(damage)} lines)"] if damage else []
        size = (video.size[0] * scale, video.size[1] * scale)
        return RunItem(source, output, Outcome.DONE, video.size, size, count, notes=tuple(notes))

    def _pass(self, frames: Iterator[Frame], sink: Ffmpeg, video: VideoStream, progress: Progress) -> int:
        """Compute every frame; how many there were."""
        ahead, behind = Allowance(BYTES_AHEAD), Allowance(BYTES_AHEAD)
        belt: Belt[np.ndarray] = Belt(behind, lambda frame: int(frame.nbytes))
        count, total = 0, video.frames or 0
        progress("frames", 0, total)
        with ThreadPoolExecutor(1, "edgesr-encode") as pool:
            writing = pool.submit(_feed, belt, sink, behind)
            try:
                with closing(work_ahead(frames, lambda frame: ahead.take(frame.nbytes), ahead)) as decoded:
                    for frame, result in self._compute(frame for frame, _ in decoded):
                        belt.put(result)
                        ahead.give(frame.nbytes)
                        count += 1
                        progress("frames", count, max(total, count))
                belt.end()
            except StoppedError:
                pass  # ffmpeg took no more: it says why when it has ended
            except BaseException:
                sink.kill()
                behind.stop()
                belt.end(StoppedError())
                raise
            if not writing.result():
                behind.stop()
        return count

    def _compute(self, frames: Iterator[Frame]) -> Iterator[tuple[Frame, np.ndarray]]:
        """Every frame with its output (sH, sW, 3); one that repeats the last is not computed again."""
        last: tuple[Frame, np.ndarray] | None = None
        for frame in frames:
            if last is None or not np.array_equal(frame, last[0]):
                strips = run_by_strips(self._tiled, self._contract, Picture(frame), in_floats=False)
                last = frame, np.concatenate(list(strips))
            yield frame, last[1]


def _feed(belt: Belt[np.ndarray], sink: Ffmpeg, allowance: Allowance) -> bool:
    """Hand frames to ffmpeg; False where it took no more."""
    try:
        for frame in belt:
            sink.pipe.write(np.ascontiguousarray(frame).data)
        sink.pipe.close()
    except (OSError, ValueError, StoppedError):  # ValueError: the pipe was closed by who killed it
        allowance.stop()
        return False
    return True


def _notes(video: VideoStream) -> list[str]:
    """What of the original the new video does not have."""
    notes = []
    if video.varies:
        rate = f"{float(video.rate):.6g}"
        notes.append(f"its frame rate varies: it is written at {rate} frames a second, some frames more than once")
    if video.bits > 8:
        notes.append(f"its {video.bits}-bit values ({video.pixel_format}) are run and written in 8 bits")
    if not video.colour.tagged and not video.pixel_format.startswith(("rgb", "bgr", "gbr")):
        notes.append(f"its colours have no tag: they are taken for {video.colour.matrix}, as players do")
    return notes


def _why(output: Path, sink: Ffmpeg) -> str:
    lines = sink.complaints()
    said = next((line for line in lines if "No space left" in line), lines[-1] if lines else "ffmpeg failed")
    advice = "free some space or choose another disk" if "No space left" in said else "choose another name or place"
    return f"cannot write {output}: {said}; {advice}"
