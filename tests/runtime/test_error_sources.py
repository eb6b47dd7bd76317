from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from edgesr.quantized import QuantizedGraph
from edgesr.runtime.cases import ParityCase
from edgesr.runtime.divergence import Trace
from edgesr.runtime.error_sources import ErrorSources, find_error_sources
from edgesr.runtime.operator_parity import by_graph_names
from edgesr.runtime.torch_runner import GraphRunner, IntegerRunner, to_nhwc

C2 = "block_2.c2.conv"


@pytest.fixture(scope="module")
def find(images: list[np.ndarray]) -> Callable[[QuantizedGraph], ErrorSources]:
    case = ParityCase("natural odd 37x53", images[0][None, :37, :53] / 255)

    def sources(network: QuantizedGraph) -> ErrorSources:
        return find_error_sources(network, Trace("f", "r", IntegerRunner(network).trace(case.image)), case)

    return sources


def test_shares_are_of_the_sum_and_the_sum_is_about_the_whole(find: Any, small: Any) -> None:
    found = find(small.quantized)
    assert sum(source.share for source in found.sources) == pytest.approx(1)
    assert 0.5 < found.explained < 2, "independent errors add as squares"
    shares = [source.share for source in found.sources]
    assert shares == sorted(shares, reverse=True)
    moved = {"cat", "pixel_shuffle"}
    assert {source.operator for source in found.sources} == {op.name for op in small.quantized.graph} - moved
    alone = [10 ** (-source.alone_psnr_db / 10) for source in found.sources]
    assert sum(alone) / 10 ** (-found.psnr_db / 10) == pytest.approx(found.explained)


def test_the_whole_is_the_pictures_error(find: Any, small: Any, images: list[np.ndarray]) -> None:
    image = images[0][None, :37, :53] / 255
    found, expected = (
        runner(n).run(image) for runner, n in ((IntegerRunner, small.quantized), (GraphRunner, small.graph))
    )
    mse = np.mean((found.clip(0, 1) - expected.clip(0, 1)) ** 2)
    assert find(small.quantized).psnr_db == pytest.approx(-10 * np.log10(mse))


@pytest.mark.parametrize("tensor", [C2, "block_2.mul", "conv_near"])
def test_a_narrowed_range_becomes_the_largest_source(
    tensor: str, find: Any, small: Any, with_range: Callable[..., QuantizedGraph]
) -> None:
    """Seeded: a tensor keeps a tenth of its range; conv_near and the product share theirs with the concat."""
    group = {"conv_near", "block_2.mul", "cat"}
    sound, narrowed = (
        {source.operator: source for source in find(network).sources}
        for network in (small.quantized, with_range(small.quantized, group if tensor in group else {tensor}, 0.1))
    )
    expected = {tensor} if tensor not in group else group - {"cat"}
    assert next(iter(narrowed)) in expected
    assert narrowed[tensor].alone_psnr_db < sound[tensor].alone_psnr_db - 1


@pytest.mark.parametrize("kind", ["add", "sub", "mul"])
def test_constants_are_operands_and_no_sources(kind: str, operator_cases: Mapping[str, Any]) -> None:
    case = operator_cases[f"{kind}-constants"]
    network = case.quantize_with_image_edges()
    image = ParityCase("natural", np.rint(255 * to_nhwc(case.image().clamp(0, 1))) / 255)
    shown = by_graph_names(network, IntegerRunner(network).trace(image.image), image)
    found = find_error_sources(network, Trace("f", "r", shown), image)
    assert [source.operator for source in found.sources] == ["y"]
    assert found.explained == pytest.approx(1, abs=0.1), "its own error is the whole one"


def test_a_trace_without_a_tensor_is_refused(small: Any, images: list[np.ndarray]) -> None:
    case = ParityCase("natural", images[0][None, :16, :16] / 255)
    tensors = dict(IntegerRunner(small.quantized).trace(case.image))
    del tensors[C2]
    with pytest.raises(KeyError, match=C2):
        find_error_sources(small.quantized, Trace("f", "r", tensors), case)
