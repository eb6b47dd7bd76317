"""The table of targets is complete and says one thing."""

import itertools

import pytest

from edgesr.npu_profile import NPU_PROFILES, find_npu_profile
from edgesr.runtime.runners import FILE_RUNNERS
from edgesr.target import (
    ALL_TARGETS,
    TARGETS,
    Compiler,
    Format,
    IODtype,
    Layout,
    Precision,
    Target,
    find_target,
    near_targets,
)


def test_every_format_has_every_precision_once() -> None:
    assert [(t.format, t.precision) for t in TARGETS] == list(itertools.product(Format, Precision))
    assert [t.name for t in TARGETS] == [f"{t.format.value}-{t.precision.value}" for t in TARGETS]


@pytest.mark.parametrize("target", ALL_TARGETS, ids=lambda target: target.name)
def test_each_target_is_found_by_its_name(target: Target) -> None:
    assert find_target(target.name) is target
    assert near_targets(target.name)[0] == target.name


@pytest.mark.parametrize("name", ["", "tflite", "TFLITE-INT8", "tflite-int8 ", "coreml-fp16"])
def test_nothing_else_is_a_target(name: str) -> None:
    assert find_target(name) is None


@pytest.mark.parametrize("target", ALL_TARGETS, ids=lambda target: target.name)
def test_defaults_are_among_the_choices(target: Target) -> None:
    assert target.default_io is target.io[0] and target.default_layout is target.layouts[0]
    for choices in (target.io, target.layouts, target.runners):
        assert choices and len(set(choices)) == len(choices)
    assert target.summary and "\n" not in target.summary


@pytest.mark.parametrize("target", ALL_TARGETS, ids=lambda target: target.name)
def test_every_target_has_runners_that_exist(target: Target) -> None:
    assert set(target.runners + target.emulators) <= set(FILE_RUNNERS)


def test_compiled_targets_say_what_compiles_them_and_for_what() -> None:
    assert all(target.compiler is None and target.npu is None for target in TARGETS)
    compiled = ALL_TARGETS[len(TARGETS) :]
    assert {target.compiler for target in compiled} == set(Compiler)
    for target in compiled:
        named = find_npu_profile(target.npu) if target.npu else None
        assert named is None or target.compiler in named.compilers
        assert any(target.compiler in npu.compilers and target.format in npu.formats for npu in NPU_PROFILES)


def test_every_runner_runs_some_target() -> None:
    assert {name for target in ALL_TARGETS for name in target.all_runners} == set(FILE_RUNNERS)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_images_are_integers_only_where_the_network_is(target: Target) -> None:
    assert set(target.io) == (set(IODtype) if target.precision.is_integer else {IODtype.FLOAT32})


def test_the_defaults_that_deployers_rely_on() -> None:
    """TFLite INT8 takes int8, whose bytes are the image XOR 0x80, with no QUANTIZE at the edge; ONNX takes bytes."""
    defaults = {target.name: (target.default_io, target.default_layout) for target in TARGETS}
    assert defaults["tflite-int8"] == (IODtype.INT8, Layout.NHWC)
    assert defaults["onnx-int8"] == (IODtype.UINT8, Layout.NHWC)
    assert defaults["onnx-fp32"] == defaults["onnx-fp16"] == (IODtype.FLOAT32, Layout.NCHW)
    assert all(target.layouts == (Layout.NHWC,) for target in TARGETS if target.format is Format.TFLITE)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("tflite-int16", "tflite-int8"), ("tflite_int8", "tflite-int8"), ("int8", "onnx-int8"),
        ("TFLITE-INT8", "tflite-int8"), ("onnx", "onnx-fp32"), ("tflite", "tflite-fp32"), ("onnx-float32", "onnx-fp32"),
    ],
)  # fmt: skip
def test_a_misspelt_target_is_guessed(typed: str, meant: str) -> None:
    near = near_targets(typed)
    assert meant in near and len(near) <= 3


@pytest.mark.parametrize("typed", ["", "zzzz"])
def test_what_is_like_nothing_is_not_guessed(typed: str) -> None:
    assert near_targets(typed) == []
