from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgesr.api.peer_output import without_noise
from edgesr.architecture import SRModel
from edgesr.errors import MissingBackendError
from edgesr.export.peers.litert_torch import LiteRTTorch
from edgesr.export.peers.peer import tool_of
from edgesr.progress import silent
from edgesr.runtime.litert_runner import LiteRTRunner
from edgesr.runtime.parity import psnr_db

pytestmark = pytest.mark.slow


def test_a_file_for_each_size_that_is_near_the_network(
    gentle_model: SRModel,
    pieces: list[NDArray[np.uint8]],
    image: NDArray[np.float32],
    expected: NDArray[np.float64],
    tmp_path: Path,
) -> None:
    try:
        tool_of(LiteRTTorch())
    except MissingBackendError as error:
        pytest.skip(str(error))
    with without_noise(silent):
        files = LiteRTTorch().quantize(gentle_model, pieces, [(24, 32), (8, 6)], tmp_path, silent)
    assert [file.contract.sizes for file in files] == [((24, 32),), ((8, 6),)]
    output = LiteRTRunner(files[0].path, files[0].contract).run(image)
    assert output.shape == expected.shape and psnr_db(output, expected, peak=1) > 25
    assert LiteRTRunner(files[1].path, files[1].contract).run(image[:, :8, :6]).shape == (1, 16, 12, 3)
