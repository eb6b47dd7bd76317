"""Networks as TFLite files with the host's own output, and programs that are scripts."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgesr.architecture import SRModel
from edgesr.artifact import IOContract
from edgesr.export.capture import capture
from edgesr.export.pipeline import NATIVE_FOLDS, run_folds
from edgesr.export.tflite import emit_tflite
from edgesr.runtime.litert_runner import LiteRTRunner
from edgesr.target import IODtype, Layout, Precision

Size = tuple[int, int]


@dataclass(frozen=True)
class NetworkFile:
    """A TFLite file, and what this machine's LiteRT makes of an image."""

    path: Path
    contract: IOContract

    def input_for(self, size: Size) -> bytes:
        """The bytes of an input image: noise, the same for the same size."""
        return self.contract.encode(self._image(size)).tobytes()

    def output_for(self, size: Size, signature: Size | None = None) -> bytes:
        """The bytes that LiteRTRunner computes for it."""
        runner = LiteRTRunner(self.path, self.contract, signature=signature)
        return self.contract.encode(runner.run(self._image(size))).tobytes()

    def _image(self, size: Size) -> np.ndarray:
        return np.random.default_rng(size).integers(0, 256, (1, *size, 3)) / 255


@pytest.fixture(scope="session")
def write_network(tmp_path_factory: pytest.TempPathFactory, quantize_by_range: Any) -> Callable[..., NetworkFile]:
    """`write_network(model, Precision.INT8, ((8, 12),))`: emitted without the rest of an export."""

    def write(model: SRModel, precision: Precision, sizes: tuple[Size, ...]) -> NetworkFile:
        graph, _ = run_folds(capture(model), NATIVE_FOLDS)
        image = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(0))
        network = quantize_by_range(graph, [image], image_edges=True) if precision.is_integer else graph
        io = IODtype.INT8 if precision.is_integer else IODtype.FLOAT32
        path = tmp_path_factory.mktemp("network") / f"{precision.value}.tflite"
        path.write_bytes(emit_tflite(network, precision, io, sizes, {}))
        return NetworkFile(path, IOContract(io, Layout.NHWC, 3, model.scale, 1.0, sizes, any_size=True))

    return write


@pytest.fixture
def make_program(tmp_path: Path) -> Callable[[str, str], Path]:
    """`make_program(name, lines)`: an executable script for the device's shell."""

    def make(name: str, lines: str) -> Path:
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{lines}\n")
        program.chmod(0o755)
        return program

    return make
