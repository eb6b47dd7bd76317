"""The drop in decibels: what is compared, and which images a budget is held against."""

from typing import Any

import numpy as np
import pytest
import torch

from edgesr.errors import CalibrationError
from edgesr.graph import Graph
from edgesr.quant.drop import Drop, DropMeter, byte_psnr_db
from edgesr.quant.photographs import LabelledImage, labelled
from edgesr.runtime.metrics import psnr_db


def test_a_budget_is_held_against_the_quarter_that_loses_most() -> None:
    drop = Drop((0.0, 0.1, 0.5, 0.3, -0.2, 0.0, 0.0, 0.1))
    assert drop.mean_db == pytest.approx(0.1)
    assert drop.judged_db == pytest.approx(0.4)
    assert Drop((0.1, 0.4, 0.2)).judged_db == 0.4 and Drop((0.2,)).judged_db == 0.2
    assert Drop((0.1, 0.4, 0.2, 0.3, 0.0)).judged_db == pytest.approx(0.35), "no fewer than a quarter"


@pytest.mark.parametrize("crop", [0, 2])
def test_psnr_is_that_of_the_metrics(crop: int, photographs: Any) -> None:
    label = photographs[0]
    image = np.clip(label.astype(int) + np.random.default_rng(0).integers(-9, 10, label.shape), 0, 255).astype(np.uint8)
    tensors = [torch.from_numpy(x.astype(np.float32) / 255).permute(2, 0, 1)[None] for x in (image, label)]
    assert byte_psnr_db(*tensors, crop) == pytest.approx(psnr_db(image, label, crop))
    assert byte_psnr_db(tensors[0] * 3 - 1, tensors[1], crop) < 40, "clipped, not wrapped"


def test_no_image_is_an_error(small_spanv2: Graph) -> None:
    with pytest.raises(CalibrationError, match="no image is large enough to measure a drop on"):
        DropMeter(small_spanv2, [])


def test_a_network_that_answers_with_the_label_has_no_infinite_psnr(photographs: Any) -> None:
    x = torch.from_numpy(photographs[0].astype(np.float32) / 255).permute(2, 0, 1)[None]
    assert byte_psnr_db(x, x, 0) == pytest.approx(78.1, abs=0.1)


def test_labels_are_reduced_by_the_scale(small_spanv2: Graph, photographs: Any) -> None:
    pairs = labelled(photographs, 2)
    assert all(isinstance(pair, LabelledImage) and pair.hr.shape[0] == 2 * pair.lr.shape[0] for pair in pairs)
    assert len(DropMeter(small_spanv2, pairs)._float_db) == len(pairs)
