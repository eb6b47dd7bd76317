"""Does the parity check see what is wrong with a file? Errors are put into files that pass without them.

The table `SEEDS` says which check catches which error: the operator check catches all, and blames the operators beside
the error and no others; end to end every structural error shows too, while in INT8 a scale that is 2 % wrong hides
there behind rounding.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgesr.architecture import SRModel
from edgesr.artifact import IOContract
from edgesr.export.onnx import emit_onnx
from edgesr.runtime.cases import ParityCase
from edgesr.runtime.operator_parity import OperatorRow, compare_operators
from edgesr.runtime.ort_runner import OrtRunner
from edgesr.runtime.parity import ParityReport, ParityRow, compare_end_to_end, psnr_db
from edgesr.runtime.tolerance import FLOAT_TOLERANCES
from edgesr.runtime.torch_runner import TorchRunner
from edgesr.target import IODtype, Layout, Precision

RUNS = [
    ("tflite-fp32", "litert-xnnpack"),
    ("tflite-fp32", "litert-reference"),
    ("tflite-int8", "litert-xnnpack"),
    ("tflite-int8", "litert-reference"),
    ("onnx-fp32", "onnxruntime"),
    ("onnx-int8", "onnxruntime"),
]
FP16_RUNS = [("tflite-fp16", "litert-xnnpack"), ("onnx-fp16", "onnxruntime")]
runs = pytest.mark.parametrize(("name", "runner"), RUNS, ids=lambda x: x)
every_run = pytest.mark.parametrize(("name", "runner"), RUNS + FP16_RUNS, ids=lambda x: x)

C1, C2, C3, GATE = "block_2.c1.conv", "block_2.c2.conv", "block_2.c3.conv", "block_2.guidance_map_conv"
DEPTHWISE, POINTWISE = "depthwise_conv", "pointwise_conv"
Seed = Callable[[Any], None]
STRUCTURAL: dict[str, tuple[Seed, str]] = {
    "swapped channels": (lambda file: file.swap(C2, 3, 7), C2),
    "swapped channels, depthwise": (lambda file: file.swap(DEPTHWISE, 0, 1), DEPTHWISE),
    "shifted pixel": (lambda file: file.shift(C1), C1),
    "shifted pixel, depthwise": (lambda file: file.shift(DEPTHWISE), DEPTHWISE),
    "dropped bias": (lambda file: file.drop_bias(GATE), GATE),
    "wrong border": (lambda file: file.replicate_border(C2), C2),
    "wrong shuffle order": (lambda file: file.torch_shuffle(POINTWISE, 2), POINTWISE),
}


@every_run
def test_untampered_files_pass(name: str, runner: str, export: Any, images: list[np.ndarray]) -> None:
    exported = export(name)
    report = exported.check(images, (runner,), thorough=True)
    assert report.failures == ()
    assert {row.runner for row in report.rows} == {runner, "graph-int8" if "int8" in name else "graph"}
    assert len(report.rows) == 2 * 7, "two natural images, an odd piece, two kinds of noise at two sizes"
    operators = [row.operator for row in report.operators]
    assert [name for name in operators if "edge" not in name] == [op.name for op in exported.network.graph]
    assert operators[-1] == "output edge"


@pytest.mark.parametrize("error", STRUCTURAL)
@every_run
def test_structural_errors_are_caught(
    name: str, runner: str, error: str, export: Any, tampered: Any, caught: Any
) -> None:
    seed, blamed = STRUCTURAL[error]
    # ONNX says the shuffle's order at the shuffle, TFLite in the rows before it
    blamed = "pixel_shuffle" if error == "wrong shuffle order" and name.startswith("onnx") else blamed
    found = caught(tampered(export(name), seed), (runner,))
    assert found == {blamed, "end to end"}


@runs
def test_one_wrong_weight_is_caught(name: str, runner: str, export: Any, tampered: Any, caught: Any) -> None:
    """Float: one weight of median size, 5 % too large. INT8: one channel's weight scale, 5 % too large."""

    def seed(file: Any) -> None:
        file.scale_row(C3, 3, 1.05) if "int8" in name else file.scale_weight(C3, 1.05)

    found = caught(tampered(export(name), seed), (runner,))
    assert found == ({C3} if "int8" in name else {C3, "end to end"})


@runs
def test_missing_padding_is_caught(name: str, runner: str, export: Any, tampered: Any, caught: Any) -> None:
    """Its output no longer fits what it is added to: the runtimes refuse the file."""
    assert caught(tampered(export(name), lambda file: file.drop_padding(C3)), (runner,)) == {"load or run"}


@pytest.mark.parametrize("name", ["tflite-fp32", "tflite-int8"])
def test_errors_in_another_signature_are_caught(
    name: str, export: Any, tampered: Any, images: list[np.ndarray]
) -> None:
    exported = export(name, sizes=((32, 48), (24, 30)))
    sound = exported.check(images)
    assert sound.failures == ()
    assert {row.runner for row in sound.operators} == {"litert-xnnpack", "litert-xnnpack 24x30"}
    report = tampered(exported, lambda file: file.shift(C1), subgraph=1).check(images)
    assert {row.runner for row in report.failures} == {"litert-xnnpack 24x30"}
    assert {row.operator for row in report.failures if isinstance(row, OperatorRow)} == {C1}
    assert any(isinstance(row, ParityRow) for row in report.failures), "end to end too"


class Fixed:
    """A runner that answers with what it is told."""

    def __init__(self, answer: Callable[[np.ndarray], np.ndarray]) -> None:
        self.name = "fixed"
        self.answer = answer

    def run(self, image: np.ndarray) -> np.ndarray:
        return self.answer(image)


@pytest.fixture
def judge(small: Any, images: list[np.ndarray]) -> Callable[..., ParityRow]:
    """The row of a runner that answers with a change of the reference's answer, on a natural image or noise."""

    def make(change: Callable[[np.ndarray], np.ndarray], precision: Precision, case: str = "natural") -> ParityRow:
        image = ParityCase(case, images[0][None, :30, :40] / 255)
        runner = Fixed(lambda x: change(small.reference.run(x)))
        network = small.for_precision(precision)
        _, row = compare_end_to_end("f", precision, network, small.model, small.reference, [runner], [image])
        return row

    return make


LIMITS = {
    Precision.FP32: (FLOAT_TOLERANCES[Precision.FP32].max_abs, 5e-5),
    Precision.FP16: (FLOAT_TOLERANCES[Precision.FP16].max_abs, 2.5e-2),
}


def with_one_pixel_off(by: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(y: np.ndarray) -> np.ndarray:
        changed = y.copy()
        changed[0, -1, -1, -1] += by
        return changed

    return change


@pytest.mark.parametrize("precision", LIMITS)
@pytest.mark.parametrize("case", ["natural", "noise"])
def test_the_largest_error_is_bounded_by_the_design(judge: Any, precision: Precision, case: str) -> None:
    """One value, in the outermost corner; PyTorch's own rounding here is far below the limits, they are not widened."""
    limit, of_design = LIMITS[precision]
    assert limit == of_design
    assert judge(with_one_pixel_off(0.9 * limit), precision, case).passed
    row = judge(with_one_pixel_off(-1.2 * limit), precision, case)
    assert row.why == f"max abs {1.2 * limit:.2g} > {limit:.2g}"
    assert row.max_abs == pytest.approx(1.2 * limit)


def test_small_errors_everywhere_are_bounded_too(judge: Any) -> None:
    assert judge(lambda y: y * (1 + 1.9e-6), Precision.FP32).passed
    assert "relative L2" in judge(lambda y: y * (1 + 2.1e-6), Precision.FP32).why
    assert judge(lambda y: y + 0.0009 * np.sign(y), Precision.FP16).passed
    assert "relative L2" in judge(lambda y: y * (1 + 2.6e-3), Precision.FP16).why


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("precision", Precision)
def test_values_that_are_no_numbers_fail(judge: Any, precision: Precision, value: float) -> None:
    row = judge(lambda y: np.where(np.arange(y.size).reshape(y.shape) == 5, value, y), precision)
    assert row.max_abs == row.relative_l2 == float("inf")
    assert not row.passed or (precision.is_integer and np.isinf(value)), "clipped to the image's range"


def test_nan_has_no_psnr() -> None:
    image = np.full((1, 2, 2, 3), 0.5)
    assert psnr_db(image, image, 1.0) == 200.0
    assert psnr_db(np.full_like(image, np.nan), image, 1.0) == 0.0


def test_another_shape_fails(judge: Any) -> None:
    for precision in Precision:
        row = judge(lambda y: y[:, 1:], precision)
        assert row.why is not None and row.why.startswith("shape (1, 59, 80, 3), expected (1, 60, 80, 3)")


def test_int8_is_judged_by_psnr_whole_and_at_the_border(judge: Any, small: Any) -> None:
    exact = judge(lambda y: y, Precision.INT8).exact_integer_psnr_db
    assert 25 < exact < 60
    rng = np.random.default_rng(0)
    noise = np.sqrt(3 * 10 ** (-exact / 10)) * rng.uniform(-1, 1, (1, 60, 80, 3))  # as much as rounding itself
    assert judge(lambda y: np.clip(y, 0, 1) + 0.9 * noise, Precision.INT8).passed
    row = judge(lambda y: np.clip(y, 0.2, 0.8) + 1.3 * noise, Precision.INT8)
    assert "dB below exact integer arithmetic" in row.why
    frame = np.ones((60, 80))
    frame[2:-2, 2:-2] = 0
    row = judge(lambda y: y + 2.0 * noise * frame[..., None], Precision.INT8)
    assert "dB below exact integer arithmetic at the border, limit " in row.why


class Scaling(torch.nn.Module):
    """x * a * b * 100 = x. Half precision holds 1e-6 as 1.013e-6, and 1e7 not at all."""

    def __init__(self, a: float) -> None:
        super().__init__()
        self.a = torch.nn.Parameter(torch.tensor(a))
        self.b = torch.nn.Parameter(torch.tensor(0.01 / a))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.a * self.b * 100


@pytest.mark.parametrize("a", [1e-6, 1e7], ids=["rounded", "infinite"])
def test_weights_that_float16_cannot_hold_are_no_excuse(a: float, small: Any, images: list[np.ndarray]) -> None:
    """What the rounding of weights does to a natural image is what the user sees; on noise it widens the limits."""
    model = SRModel("scaling", "test", Scaling(a).eval(), {}, 1, "test", "")
    stored, reference = TorchRunner(model, torch.float32, torch.float16), TorchRunner(model)
    image = images[0][None, :30, :40] / 255
    for name, passes in (("natural", False), ("noise", a < 1)):
        case = ParityCase(name, image)
        _, row = compare_end_to_end("f", Precision.FP16, small.graph, model, reference, [stored], [case])
        assert row.passed is passes, row.why
        assert row.relative_l2 > 4 * FLOAT_TOLERANCES[Precision.FP16].relative_l2


def test_ill_conditioned_networks_are_judged_by_what_float32_can_do(small: Any, images: list[np.ndarray]) -> None:
    """x -> (x + 1e4) - 1e4 loses 5e-4 to float32 in any runtime; three times that is let pass, four times is not."""

    class Cancelling(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x + 1e4) - 1e4

    model = SRModel("cancelling", "test", Cancelling(), {}, 1, "test", "")
    reference, float32 = TorchRunner(model), TorchRunner(model, torch.float32)
    case = ParityCase("natural", images[0][None, :30, :40] / 255)
    for factor in (2.9, 3.1):
        runner = Fixed(lambda x, k=factor: reference.run(x) + k * (float32.run(x) - reference.run(x)))
        _, row = compare_end_to_end("f", Precision.FP32, small.graph, model, reference, [runner], [case])
        assert row.max_abs > 10 * FLOAT_TOLERANCES[Precision.FP32].max_abs
        assert row.passed is (factor < 3), row.why


@pytest.mark.parametrize(
    ("name", "precision"), [("natural", Precision.FP32), ("noise", Precision.FP32), ("natural", Precision.FP16)]
)
def test_a_spoilt_yardstick_excuses_no_file(
    name: str, precision: Precision, small: Any, images: list[np.ndarray]
) -> None:
    """In float32 the network works on an image that it has changed before, as it once did; the file errs likewise."""

    class InPlace(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            offset = 0.45 if x.dtype is torch.float64 else 0.9  # subtracted a second time
            return x.sub_(offset) * 0.5

    model = SRModel("in place", "test", InPlace(), {}, 1, "test", "")
    reference, float32 = TorchRunner(model), TorchRunner(model, torch.float32)
    case = ParityCase(name, images[0][None, :30, :40] / 255)
    wrong = Fixed(float32.run)
    _, row = compare_end_to_end("f", precision, small.graph, model, reference, [wrong], [case])
    assert row.max_abs == pytest.approx(0.225) and row.why is not None
    limit = {"natural": {"fp32": "0.002", "fp16": "0.1"}, "noise": {"fp32": "0.02"}}[name][precision.value]
    assert row.why.startswith(f"max abs 0.22 > {limit} (PyTorch's float32 errs too"), row.why
    _, sound = compare_end_to_end("f", precision, small.graph, model, reference, [reference], [case])
    assert sound.passed


def test_reports_say_what_failed(export: Any, tampered: Any, images: list[np.ndarray]) -> None:
    exported = export("onnx-int8", IODtype.INT8, Layout.NCHW)
    report = tampered(exported, lambda file: file.swap(C2, 3, 7)).check(images)
    plain = report.to_json()
    assert plain["passed"] is report.summary()["passed"] is False
    assert len(plain["end_to_end"]) == len(report.rows) and len(plain["operators"]) == len(report.operators)
    phrases = [failure.describe() for failure in report.failures]
    assert any(phrase.startswith("onnxruntime on noise 33x47: ") for phrase in phrases)
    assert any(phrase.startswith(f"Conv2d '{C2}' on onnxruntime: ") for phrase in phrases)
    sound = exported.check(images)
    assert sound.summary()["passed"] is True
    assert sound.joined(report).failures == report.failures
    assert ParityReport((), ()).joined(sound) == dataclasses.replace(sound)
    worst = sound.summary()["worst"]["onnxruntime"]
    assert worst["psnr_db"] == min(row.psnr_db for row in sound.rows if row.runner == "onnxruntime")
    assert worst["cases"] == 2


def test_a_half_precision_file_with_bytes_may_be_off_by_their_rounding_and_by_no_more(
    small: Any, images: list[np.ndarray], tmp_path: Path
) -> None:
    contract = IOContract(IODtype.UINT8, Layout.NHWC, 3, 2, 1.0, (), any_size=True)
    path = tmp_path / "half.onnx"
    path.write_bytes(emit_onnx(small.graph, Precision.FP16, contract.dtype, contract.layout, None, {}))
    runner = OrtRunner(path, contract)
    case = ParityCase("natural", images[0][None, :40, :48] / 255)

    class Off:
        name = "two bytes off"
        trace = runner.trace

        def run(self, image: np.ndarray) -> np.ndarray:
            return runner.run(image) + 2 / 255

    def ends(runner: Any, **options: Any) -> ParityRow:
        network = ("f", Precision.FP16, small.graph, small.model, small.reference)
        return compare_end_to_end(*network, [runner], [case], **options)[1]

    def edge(runner: Any, **options: Any) -> OperatorRow:
        return compare_operators("f", Precision.FP16, small.graph, runner, "r", case, **options)[-1]

    assert ends(runner, contract=contract).passed and not ends(runner).passed
    assert not ends(Off(), contract=contract).passed
    last = edge(runner, contract=contract)
    assert last.passed and last.max_relative < 1.5 / 255, "the copy rounds some values to the next byte, no more"
    assert last.differing_share < 0.05
    assert not edge(Off(), contract=contract).passed
