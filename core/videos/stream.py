"""What a video file holds, from ffprobe: the stream that is shown, and those that go with it."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from edgesr.errors import ImageError
from edgesr.videos.ffmpeg import as_file, find_program

HIGHEST_RATE = 480
"""Frames a second: what claims more, as some files do by their clock, is no rate."""
HD_LINES = 720
"""From this height on, players take untagged colours for BT.709, below for BT.601."""
UNTAGGED = (None, "unknown", "reserved", "unspecified")


@dataclass(frozen=True)
class SideStream:
    """An audio or subtitle stream."""

    index: int
    kind: str
    codec: str


@dataclass(frozen=True)
class Colour:
    """How values mean colours, by ffmpeg's names: the matrix, whether black is 0, and other tags as they stand."""

    matrix: str
    tagged: bool
    full_range: bool
    primaries: str | None = None
    transfer: str | None = None


@dataclass(frozen=True)
class VideoStream:
    """The first video stream that is no cover picture; `size` (H, W) is upright, `frames` None where none is told.

    `rate` is frames a second. Where it varies, it is the one that every frame fits into or, failing that, the average.
    `delay_s` is how much later than the file's first stream it starts.
    """

    index: int
    size: tuple[int, int]
    rate: Fraction
    varies: bool
    frames: int | None
    pixel_format: str
    bits: int
    colour: Colour
    aspect: Fraction
    delay_s: float
    others: tuple[SideStream, ...]


def probe_video(path: Path) -> VideoStream:
    """What a file holds; raises `ImageError` for one without a video, `MissingBackendError` without ffprobe."""
    line = [find_program("ffprobe"), "-v", "error", "-show_streams", "-show_format", "-of", "json", as_file(path)]
    done = subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    found = json.loads(done.stdout or b"{}")
    if done.returncode or "streams" not in found:
        reason = (done.stderr.decode(errors="replace").splitlines() or ["ffprobe cannot read it"])[-1]
        raise ImageError(f"{path} is no video: {reason.replace(as_file(path), '').strip(': ')}; give another file")
    streams = [s for s in found["streams"] if s.get("codec_type") == "video" and not _is_cover(s)]
    if not streams or not streams[0].get("width"):
        raise ImageError(f"{path} holds no video that can be decoded; give a file with a video stream")
    try:
        return _read(streams[0], found)
    except (ValueError, ZeroDivisionError, KeyError) as error:
        raise ImageError(f"{path}: its video stream has no usable size or rate ({error}); convert it first") from error


def _read(stream: dict[str, Any], found: dict[str, Any]) -> VideoStream:
    height, width = int(stream["height"]), int(stream["width"])
    if any(abs(float(side.get("rotation", 0))) % 180 == 90 for side in stream.get("side_data_list", [])):
        height, width = width, height
    rate, varies = _rate(stream, found)
    duration = float(stream.get("duration") or found.get("format", {}).get("duration") or 0)
    told = int(stream["nb_frames"]) if stream.get("nb_frames", "").isdigit() and not varies else None
    pixel_format = str(stream.get("pix_fmt") or "unknown")
    return VideoStream(
        index=int(stream["index"]), size=(height, width), rate=rate, varies=varies,
        frames=told or round(duration * rate) or None, pixel_format=pixel_format,
        bits=int(stream.get("bits_per_raw_sample") or (10 if "10" in pixel_format else 8)),
        colour=_colour(stream, pixel_format, height), aspect=_aspect(stream), delay_s=_delay(stream, found),
        others=tuple(
            SideStream(int(s["index"]), str(s["codec_type"]), str(s.get("codec_name", "unknown")))
            for s in found["streams"] if s.get("codec_type") in ("audio", "subtitle")
        ),
    )  # fmt: skip


def _rate(stream: dict[str, Any], found: dict[str, Any]) -> tuple[Fraction, bool]:
    """The rate, and whether frames come at others, too.

    r_frame_rate is the lowest that all timestamps fit into. Frames that come at it all the time are as many as the
    average says, within one over the whole length.
    """
    base, average = (_fraction(stream.get(key)) for key in ("r_frame_rate", "avg_frame_rate"))
    average = average or base
    if not base or base > HIGHEST_RATE:
        base = average
    if not base:
        raise ValueError("no frame rate")
    duration = float(stream.get("duration") or found.get("format", {}).get("duration") or 0)
    missing = abs(float(base - average)) * duration
    return base, missing > 1.5


def _colour(stream: dict[str, Any], pixel_format: str, height: int) -> Colour:
    matrix = stream.get("color_space")
    tagged = matrix not in UNTAGGED and matrix != "gbr"
    full = stream.get("color_range") == "pc" or pixel_format.startswith("yuvj")
    primaries, transfer = (stream.get(key) for key in ("color_primaries", "color_transfer"))
    return Colour(
        str(matrix) if tagged else "bt709" if height >= HD_LINES else "smpte170m", tagged, full,
        None if primaries in UNTAGGED else primaries, None if transfer in UNTAGGED else transfer,
    )  # fmt: skip


def _aspect(stream: dict[str, Any]) -> Fraction:
    """Width over height of a pixel."""
    return _fraction(str(stream.get("sample_aspect_ratio", "1:1")).replace(":", "/")) or Fraction(1)


def _delay(stream: dict[str, Any], found: dict[str, Any]) -> float:
    start, first = (float(part.get("start_time") or 0) for part in (stream, found.get("format", {})))
    return max(0.0, start - first)


def _fraction(text: object) -> Fraction:
    """A fraction as ffprobe writes it; 0 for none and for 0/0."""
    above, _, below = str(text or "0").partition("/")
    return Fraction(int(above), int(below or 1)) if above.isdigit() and int(below or 1) else Fraction(0)


def _is_cover(stream: dict[str, Any]) -> bool:
    return bool(stream.get("disposition", {}).get("attached_pic"))
