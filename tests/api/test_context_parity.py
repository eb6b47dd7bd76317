"""A context binary and its source must agree to the byte; the emulator is faked here, and named."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgesr.api import context_parity
from edgesr.api.context_parity import compare_context
from edgesr.artifact import Artifact, IOContract
from edgesr.qualcomm import Soc, find_soc
from edgesr.runtime.parity import ParityReport
from edgesr.target import IODtype, Layout

CONTRACT = IOContract(IODtype.UINT8, Layout.NHWC, 3, 2, 1.0, ((8, 12),), False)
WRAPPER, SOURCE = Path("net.onnx"), Path("reference/net-01234567.onnx")
IMAGES = [np.full((20, 20, 3), level, np.uint8) for level in (10, 100)]
Spoil = Callable[[np.ndarray], np.ndarray]


@pytest.fixture
def compare(monkeypatch: pytest.MonkeyPatch) -> Callable[[Spoil], ParityReport]:
    """The report where the context gives the direct session's image, spoilt."""

    def run(spoil: Spoil) -> ParityReport:
        class Emulator:
            def __init__(self, path: Path, contract: IOContract, soc: Soc) -> None:
                assert (contract, soc.name) == (CONTRACT, "snapdragon-8-gen-2")
                self.path = path

            def run(self, image: np.ndarray) -> np.ndarray:
                assert image.shape == (1, 8, 12, 3)
                result = image.repeat(2, axis=1).repeat(2, axis=2).astype(np.float32)
                return spoil(result) if self.path == WRAPPER else result

        monkeypatch.setattr(context_parity, "QnnRunner", Emulator)
        monkeypatch.setattr(context_parity, "soc_of", lambda path: find_soc("SM8550") if path == SOURCE else None)
        artifact = Artifact(WRAPPER.name, "qnn-int8", "", 1, CONTRACT, "reference/x", "reference/y")
        return compare_context(artifact, WRAPPER, SOURCE, IMAGES)

    return run


def test_equal_bytes_pass_and_the_emulator_is_named(compare: Callable[[Spoil], ParityReport]) -> None:
    report = compare(lambda image: image)
    assert [row.case for row in report.rows] == [
        "natural 8x12 against its source", f"{report.rows[1].case.partition(' 8x12')[0]} 8x12 against its source",
    ]  # fmt: skip
    assert not report.failures and all(row.runner == "qnn-htp context" for row in report.rows)
    (run,) = report.emulated
    assert (run.file, run.runner) == ("net.onnx", "qnn-htp context")
    assert run.emulated.startswith("emulated HTP v79, compiled for SM8550")


def test_a_single_byte_that_differs_fails(compare: Callable[[Spoil], ParityReport]) -> None:
    def spoil(image: np.ndarray) -> np.ndarray:
        image[0, 3, 5, 1] += np.float32(1 / 255)
        return image

    report = compare(spoil)
    assert len(report.failures) == 2
    assert report.failures[0].why == f"1 of {16 * 24 * 3} bytes differ from the direct session"
    assert report.rows[0].max_abs == pytest.approx(1 / 255, abs=1e-6)


def test_another_shape_fails(compare: Callable[[Spoil], ParityReport]) -> None:
    report = compare(lambda image: image[:, 1:])
    assert report.failures[0].why == "gives shape (1, 15, 24, 3), its source (1, 16, 24, 3)"
