"""`edgesr run` on pictures and folders of them."""

import io
import json
import os
import resource
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgesr.api import picture_running, running
from edgesr.api.overlap import Allowance
from edgesr.api.run_ledger import LEDGER_NAME
from edgesr.api.verifying import as_image_function
from edgesr.artifact import locate
from edgesr.errors import ArtifactError
from edgesr.images import load_rgb, save_png
from edgesr.pictures.rows import finish_rows
from edgesr.quant.builtin import builtin_calibration_paths
from edgesr.runtime.runners import open_runner
from edgesr.runtime.tiled_runner import TiledRunner

Run = Callable[..., Any]
SCALE = 2


@pytest.fixture(scope="module")
def int8(exported_once: Any) -> Path:
    return Path(exported_once.manifest.folder) / "spanv2_x2-int8.tflite"


@pytest.fixture(scope="module")
def fp32(exported_once: Any) -> Path:
    return Path(exported_once.manifest.folder) / "spanv2_x2-fp32.tflite"


@pytest.fixture
def tree(photos: Path, tmp_path: Path) -> Path:
    """Three pictures in a folder of folders, whose names are what names may be."""
    names = ("a.png", "deep er/zwei\nlines ü.jpg", "deep er/below/c.webp")
    for name, path in zip(names, sorted(photos.iterdir()), strict=True):
        target = tmp_path / "in" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(load_rgb(path)[:24, :20]).save(target)
    return tmp_path / "in"


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def bare(artifact: Path, image: np.ndarray) -> np.ndarray:
    """What the artifact's first runner gives, without any of `run`."""
    manifest, (found,) = locate(artifact)
    target = found.find_target()
    runner = open_runner(target.runners[0], target, manifest.check(found), found.contract)
    return np.asarray(as_image_function(runner, found.contract)(image))


@pytest.mark.parametrize("tile", [(), ("--tile", 0), ("--tile", 24)])
def test_a_picture_is_what_the_runner_makes_of_it(
    run: Run, int8: Path, photos: Path, tmp_path: Path, tile: tuple[Any, ...]
) -> None:
    photo = sorted(photos.iterdir())[0]
    out = run("run", int8, "-i", photo, "-o", tmp_path / "new folder" / "out.png", *tile).done()
    assert out.startswith("1 done; ") and "megapixels/s written" in out and "litert-xnnpack" in out
    np.testing.assert_array_equal(
        np.asarray(Image.open(tmp_path / "new folder" / "out.png")), bare(int8, load_rgb(photo))
    )


@pytest.mark.parametrize("target", ["tflite-fp32", "onnx-fp32", "onnx-int8", "tflite-fp16"])
def test_any_target_runs(run: Run, exported_once: Any, photos: Path, tmp_path: Path, target: str) -> None:
    (artifact,) = (a for a in exported_once.manifest.artifacts if a.target == target)
    path, photo = exported_once.manifest.folder / artifact.file, sorted(photos.iterdir())[0]
    run("run", path, "-i", photo, "-o", tmp_path / "out.png", "--tile", 32, "--threads", 1, "-q").done()
    found = load_rgb(tmp_path / "out.png").astype(int)
    assert np.abs(found - bare(path, load_rgb(photo))).max() <= (0 if "int8" in target else 1)


def test_a_named_runner_runs(run: Run, int8: Path, photos: Path, tmp_path: Path) -> None:
    photo = sorted(photos.iterdir())[0]
    line = ("run", int8, "-i", photo, "-o", tmp_path / "out.png", "--json")
    record = json.loads(run(*line, "--runner", "litert-reference").done())
    assert record["runner"] == "litert-reference" and record["done"] == 1 and record["images_per_s"] > 0
    assert record["items"][0]["output_size"] == [80, 96]
    assert "does not run tflite-int8 files" in run(*line, "--runner", "onnxruntime").refused()


def test_a_folder_is_mirrored_and_what_is_done_is_skipped(run: Run, int8: Path, tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert "3 done" in run("run", int8, "-i", tree, "-o", out).done()
    made = files_of(out)
    assert set(made) == {*files_of(tree), LEDGER_NAME}
    assert all(load_rgb(out / name).shape == (48, 40, 3) for name in files_of(tree))
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.*")}
    (out / "a.png").unlink()
    save_png(tree / "new.png", load_rgb(tree / "a.png"))
    assert run("run", int8, "-i", tree, "-o", out).done().startswith("2 done, 2 skipped; ")
    assert files_of(out)["a.png"] == made["a.png"]
    untouched = out / "deep er" / "below" / "c.webp"
    assert untouched.stat().st_mtime_ns == times[untouched]
    assert run("run", int8, "-i", tree, "-o", out, "--overwrite").done().startswith("4 done; ")
    assert untouched.stat().st_mtime_ns > times[untouched]


def test_what_another_file_made_or_what_has_changed_is_done_again(
    run: Run, int8: Path, fp32: Path, tree: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run("run", int8, "-i", tree, "-o", out, "-q").done()
    assert run("run", fp32, "-i", tree, "-o", out).done().startswith("3 done; ")
    assert run("run", fp32, "-i", tree, "-o", out).done().startswith("3 skipped; ")
    save_png(tree / "a.png", load_rgb(tree / "a.png")[::-1].copy())
    assert run("run", fp32, "-i", tree, "-o", out).done().startswith("1 done, 2 skipped; ")
    assert run("run", fp32, "-i", tree, "-o", out, "--quality", 90).done().startswith("3 done; ")


def test_a_ledger_that_was_cut_off_costs_one_picture(run: Run, int8: Path, tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run("run", int8, "-i", tree, "-o", out, "-q").done()
    ledger = out / LEDGER_NAME
    ledger.write_bytes(ledger.read_bytes()[:-20])
    lost = json.loads(ledger.read_text().splitlines()[1])  # the first whole line
    assert lost["output"] in files_of(out)
    message = run("run", int8, "-i", tree, "-o", out).refused()
    assert "were not written by edgesr run" in message
    assert run("run", int8, "-i", tree, "-o", out, "--overwrite").done().startswith("3 done; ")
    assert run("run", int8, "-i", tree, "-o", out).done().startswith("3 skipped; ")


def test_files_of_others_stay(run: Run, int8: Path, tree: Path, tmp_path: Path) -> None:
    save_png(tmp_path / "out" / "a.png", np.zeros((5, 5, 3), np.uint8))
    before = files_of(tmp_path / "out")
    message = run("run", int8, "-i", tree, "-o", tmp_path / "out").refused()
    assert "a.png exist and were not written by edgesr run" in message
    assert files_of(tmp_path / "out") == before
    run("run", int8, "-i", tree, "-o", tmp_path / "out", "--overwrite", "-q").done()


def test_broken_pictures_are_told_and_the_rest_is_done(run: Run, int8: Path, tree: Path, tmp_path: Path) -> None:
    (tree / "broken\nname.png").write_bytes((tree / "a.png").read_bytes()[:200])
    (tree / "text.jpg").write_text("no picture")
    (tree / "gone.png").symlink_to(tree / "nowhere.png")
    (tree / "loop.png").symlink_to(tree / "loop.png")
    outcome = run("run", int8, "-i", tree, "-o", tmp_path / "out")
    lines = outcome.err.splitlines()
    assert outcome.code == 1 and len(lines) == 5
    assert all(line.startswith("failed: ") for line in lines[:4])
    assert any("broken name.png" in line for line in lines) and any(
        "text.jpg is not an image" in line for line in lines
    )
    assert lines[4] == "edgesr: 4 of 7 images failed, the others are done; mend or remove them and run again"
    assert outcome.out.startswith("3 done, 4 failed; ")
    again = run("run", int8, "-i", tree, "-o", tmp_path / "out", "--json")
    record = json.loads(again.out)
    assert (record["done"], record["skipped"], record["failed"]) == (0, 3, 4)
    assert "is not an image" in next(i["why"] for i in record["items"] if i["source"].endswith("text.jpg"))


def test_links_to_folders_lead_nowhere(run: Run, int8: Path, tree: Path, tmp_path: Path) -> None:
    (tree / "deep er" / "up").symlink_to(tree)
    (tree / ".hidden").mkdir()
    shutil.copy(tree / "a.png", tree / ".hidden" / "a.png")
    (tree / "link.png").symlink_to(tree / "a.png")
    out = tree / "results"  # within the input: not read
    printed = run("run", int8, "-i", tree, "-o", out).done()
    assert printed.startswith("4 done; ") and "1 links to folders were not followed" in printed
    assert run("run", int8, "-i", tree, "-o", out).done().startswith("4 skipped; ")


def test_pictures_with_one_output_are_refused_at_once(run: Run, int8: Path, tree: Path, tmp_path: Path) -> None:
    Image.open(tree / "a.png").save(tree / "a.tif")
    message = run("run", int8, "-i", tree, "-o", tmp_path / "out").refused()
    assert "a.png and " in message and "would both become" in message
    Image.open(tree / "a.png").save(tree / "b.bmp")
    (tree / "a.tif").rename(tree / "b.tif")
    run("run", int8, "-i", tree, "-o", tmp_path / "out", "-q").done()
    assert {"b.bmp", "b.png"} <= set(files_of(tmp_path / "out"))
    assert "would both become" in run("run", int8, "-i", tree, "-o", tmp_path / "png", "--format", "png").refused()
    assert not (tmp_path / "png").exists()


@pytest.mark.parametrize(
    ("source", "output", "words"),
    [
        ("nowhere", "out", "does not exist; give a picture, a folder of pictures or a video"),
        ("empty", "out", "no pictures in"),
        ("in", "in", "is the folder of the pictures itself"),
        ("in", "in/a.png", "cannot be written to"),
        ("in", "-", "cannot be written to standard output"),
        ("in/a.png", "out", "its name says no format"),
        ("in/a.png", "out.gif", "its name says no format"),
        ("in/a.png", "in/a.png", "is the picture itself"),
        ("in/a.png", "in", "is the picture itself"),
        ("in/a.png", "in/a.png/x.png", "a part of the path is a file"),
        ("alpha.png", "out.jpg", "JPEG holds no transparency"),
        ("text.png", "out.png", "is not an image in a known format"),
    ],
)
def test_inputs_and_outputs_that_cannot_be(
    run: Run,
    int8: Path,
    tree: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
    output: str,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.png").write_text("no picture")
    Image.new("RGBA", (4, 4)).save(tmp_path / "alpha.png")
    before = files_of(tmp_path)
    assert words in run("run", int8, "-i", source, "-o", output).refused()
    assert files_of(tmp_path) == before


def test_a_name_and_a_format_that_disagree(run: Run, int8: Path, tree: Path, tmp_path: Path) -> None:
    message = run("run", int8, "-i", tree / "a.png", "-o", tmp_path / "x.jpg", "--format", "png").refused()
    assert "its name says JPEG" in message


def test_an_export_folder_of_several_files_is_refused(run: Run, int8: Path, tree: Path, tmp_path: Path) -> None:
    assert "give one of its files: spanv2_x2" in run("run", int8.parent, "-i", tree, "-o", tmp_path / "o").refused()


def test_standard_streams(run: Run, int8: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo, written = sorted(photos.iterdir())[0], io.BytesIO()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(photo.read_bytes())))
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written))
    outcome = run("run", int8, "-i", "-", "-o", "-")
    assert outcome.code == 0 and outcome.err.startswith("1 done; ")
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(written.getvalue()))), bare(int8, load_rgb(photo)))


def test_streams_that_cannot_be(run: Run, int8: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    photo = tmp_path / "x.png"
    save_png(photo, np.zeros((4, 4, 3), np.uint8))
    assert "would both go to standard output" in run("run", int8, "-i", photo, "-o", "-", "--json").refused(2)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"no picture")))
    message = run("run", int8, "-i", "-", "-o", tmp_path / "y.png").refused()
    assert message.startswith("standard input is not an image")


def test_one_pixel_and_odd_sizes(run: Run, int8: Path, fp32: Path, tmp_path: Path) -> None:
    for size in ((1, 1), (1, 9), (7, 1)):
        photo = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
        save_png(tmp_path / "x.png", photo)
        run("run", int8, "-i", tmp_path / "x.png", "-o", tmp_path / "y.png", "-q").done()
        np.testing.assert_array_equal(load_rgb(tmp_path / "y.png"), bare(int8, photo))


def test_a_picture_over_the_limit_is_told(run: Run, int8: Path, tmp_path: Path) -> None:
    Image.new("1", (20000, 6000)).save(tmp_path / "x.png")
    message = run("run", int8, "-i", tmp_path / "x.png", "-o", tmp_path / "y.png").refused()
    assert "over the limit of 100 megapixels; crop or downscale it" in message


def test_a_format_that_is_put_together_has_a_budget(run: Run, int8: Path, tmp_path: Path) -> None:
    Image.new("L", (9000, 3)).save(tmp_path / "x.png")
    message = run("run", int8, "-i", tmp_path / "x.png", "-o", tmp_path / "y.webp").refused()
    assert (
        "WEBP holds at most 16383 pixels to a side, not 18000x6; name it .png, which is written row by row" in message
    )
    Image.new("L", (9000, 6000)).save(tmp_path / "x.png")
    message = run("run", int8, "-i", tmp_path / "x.png", "-o", tmp_path / "y.jpg").refused()
    assert "18000x12000 is more than the 200 megapixels that are put together in memory for JPEG" in message


@pytest.fixture
def nearly_full_disk(tree: Path) -> Iterator[None]:
    """A limit on the size of files stands for the disk: 40x48 pixels of a photograph take more in any format."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (800, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, ignored)


@pytest.mark.parametrize("suffix", ["png", "jpeg", "webp", "bmp"])
@pytest.mark.usefixtures("nearly_full_disk")
def test_a_full_disk_ends_the_run_in_one_line(run: Run, int8: Path, tree: Path, tmp_path: Path, suffix: str) -> None:
    line = ("run", int8, "-i", tree, "-o", tmp_path / "out", "--format", suffix, "--quality", 100)
    message = run(*line).refused()
    assert "cannot write" in message and "File too large" in message
    assert not [name for name in files_of(tmp_path / "out") if name != LEDGER_NAME]


def test_an_interrupt_leaves_whole_pictures_and_goes_on_later(
    run: Run, int8: Path, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, begun = tmp_path / "out", []
    stopped, told, stop = set(), threading.Event(), Allowance.stop

    def stop_and_tell(self: Allowance) -> None:
        stop(self)
        stopped.add(id(self))
        if len(stopped) == 2:  # of pixels and of strips: who encodes learns of it now
            told.set()

    def interrupted(picture: Any, *rest: Any) -> Iterator[Any]:
        begun.append(picture)
        rows = np.concatenate(list(finish_rows(picture, *rest)))
        yield rows[:20]
        if len(begun) == 2:  # half of the second is written
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            assert told.wait(60)
        yield rows[20:]

    with monkeypatch.context() as patch:
        patch.setattr(picture_running, "finish_rows", interrupted)
        patch.setattr(Allowance, "stop", stop_and_tell)
        patch.setattr(picture_running, "MOST_ENCODERS", 1)  # on many cores, the first would still be written as well
        message = run("run", int8, "-i", tree, "-o", out).refused()
    assert message == "interrupted; finished files stay, none is half-written"
    made = files_of(out)
    assert set(made) == {"a.png", LEDGER_NAME}
    np.testing.assert_array_equal(load_rgb(out / "a.png"), bare(int8, load_rgb(tree / "a.png")))
    assert run("run", int8, "-i", tree, "-o", out).done().startswith("2 done, 1 skipped; ")


def test_the_default_is_every_core(run: Run, int8: Path, photos: Path, tmp_path: Path) -> None:
    line = ("run", int8, "-i", sorted(photos.iterdir())[0], "-o", tmp_path / "out.png", "--json")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert json.loads(run(*line).done())["threads"] == cores
    assert json.loads(run(*line, "--threads", 1).done())["threads"] == 1


def test_time_is_not_that_of_loading(
    run: Run, int8: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a clock that only goes on while a file is opened, and while its pictures are run."""
    clock, picture_run = [0.0], running.PictureRun.run

    def opened(*arguments: Any) -> Any:
        clock[0] += 1000
        return open_runner(*arguments)

    def ran(self: Any, *arguments: Any) -> Any:
        clock[0] += 2
        return picture_run(self, *arguments)

    monkeypatch.setattr(running, "open_runner", opened)
    monkeypatch.setattr(running.PictureRun, "run", ran)
    monkeypatch.setattr(running, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    line = ("run", int8, "-i", sorted(photos.iterdir())[0], "-o", tmp_path / "out.png", "--json")
    assert json.loads(run(*line).done())["elapsed_s"] == 2


def test_a_file_of_one_size_runs_other_pictures_by_tiles(run: Run, exported: Path, tmp_path: Path) -> None:
    """Bit for bit where tiles fit; a picture smaller than the file's size is told to be inexact at its far borders."""
    manifest = json.loads((exported / "manifest.json").read_text())
    (entry,) = (entry for entry in manifest["artifacts"] if entry["target"] == "tflite-int8")
    photo = load_rgb(sorted(builtin_calibration_paths())[0])
    save_png(tmp_path / "large.png", photo)
    save_png(tmp_path / "small.png", photo[:20, :30].copy())
    whole = bare(exported / entry["file"], photo)
    entry["contract"] |= {"any_size": False, "sizes": [[64, 96]]}
    (exported / "manifest.json").write_text(json.dumps(manifest))
    line = ("run", exported / entry["file"], "-o", tmp_path / "out.png", "-i")
    assert "note:" not in run(*line, tmp_path / "large.png").done()
    np.testing.assert_array_equal(load_rgb(tmp_path / "out.png"), whole)
    assert "note: the file's size 64x96 is larger than the image" in run(*line, tmp_path / "small.png").done()
    message = run(*line, tmp_path / "large.png", "--tile", 0).refused()
    assert "is not a size of this artifact (64x96)" in message


def test_a_picture_that_the_runtime_gives_up_on_is_told_and_the_rest_is_done(
    run: Run, int8: Path, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = TiledRunner.byte_strips

    def gives_up(self: TiledRunner, image: np.ndarray, progress: Any) -> Iterator[np.ndarray]:
        strips = whole(self, image, progress)
        if (image[0, :, :, :3] == load_rgb(tree / "a.png")).all():
            yield next(strips)[:, :10]
            raise ArtifactError("litert-xnnpack cannot run it: Failed to do so")
        yield from strips

    monkeypatch.setattr(TiledRunner, "byte_strips", gives_up)
    outcome = run("run", int8, "-i", tree, "-o", tmp_path / "out")
    lines = outcome.err.splitlines()
    assert outcome.code == 1 and lines[0].endswith("a.png: litert-xnnpack cannot run it: Failed to do so")
    assert lines[1:] == ["edgesr: 1 of 3 images failed, the others are done; mend or remove them and run again"]
    assert "a.png" not in files_of(tmp_path / "out") and len(files_of(tmp_path / "out")) == 3
