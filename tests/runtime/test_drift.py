from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from torch import Tensor

from edgesr.export.tflite import emit_tflite
from edgesr.quantized import QuantizedGraph
from edgesr.runtime.drift import describe_drift
from edgesr.target import IODtype, Precision

SHAPE = (1, 37, 53, 8)
ZERO_POINT = 5


def nhwc(x: Tensor) -> np.ndarray:
    return np.ascontiguousarray(x.permute(0, 2, 3, 1).numpy())


def exact_values(spread: float, seed: int = 0) -> np.ndarray:
    """Outputs before rounding, in steps; most are small, as in feature maps."""
    values = np.random.default_rng(seed).laplace(0.0, spread / np.sqrt(2), SHAPE)
    return np.clip(values + ZERO_POINT, -128, 127)


def drift(found: np.ndarray, exact: np.ndarray) -> str | None:
    return describe_drift(found, np.rint(exact), exact, ZERO_POINT)


def numbers(why: str) -> tuple[float, float]:
    """The gain and the shift that a description states."""
    gain, shift = why.split(" LSB")[0].removeprefix("gain ").split("%, shift ")
    return float(gain) / 100, float(shift)


def scaled(exact: np.ndarray, factor: float | np.ndarray) -> np.ndarray:
    """What a runtime with a scale that is wrong by that factor stores."""
    return np.clip(np.rint((exact - ZERO_POINT) * factor + ZERO_POINT), -128, 127)


@pytest.mark.parametrize("spread", [0.1, 1.0, 3.0, 30.0, 200.0])
def test_exact_rounding_does_not_drift(spread: float) -> None:
    exact = exact_values(spread)
    assert drift(np.rint(exact), exact) is None


@pytest.mark.parametrize("spread", [1.0, 3.0, 30.0])
@pytest.mark.parametrize("toward_zero", [True, False])
def test_rounding_near_halves_either_way_is_no_drift(spread: float, toward_zero: bool) -> None:
    """A hundredth of all values, all of them away from the zero point or towards it."""
    exact = exact_values(spread)
    from_zero = np.abs(exact - ZERO_POINT)
    near = np.abs(from_zero % 1 - 0.5) < 0.005
    assert 0.005 < near.mean() < 0.02
    found = np.where(near, np.floor(from_zero) + (not toward_zero), np.rint(from_zero))
    assert drift(ZERO_POINT + np.sign(exact - ZERO_POINT) * found, exact) is None


def test_exact_halves_may_go_either_way() -> None:
    """As where a constant multiplies by a half: half of all values are ties."""
    exact = ZERO_POINT + np.random.default_rng(0).integers(-40, 40, SHAPE) / 2
    away = ZERO_POINT + np.sign(exact - ZERO_POINT) * np.floor(np.abs(exact - ZERO_POINT) + 0.5)
    assert np.mean(away != np.rint(exact)) > 0.2
    assert drift(away, exact) is None


def test_flat_images_do_not_drift() -> None:
    exact = np.full(SHAPE, 40.3)
    assert drift(np.rint(exact), exact) is None


@pytest.mark.parametrize("spread", [2.0, 5.0, 30.0, 60.0])
@pytest.mark.parametrize("factor", [1.02, 0.98])
def test_a_scale_two_percent_wrong_drifts(spread: float, factor: float) -> None:
    exact = exact_values(spread)
    why = drift(scaled(exact, factor), exact)
    assert why is not None and why.endswith(": a scale, zero point or bias is wrong")
    assert 0.5 < numbers(why)[0] / (factor - 1) < 1.3, "saturated values do not move"


def test_one_channel_is_named() -> None:
    exact = exact_values(20.0)
    factors = np.ones(SHAPE[-1])
    factors[6] = 1.05
    found = scaled(exact, factors)
    why = drift(found, exact)
    assert why is not None and " LSB in channel 6 (limits " in why
    assert numbers(why)[0] == pytest.approx(0.05, abs=0.003)


def test_a_wrong_zero_point_drifts() -> None:
    exact = exact_values(0.3)
    why = drift(np.rint(exact) + 1, exact)
    assert why is not None and " LSB (limits " in why
    assert numbers(why)[1] == pytest.approx(1, abs=0.03), "exact halves do not count"
    one_channel = np.rint(exact) + (np.arange(SHAPE[-1]) == 2)
    why = drift(one_channel, exact)
    assert why is not None and " LSB in channel 2 (limits " in why


def test_a_few_values_prove_no_drift() -> None:
    exact = np.full((1, 2, 2, 8), 30.4)
    assert drift(np.full_like(exact, 31.0), exact) is None


def test_many_flat_values_do() -> None:
    exact = np.full(SHAPE, 30.3)
    assert drift(np.full_like(exact, 31.0), exact) is not None


@pytest.mark.parametrize("factor", [1.004, 0.996])
def test_multipliers_of_eight_bits_do_not_drift(factor: float) -> None:
    """Two of them in a row are wrong by 2^-8 at most."""
    for spread in (3.0, 30.0):
        for offset in (0.0, 60.0):
            exact = np.clip(exact_values(spread) + offset, -128, 127)
            assert drift(scaled(exact, factor), exact) is None


@pytest.mark.parametrize("kernels", [OpResolverType.AUTO, OpResolverType.BUILTIN_REF], ids=["xnnpack", "reference"])
def test_no_honest_kernel_drifts(integer_case: Any, kernels: OpResolverType) -> None:
    """Every operator of the vocabulary in LiteRT, on 3,000 positions and more."""
    size = (50, 60)
    network: QuantizedGraph = integer_case.quantized
    content = emit_tflite(network, Precision.INT8, IODtype.INT8, [size], {})
    interpreter = Interpreter(model_content=content, num_threads=1, experimental_op_resolver_type=kernels)
    interpreter.allocate_tensors()
    values = integer_case.trace_integers(size)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], nhwc(values["x"]).astype(np.int8))
    interpreter.invoke()
    found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    op, params = network.dequantized_op("y"), network.output
    reals = [network.activations[name].dequantize(values[name].double()) for name in op.inputs]
    exact = nhwc(op.evaluate(*reals)) / params.scale + params.zero_point
    assert describe_drift(found, nhwc(values["y"]), exact, params.zero_point) is None
