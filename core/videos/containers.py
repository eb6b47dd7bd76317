"""The containers that videos are written in: one literal table of their encoder and of what can be copied into them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgesr.errors import ExportError
from edgesr.videos.stream import SideStream, VideoStream

VIDEO_SUFFIXES = frozenset(
    (
        ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".m2v", ".ts", ".m2ts", ".mts", ".wmv",
        ".flv", ".3gp", ".ogv", ".y4m", ".vob", ".mxf",
    )
)  # fmt: skip
"""Names that are read as videos."""


@dataclass(frozen=True)
class Container:
    """A container by its suffix: ffmpeg's encoder with its options, and codecs of sound and text that it takes.

    None stands for any codec; text in another codec is converted to `text_codec`.
    """

    suffix: str
    encoder: tuple[str, ...]
    audio: tuple[str, ...] | None
    text: tuple[str, ...] | None
    text_codec: str

    def takes(self, stream: SideStream) -> bool:
        """Whether a stream can be copied."""
        known = self.audio if stream.kind == "audio" else self.text
        return known is None or stream.codec in known


_X264 = ("-c:v", "libx264", "-preset", "medium")
_VP9 = ("-c:v", "libvpx-vp9", "-b:v", "0", "-row-mt", "1")
_MP4_AUDIO = ("aac", "mp3", "mp2", "ac3", "eac3", "alac", "opus", "flac")
_PCM = ("pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_f32le")
CONTAINERS = (
    Container(".mp4", _X264, _MP4_AUDIO, ("mov_text",), "mov_text"),
    Container(".m4v", _X264, _MP4_AUDIO, ("mov_text",), "mov_text"),
    Container(".mov", _X264, (*_MP4_AUDIO[:6], *_PCM), ("mov_text",), "mov_text"),
    Container(".mkv", _X264, None, ("subrip", "ass", "ssa", "webvtt", "hdmv_pgs_subtitle", "dvd_subtitle"), "srt"),
    Container(".webm", _VP9, ("opus", "vorbis"), ("webvtt",), "webvtt"),
)
PICTURES_OF_TEXT = ("hdmv_pgs_subtitle", "dvd_subtitle", "dvb_subtitle", "xsub")


def find_container(path: Path) -> Container:
    """The container that a name says; raises `ExportError` for any other name."""
    for container in CONTAINERS:
        if path.suffix.lower() == container.suffix:
            return container
    known = ", ".join(container.suffix for container in CONTAINERS)
    raise ExportError(f"cannot write {path}: a video's name ends in {known}; give such a name")


def copied_streams(container: Container, video: VideoStream, output: Path) -> tuple[list[str], list[str]]:
    """Options of ffmpeg that bring sound and text from its second input along, and notes of what stays behind.

    Raises `ExportError` where the container does not take the sound.
    """
    options: list[str] = []
    notes: list[str] = []
    texts = 0
    for stream in video.others:
        if stream.kind == "audio" and not container.takes(stream):
            raise ExportError(
                f"cannot write {output}: its sound is {stream.codec}, which {container.suffix} does not take; "
                "name it .mkv, which takes any"
            )
        if stream.kind == "subtitle" and not container.takes(stream) and stream.codec in PICTURES_OF_TEXT:
            notes.append(f"subtitles in {stream.codec} stay behind: {container.suffix} does not take them")
            continue
        options += ["-map", f"1:{stream.index}"]
        if stream.kind == "subtitle":
            options += [f"-c:s:{texts}", "copy" if container.takes(stream) else container.text_codec]
            texts += 1
    return [*options, "-c:a", "copy"], notes
