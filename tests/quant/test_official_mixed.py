"""A budget of 0.03 dB on the official SPANV2 x4, held by a real ONNX file on Set14, which chose nothing."""

from pathlib import Path

import pytest
import torch

from edgesr.api import ExportRequest, export
from edgesr.api.verifying import as_image_function
from edgesr.architecture import SRModel
from edgesr.artifact import IOContract
from edgesr.images import pair_folders
from edgesr.progress import silent
from edgesr.runtime.quality import measure_quality
from edgesr.runtime.runner import Runner
from edgesr.runtime.runners import open_runner
from edgesr.runtime.torch_runner import TorchRunner
from edgesr.target import IODtype, Layout, find_target

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]

BUDGET_DB = 0.03


def psnr_db(runner: Runner, contract: IOContract, dataset: Path) -> float:
    pairs = pair_folders(dataset / "LR", dataset / "HR")
    return measure_quality(as_image_function(runner, contract), pairs, contract.upscale, silent).psnr_db


def test_a_budget_chosen_on_photographs_holds_on_set14(official_model: SRModel, shared: Path, tmp_path: Path) -> None:
    photographs, weights = shared / "images" / "train_bsds500", shared / "checkpoints" / "spanv2_x4_official.pth"
    if not photographs.is_dir():
        pytest.skip(f"no training photographs at {photographs}")
    target = find_target("onnx-int8")
    assert target is not None
    request = ExportRequest(
        targets=(target,), out=tmp_path, weights=weights, calibration=photographs, max_drop_db=BUDGET_DB,
        npus=("qualcomm-htp",),
    )  # fmt: skip
    (artifact,) = export(request).artifacts
    facts = artifact.facts["quantization"]
    assert isinstance(facts, dict)
    print("chosen:", facts["chosen"], "judged", facts["judged_drop_db"], "mean", facts["mean_drop_db"])
    print("cost, 8 bits being 1:", facts["cost_per_pixel"] / facts["cost_per_pixel_of_8_bits"])
    runner = open_runner("onnxruntime", target, tmp_path / artifact.file, artifact.contract)
    exact = TorchRunner(official_model, torch.float32)
    floats = IOContract(IODtype.FLOAT32, Layout.NHWC, 3, 4, 1.0, (), any_size=True)
    for name, limit in (("set14", BUDGET_DB), ("set5", 2 * BUDGET_DB)):
        dataset = shared / "images" / name
        drop = psnr_db(exact, floats, dataset) - psnr_db(runner, artifact.contract, dataset)
        print(f"{name}: drop {drop:.4f} dB in ONNX Runtime")
        assert drop <= limit
    assert len(facts["chosen"]) > 0 and facts["judged_drop_db"] <= BUDGET_DB < facts["judged_drop_db_of_8_bits"]
