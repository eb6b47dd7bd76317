"""A file of one size on the emulated HTP runs larger images by tiles, with the bytes of a file for the whole image."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgesr.artifact import IOContract
from edgesr.export.onnx import emit_onnx
from edgesr.qualcomm import find_soc
from edgesr.runtime.qnn_runner import QnnRunner
from edgesr.runtime.tiled_runner import check_seams, tile_runner
from edgesr.target import IODtype, Layout, Precision

pytestmark = [
    pytest.mark.emulator,
    pytest.mark.skipif(
        importlib.util.find_spec("onnxruntime_qnn") is None,
        reason='onnxruntime_qnn is not installed: pip install "edgesr[qnn]"',
    ),
]
SOC = find_soc("SM8750")


def opened(small: Any, size: tuple[int, int], folder: Path) -> QnnRunner:
    path = folder / f"{size[0]}x{size[1]}.onnx"
    path.write_bytes(emit_onnx(small.quantized, Precision.INT8, IODtype.UINT8, Layout.NHWC, size, {}))
    return QnnRunner(path, contract(size), SOC)


def contract(size: tuple[int, int]) -> IOContract:
    return IOContract(IODtype.UINT8, Layout.NHWC, 3, 2, 1.0, (size,), any_size=False)


def test_tiles_on_the_emulated_htp_are_the_whole_image(small: Any, images: list[np.ndarray], tmp_path: Path) -> None:
    whole, tile = (61, 93), (32, 48)
    image = images[0][None, : whole[0], : whole[1]]
    runner = opened(small, tile, tmp_path)
    tiled = tile_runner(runner, contract(tile), small.quantized, Precision.INT8)
    assert tiled.plan(whole).tile == tile and tiled.plan(whole).count > 4 and tiled.plan(whole).exact
    assert check_seams(tiled, opened(small, whole, tmp_path), image).equal
    assert np.ptp(tiled.run_bytes(image)) > 50
    assert tiled.emulated is not None and tiled.emulated == runner.emulated
