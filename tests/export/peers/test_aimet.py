from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from edgesr.api.peer_output import without_noise
from edgesr.architecture import SRModel
from edgesr.errors import MissingBackendError
from edgesr.export.peers import aimet
from edgesr.export.peers.peer import tool_of
from edgesr.progress import silent
from edgesr.runtime.ort_runner import OrtRunner
from edgesr.runtime.parity import psnr_db


@pytest.mark.slow
def test_a_file_that_is_near_the_network(
    gentle_model: SRModel,
    pieces: list[NDArray[np.uint8]],
    image: NDArray[np.float32],
    expected: NDArray[np.float64],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    try:
        tool_of(aimet.Aimet())
    except MissingBackendError as error:
        pytest.skip(str(error))
    monkeypatch.setattr(aimet, "ITERATIONS", 20)
    with without_noise(silent):
        (file,) = aimet.Aimet().quantize(gentle_model, pieces, [(24, 32)], tmp_path, silent)
    output = OrtRunner(file.path, file.contract).run(image)
    assert output.shape == expected.shape and psnr_db(output, expected, peak=1) > 25
    assert file.contract.accepts(7, 5) is None


def test_random_numbers_repeat_inside_and_go_on_outside() -> None:
    drawn = []
    for _ in range(2):
        with aimet.seeded():
            drawn.append((torch.rand(1).item(), np.random.rand()))
    assert drawn[0] == drawn[1]
    state = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index]  # the state's legacy tuple
    with aimet.seeded():
        torch.rand(3), np.random.rand(3)
    assert torch.equal(torch.get_rng_state(), state[0]) and (np.random.get_state()[1] == state[1]).all()  # type: ignore[index]
