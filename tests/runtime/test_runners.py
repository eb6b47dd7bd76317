from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgesr.errors import ArtifactError, EdgeSRError
from edgesr.runtime.runner import Tracer
from edgesr.runtime.runners import FILE_RUNNERS, open_other_signatures, open_runner
from edgesr.target import ALL_TARGETS, TARGETS, Format, IODtype, Layout

PAIRS = [(target.name, runner) for target in TARGETS for runner in target.runners]
CHOICES = [(target.name, io, layout) for target in TARGETS for io in target.io for layout in target.layouts]


def opened(exported: Any, runner: str, threads: int = 1) -> Any:
    return open_runner(runner, exported.target, exported.path, exported.contract, threads)


def test_every_runner_of_every_target_is_in_the_table() -> None:
    emulators = {name for target in ALL_TARGETS for name in target.emulators + target.witnesses}
    assert {runner for _, runner in PAIRS} | emulators == set(FILE_RUNNERS)


@pytest.mark.parametrize(("name", "runner"), PAIRS)
def test_what_a_runner_promises(name: str, runner: str, export: Any) -> None:
    """Float images in and out, at any size and in any order; traces by the graph's names; nothing kept in between."""
    exported = export(name)
    its = opened(exported, runner)
    assert its.name == runner and isinstance(its, Tracer)
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (1, *size, 3)) / 255 for size in ((9, 7), (32, 48), (1, 1), (16, 33))]
    first = [its.run(image) for image in images]
    for image, output in zip(images, first, strict=True):
        assert output.dtype == np.float32 and output.shape == (1, 2 * image.shape[1], 2 * image.shape[2], 3)
        assert output.flags.c_contiguous
    for image, output in reversed(list(zip(images, first, strict=True))):
        assert np.array_equal(its.run(image), output), "the images before leave no trace"
    names = {op.name for op in exported.network.graph if op.name != exported.network.graph.output}
    for image in images:
        trace = its.trace(image)
        assert names <= set(trace)
        assert {exported.network.graph.output, "output"} & set(trace)
        for tensor in names:
            spec = exported.network.graph.specs[tensor]
            assert trace[tensor].shape == (1, *image.shape[1:3], spec.channels), tensor


@pytest.mark.parametrize(("name", "runner"), PAIRS)
def test_batches_are_run_image_by_image(name: str, runner: str, export: Any) -> None:
    its = opened(export(name), runner)
    batch = np.random.default_rng(0).integers(0, 256, (2, 9, 7, 3)) / 255
    together, one_by_one = its.run(batch), np.concatenate([its.run(image[None]) for image in batch])
    assert np.abs(together - one_by_one).max() <= (1e-3 if "fp16" in name else 1e-6)


@pytest.mark.parametrize(("name", "runner"), PAIRS)
def test_prepare_and_invoke_compute_what_run_computes(name: str, runner: str, export: Any) -> None:
    exported = export(name)
    its = opened(exported, runner)
    image = np.random.default_rng(0).integers(0, 256, (1, 9, 7, 3)) / 255
    expected = opened(exported, runner).run(image)
    its.prepare(1 - image)
    its.invoke()
    its.prepare(image)
    its.invoke()
    its.invoke()
    assert np.array_equal(its.result(), expected), "of the last run, not of the one before"
    assert np.array_equal(its.run(image), expected)


@pytest.mark.parametrize(("name", "io", "layout"), CHOICES)
def test_every_image_type_and_layout_gives_the_image_of_the_network(
    name: str, io: IODtype, layout: Layout, export: Any, images: list[np.ndarray]
) -> None:
    exported = export(name, io, layout)
    image = images[0][None, :30, :40] / 255
    expected = exported.network.reference.run(image)
    limit = {"fp32": 5e-5, "fp16": 2.5e-2, "int8": 0.2, "a16w8": 0.2}[name.split("-")[1]]
    for runner in exported.target.runners:
        output = opened(exported, runner).run(image)
        assert np.abs(output - np.clip(expected, 0, 1) if "8" in name else output - expected).max() <= limit


@pytest.mark.parametrize(("name", "runner"), PAIRS)
def test_threads_change_nothing(name: str, runner: str, export: Any) -> None:
    exported = export(name)
    image = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3)) / 255
    one, two = (opened(exported, runner, threads).run(image) for threads in (1, 2))
    assert np.abs(one - two).max() <= 1e-5


@pytest.mark.parametrize(("name", "runner"), PAIRS)
@pytest.mark.parametrize("kept", [0, 100, 0.5])
def test_files_that_are_not_whole_are_refused(
    name: str, runner: str, kept: float, export: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    exported = export(name)
    content = exported.path.read_bytes()
    path = tmp_path / "broken"
    path.write_bytes(content[: int(kept * len(content)) if kept < 1 else int(kept)])
    with pytest.raises(ArtifactError, match=r"cannot load .*broken: ") as caught:
        open_runner(runner, exported.target, path, exported.contract)
    assert "\n" not in str(caught.value)


def test_runners_of_other_formats_are_refused(export: Any) -> None:
    for name, runner in (("tflite-fp32", "onnxruntime"), ("onnx-int8", "litert-xnnpack"), ("onnx-fp32", "nothing")):
        exported = export(name)
        with pytest.raises(EdgeSRError, match=f"runner '{runner}' does not run {name} files; choose from "):
            opened(exported, runner)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_other_signatures(target: Any, export: Any) -> None:
    tflite = target.format is Format.TFLITE
    exported = export(target.name, sizes=((32, 48), (24, 30), (10, 12))) if tflite else export(target.name)
    for name in target.runners:
        others = open_other_signatures(name, target, exported.path, exported.contract)
        assert list(others) == ([(24, 30), (10, 12)] if tflite else [])
        for size, runner in others.items():
            assert runner.name == f"{name} {size[0]}x{size[1]}"
            image = np.random.default_rng(0).integers(0, 256, (1, 13, 9, 3)) / 255
            assert np.array_equal(runner.run(image), opened(exported, name).run(image)), "whatever the image's size"
