"""Frames out of a video and into one, as RGB bytes through pipes of ffmpeg.

Frames that come out are upright, whatever the stream's rotation. YUV becomes RGB and back by the stream's own matrix,
which the new file is tagged with; where there is no tag, by the one that players assume. What goes in is limited range
unless the source was full.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgesr.errors import ImageError
from edgesr.videos.containers import Container
from edgesr.videos.ffmpeg import Ffmpeg, as_file
from edgesr.videos.stream import Colour, VideoStream

RGB = 3
EXACT = "flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"
MATRICES = {"smpte170m": "bt601", "bt470bg": "bt601", "bt2020nc": "bt2020", "bt2020c": "bt2020"}
"""ffmpeg's filter names some matrices otherwise than its tags do."""

Frame = NDArray[np.uint8]
"""(H, W, 3) RGB."""


def decoder(path: Path, video: VideoStream) -> Ffmpeg:
    """An ffmpeg that writes every frame to its pipe; at a varying rate, as many as a constant one needs."""
    colour = video.colour
    convert = f"scale=in_color_matrix={_matrix(colour)}:in_range={_range(colour)}:{EXACT},format=rgb24"
    steady = ["-r", _text(video.rate), "-vsync", "cfr"] if video.varies else ["-vsync", "passthrough"]
    return Ffmpeg(
        ["-i", as_file(path), "-map", f"0:{video.index}", "-vf", convert, *steady, "-f", "rawvideo", "pipe:1"],
        reads=False,
    )


def read_frames(source: Ffmpeg, path: Path, size: tuple[int, int]) -> Iterator[Frame]:
    """The frames, to the end; raises `ImageError` where there are none, or ffmpeg gives up."""
    height, width = size
    length, count = height * width * RGB, 0
    while data := source.pipe.read(length):
        if len(data) < length:
            raise ImageError(f"{path} cannot be decoded: it ends within frame {count}; {_said(source)}")
        yield np.frombuffer(data, np.uint8).reshape(height, width, RGB)
        count += 1
    if source.finish() or not count:
        raise ImageError(f"{path} cannot be decoded after {count} frames: {_said(source)}; convert or copy it again")


def encoder(
    output: Path, original: Path, video: VideoStream, container: Container, copied: Sequence[str], crf: int, scale: int
) -> Ffmpeg:
    """An ffmpeg that takes frames, `scale` times the video's size, and writes them with the original's sound."""
    height, width = (side * scale for side in video.size)
    pixels = "yuv420p" if not (height % 2 or width % 2) else "yuv444p"
    colour = video.colour
    convert = f"scale=out_color_matrix={_matrix(colour)}:out_range={_range(colour)}:{EXACT},format={pixels}"
    tags = ["-colorspace", colour.matrix, "-color_range", _range(colour)]
    tags += ["-color_primaries", colour.primaries] if colour.primaries else []
    tags += ["-color_trc", colour.transfer] if colour.transfer else []
    return Ffmpeg(
        [
            "-f", "rawvideo", "-pix_fmt", "rgb24", "-video_size", f"{width}x{height}",
            "-framerate", _text(video.rate), "-itsoffset", f"{video.delay_s:.6f}", "-i", "pipe:0",
            "-i", as_file(original), "-map", "0:v", *copied, "-map_metadata", "1", "-map_chapters", "1",
            "-vf", f"{convert},setsar={_text(video.aspect)}", *container.encoder, "-crf", str(crf),
            *tags, "-vsync", "passthrough", as_file(output),
        ],
        reads=True,
    )  # fmt: skip


def _matrix(colour: Colour) -> str:
    return MATRICES.get(colour.matrix, colour.matrix)


def _range(colour: Colour) -> str:
    return "pc" if colour.full_range else "tv"


def _text(value: Fraction) -> str:
    return f"{value.numerator}/{value.denominator}"


def _said(child: Ffmpeg) -> str:
    """The last that ffmpeg complained of."""
    lines = child.complaints()
    return lines[-1] if lines else "ffmpeg says nothing of it"
