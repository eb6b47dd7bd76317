"""The audit of files that another converter made of the same network: shuffles in pieces, float edges."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgesr.api.peer_output import without_noise
from edgesr.architecture import SRModel
from edgesr.errors import MissingBackendError
from edgesr.export.npu.placement import Place
from edgesr.export.npu.read_tflite import read_tflite
from edgesr.export.npu.table_verdict import place_by_table
from edgesr.export.npu.tables import load_tables
from edgesr.export.peers.litert_torch import LiteRTTorch
from edgesr.export.peers.peer import tool_of
from edgesr.progress import silent

pytestmark = pytest.mark.slow
TABLES = {table.npu: table for table in load_tables()}


@pytest.fixture
def folder(gentle_model: SRModel, pieces: list[NDArray[np.uint8]], tmp_path: Path) -> Path:
    """The float file and the INT8 one."""
    try:
        tool_of(LiteRTTorch())
    except MissingBackendError as error:
        pytest.skip(str(error))
    with without_noise(silent):
        LiteRTTorch().quantize(gentle_model, pieces[:1], [(24, 32)], tmp_path, silent)
    return tmp_path


def test_another_converters_files(folder: Path) -> None:
    network = read_tflite(folder / "float-24x32.tflite")
    kinds = Counter(op.kind for op in network.operators)
    assert kinds["RESHAPE"] + kinds["TRANSPOSE"] >= 5 and kinds["DEPTH_TO_SPACE"] == 0
    multipliers = [op.attributes.depth_multiplier for op in network.operators if op.kind == "DEPTHWISE_CONV_2D"]
    assert multipliers == [4, 1]
    htp = place_by_table(network, TABLES["qualcomm-htp"], "SM8750").placement
    assert htp.is_whole and htp.partitions == 1
    ethos = place_by_table(network, TABLES["ethos-u85"]).placement
    assert ethos.count(Place.CPU) == len(network.operators)

    network = read_tflite(folder / "int8-24x32.tflite")
    ethos = place_by_table(network, TABLES["ethos-u85"]).placement
    refused = [(op.kind, op.remedy) for op in ethos.operators if op.place is Place.CPU]
    assert [kind for kind, _ in refused] == ["QUANTIZE", "DEQUANTIZE"]
    assert all("--io int8" in remedy for _, remedy in refused)
