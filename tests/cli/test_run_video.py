"""`edgesr run` on videos, by ffmpeg; skipped where it is not installed."""

import _thread
import json
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgesr.api import video_running
from edgesr.api.verifying import as_image_function
from edgesr.artifact import locate
from edgesr.runtime.runners import open_runner
from edgesr.videos.stream import probe_video

Run = Callable[..., Any]
needs_ffmpeg = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not installed; see make media-deps")
PHOTO = Path(__file__).parents[2] / "docs" / "demo" / "photo.png"
RATE, FRAMES, HEIGHT, WIDTH = "30000/1001", 150, 48, 64


def ffmpeg(*arguments: object) -> bytes:
    line = ["ffmpeg", "-nostdin", "-v", "error", "-y", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, check=True).stdout


def probe(path: Path, kind: str = "v:0") -> dict[str, Any]:
    line = [
        "ffprobe",
        "-v",
        "error",
        "-count_frames",
        "-select_streams",
        kind,
        "-show_streams",
        "-of",
        "json",
        str(path),
    ]
    streams = json.loads(subprocess.run(line, capture_output=True, check=True).stdout)["streams"]
    return dict(streams[0]) if streams else {}


def frames_of(path: Path, height: int, width: int) -> Any:
    raw = ffmpeg("-i", path, "-map", "0:v:0", "-f", "rawvideo", "-pix_fmt", "rgb24", "-vsync", "passthrough", "-")
    return np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3)


def sound_of(path: Path) -> bytes:
    """The packets of the sound, as they are stored."""
    return ffmpeg("-i", path, "-map", "0:a:0", "-c", "copy", "-f", "framemd5", "-")


def make(path: Path, seconds: float = 1, *output: object, source: str = "testsrc2", rate: str = RATE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = f"{source}=size={WIDTH}x{HEIGHT}:rate={rate}:duration={seconds}"
    sound = f"sine=frequency=440:sample_rate=44100:duration={seconds}"
    ffmpeg("-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound, *output, path)
    return path


@pytest.fixture(scope="module")
def int8(exported_once: Any) -> Path:
    return Path(exported_once.manifest.folder) / "spanv2_x2-int8.tflite"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five seconds with a tone, in BT.709, with a title."""
    tags = ("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv")
    named = tmp_path_factory.mktemp("clip") / "zwölf: a\nb.mp4"
    return make(
        named, 5.005, "-vf", "scale=out_color_matrix=bt709,format=yuv420p", "-crf", 4, *tags, "-metadata", "title=Tone"
    )


@needs_ffmpeg
def test_a_video_comes_back_with_its_frames_rate_and_sound(run: Run, int8: Path, clip: Path, tmp_path: Path) -> None:
    record = json.loads(run("run", int8, "-i", clip, "-o", tmp_path / "out.mp4", "--json").done())
    assert record["unit"] == "frames" and record["items"][0]["frames"] == FRAMES and record["frames_per_s"] > 0
    found, original = probe(tmp_path / "out.mp4"), probe(clip)
    assert (found["width"], found["height"]) == (2 * WIDTH, 2 * HEIGHT)
    for key in ("nb_read_frames", "r_frame_rate", "avg_frame_rate", "color_space", "color_range", "pix_fmt"):
        assert found[key] == original[key], key
    assert (found["nb_read_frames"], found["r_frame_rate"]) == (str(FRAMES), RATE)
    assert sound_of(tmp_path / "out.mp4") == sound_of(clip)
    assert abs(float(found["duration"]) - float(original["duration"])) < 1e-3
    line = ["ffprobe", "-v", "error", "-show_entries", "format_tags=title", "-of", "csv=p=0", tmp_path / "out.mp4"]
    assert subprocess.run(line, capture_output=True, check=True).stdout.strip() == b"Tone"


@needs_ffmpeg
def test_frames_are_what_the_runner_makes_of_them(run: Run, int8: Path, tmp_path: Path) -> None:
    """As far as H.264 keeps them: at crf 0, chroma at half the size is what is lost."""
    clip, moving = tmp_path / "in.mp4", f"crop={WIDTH}:{HEIGHT}:10*n:5*n,scale=out_color_matrix=bt709,format=yuv444p"
    photo = ("-loop", 1, "-framerate", 25, "-t", 0.12, "-i", PHOTO)
    ffmpeg(*photo, "-vf", moving, "-c:v", "libx264", "-crf", 0, "-colorspace", "bt709", clip)
    run("run", int8, "-i", clip, "-o", tmp_path / "out.mkv", "--crf", 0, "-q").done()
    _, (artifact,) = locate(int8)
    target = artifact.find_target()
    bare = as_image_function(open_runner(target.runners[0], target, int8, artifact.contract), artifact.contract)
    wanted = np.stack([bare(frame) for frame in frames_of(clip, HEIGHT, WIDTH)])
    found = frames_of(tmp_path / "out.mkv", 2 * HEIGHT, 2 * WIDTH)
    distances = np.array([[np.abs(block_means(f) - block_means(w)).mean() for w in wanted] for f in found])
    print(distances)
    assert np.diag(distances).max() < 1.5
    assert distances[~np.eye(3, dtype=bool)].min() > 3  # another frame would be noticed


def block_means(frame: Any) -> Any:
    """Means of 8x8 pixels, in which what chroma at half the size loses is small."""
    return frame.reshape(2 * HEIGHT // 8, 8, 2 * WIDTH // 8, 8, 3).mean(axis=(1, 3))


@needs_ffmpeg
def test_a_turned_video_is_upright_and_only_once(run: Run, int8: Path, tmp_path: Path) -> None:
    plain = make(tmp_path / "plain.mp4", 0.2)
    ffmpeg("-i", plain, "-c", "copy", "-metadata:s:v", "rotate=90", tmp_path / "turned.mp4")
    assert probe_video(tmp_path / "turned.mp4").size == (WIDTH, HEIGHT)
    run("run", int8, "-i", tmp_path / "turned.mp4", "-o", tmp_path / "out.mp4", "-q").done()
    found = probe(tmp_path / "out.mp4")
    assert (found["width"], found["height"]) == (2 * HEIGHT, 2 * WIDTH) and "side_data_list" not in found


@needs_ffmpeg
def test_a_varying_rate_becomes_constant_and_is_told(run: Run, int8: Path, tmp_path: Path) -> None:
    drop = "select='not(between(n,10,19))',setpts=PTS"
    clip = make(tmp_path / "vfr.mp4", 2, "-vf", drop, "-vsync", "vfr", "-bf", 0, rate="30")
    assert probe_video(clip).varies
    printed = run("run", int8, "-i", clip, "-o", tmp_path / "out.mp4").done()
    assert "its frame rate varies: it is written at 30 frames a second" in printed
    assert probe(tmp_path / "out.mp4")["nb_read_frames"] == "60"


@needs_ffmpeg
def test_sound_and_text_that_a_container_does_not_take(run: Run, int8: Path, tmp_path: Path) -> None:
    clip = make(tmp_path / "pcm.mkv", 0.2, "-c:a", "pcm_s16le")
    message = run("run", int8, "-i", clip, "-o", tmp_path / "out.mp4").refused()
    assert "its sound is pcm_s16le, which .mp4 does not take; name it .mkv, which takes any" in message
    run("run", int8, "-i", clip, "-o", tmp_path / "out.mkv", "-q").done()
    assert probe(tmp_path / "out.mkv", "a:0")["codec_name"] == "pcm_s16le"


@needs_ffmpeg
def test_subtitles_come_along(run: Run, int8: Path, tmp_path: Path) -> None:
    (tmp_path / "text.srt").write_text("1\n00:00:00,000 --> 00:00:00,150\nHello\n")
    plain = make(tmp_path / "plain.mp4", 0.2)
    ffmpeg("-i", plain, "-i", tmp_path / "text.srt", "-c", "copy", tmp_path / "with.mkv")
    run("run", int8, "-i", tmp_path / "with.mkv", "-o", tmp_path / "out.mp4", "-q").done()
    assert probe(tmp_path / "out.mp4", "s:0")["codec_name"] == "mov_text"
    assert sound_of(tmp_path / "out.mp4").splitlines()[-1].split()[-1] == sound_of(plain).splitlines()[-1].split()[-1]


def no_picture(path: Path) -> None:
    ffmpeg("-f", "lavfi", "-i", "sine=duration=0.2", path)


def text(path: Path) -> None:
    path.write_text("no video")


def cut_off(path: Path) -> None:
    data = make(path.with_name("whole.mp4"), 0.2).read_bytes()
    path.write_bytes(data[: len(data) // 2])


def empty(path: Path) -> None:
    path.touch()


@needs_ffmpeg
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (no_picture, "holds no video that can be decoded"),
        (text, "is no video"),
        (cut_off, "is no video"),
        (empty, "is no video"),
    ],
)
def test_files_without_a_decodable_video(
    run: Run, int8: Path, tmp_path: Path, damage: Callable[[Path], None], words: str
) -> None:
    damage(tmp_path / "in.mp4")
    assert words in run("run", int8, "-i", tmp_path / "in.mp4", "-o", tmp_path / "out.mp4").refused()
    assert not (tmp_path / "out.mp4").exists()


@needs_ffmpeg
@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("out.png", "a video's name ends in .mp4"),
        ("clip.mp4", "is the video itself"),
        ("-", "cannot be written to standard output"),
        ("clip.mp4/out.mp4", "a part of the path is a file"),
    ],
)
def test_outputs_that_cannot_be(
    run: Run, int8: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "clip.mp4", 0.2)
    assert words in run("run", int8, "-i", "clip.mp4", "-o", output).refused()


def test_without_ffmpeg_the_line_that_installs_it_is_told(
    run: Run, int8: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in.mp4").touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    message = run("run", int8, "-i", tmp_path / "in.mp4", "-o", tmp_path / "out.mp4").refused()
    assert "videos need ffmpeg, which is not on the PATH; install it: apt install ffmpeg" in message


@needs_ffmpeg
def test_an_interrupt_leaves_nothing_and_ends_ffmpeg(
    run: Run, int8: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    children: list[Any] = []
    start = video_running.encoder

    def started(*arguments: Any) -> Any:
        children.append(start(*arguments))
        return children[-1]

    def interrupted(*arguments: Any, **options: Any) -> Any:
        _thread.interrupt_main()
        time.sleep(0.1)

    monkeypatch.setattr(video_running, "encoder", started)
    monkeypatch.setattr(video_running, "run_by_strips", interrupted)
    message = run("run", int8, "-i", clip, "-o", tmp_path / "out.mp4").refused()
    assert message == "interrupted; finished files stay, none is half-written"
    assert not list(tmp_path.glob("*.mp4")) and not list(tmp_path.glob(".*.mp4"))
    assert children[0].finish() != 0


@needs_ffmpeg
def test_an_encoder_that_fails_is_told(run: Run, int8: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ffmpeg writes to a device that is always full."""
    clip, start = make(tmp_path / "in.mp4", 1), video_running.encoder
    monkeypatch.setattr(video_running, "encoder", lambda output, *rest: start(Path("/dev/full"), *rest))
    message = run("run", int8, "-i", clip, "-o", tmp_path / "out.mkv").refused()
    assert f"cannot write {tmp_path / 'out.mkv'}: " in message
    assert not (tmp_path / "out.mkv").exists()
