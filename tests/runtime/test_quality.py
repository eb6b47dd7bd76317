import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edgesr.errors import ImageError
from edgesr.images import load_rgb, pair_folders, save_png
from edgesr.progress import silent
from edgesr.runtime.metrics import psnr_db, psnr_y_db, ssim
from edgesr.runtime.quality import ImageQuality, QualityReport, measure_quality

NOT_MEASURED = {"border_psnr_db": None, "against_network": None}
SHARED = Path(os.environ.get("EDGESR_SHARED", Path(__file__).parents[3] / "shared")) / "images"


def bicubic_x4(lr: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width, _ = lr.shape
    return np.asarray(Image.fromarray(lr).resize((4 * width, 4 * height), Image.Resampling.BICUBIC))


def shared_set(name: str) -> list[tuple[Path, Path]]:
    if not (SHARED / name / "LR").is_dir():
        pytest.skip(f"{name} is not in {SHARED}; set EDGESR_SHARED to the folder that holds images/{name}")
    return pair_folders(SHARED / name / "LR", SHARED / name / "HR")


def make_set(folder: Path, sizes: list[tuple[int, int]], extra: int = 0) -> list[tuple[Path, Path]]:
    """Random LR images (height, width) with HR images x4, larger by `extra` pixels."""
    rng = np.random.default_rng(0)
    for i, (height, width) in enumerate(sizes):
        save_png(folder / "LR" / f"{i}.png", rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        hr_size = (4 * height + extra, 4 * width + extra, 3)
        save_png(folder / "HR" / f"{i}.png", rng.integers(0, 256, hr_size, dtype=np.uint8))
    return pair_folders(folder / "LR", folder / "HR")


def test_bicubic_on_set5_has_its_known_quality() -> None:
    """RGB: measured apart from this code. Y and SSIM: published for bicubic x4 as 28.42 dB and 0.8104."""
    report = measure_quality(bicubic_x4, shared_set("set5"), 4, silent)
    assert (report.n, report.crop) == (5, 4)
    assert report.psnr_db == pytest.approx(26.69, abs=0.02)
    assert report.psnr_y_db == pytest.approx(28.42, abs=0.02)
    assert report.ssim == pytest.approx(0.8104, abs=0.002)


def test_greyscale_image_of_set14_is_measured() -> None:
    grey = [pair for pair in shared_set("set14") if pair[1].name == "img_003.png"]
    with Image.open(grey[0][1]) as stored:
        assert stored.mode == "L"
    row = measure_quality(bicubic_x4, grey, 4, silent).images[0]
    assert row.psnr_y_db - row.psnr_db == pytest.approx(20 * math.log10(255 / 219), abs=1e-9)


def test_rows_and_means_are_the_metrics(tmp_path: Path) -> None:
    pairs = make_set(tmp_path, [(6, 7), (9, 5)], extra=3)
    report = measure_quality(bicubic_x4, pairs, 4, silent)
    assert [row.name for row in report.images] == ["0.png", "1.png"]
    for row, (lr, hr) in zip(report.images, pairs, strict=True):
        sr = bicubic_x4(load_rgb(lr))
        target = load_rgb(hr)[: sr.shape[0], : sr.shape[1]]
        assert (row.psnr_db, row.psnr_y_db) == (psnr_db(sr, target, 4), psnr_y_db(sr, target, 4))
        assert row.ssim == ssim(sr, target, 4)
    first, second = report.images
    assert report.psnr_db == pytest.approx((first.psnr_db + second.psnr_db) / 2)
    assert report.psnr_y_db == pytest.approx((first.psnr_y_db + second.psnr_y_db) / 2)
    assert report.ssim == pytest.approx((first.ssim + second.ssim) / 2)
    assert (report.lr_folder, report.hr_folder) == (str(tmp_path / "LR"), str(tmp_path / "HR"))


def test_the_border_and_the_network_are_compared_too(tmp_path: Path) -> None:
    """The network is asked for each image; the border ring alone is what the protocol crops."""
    pairs = make_set(tmp_path, [(6, 7), (9, 5)])
    asked = []

    def network(lr: NDArray[np.uint8]) -> NDArray[np.uint8]:
        asked.append(lr.shape)
        sr = bicubic_x4(lr).copy()
        sr[4:-4, 4:-4, 2] ^= 1
        return sr

    report = measure_quality(bicubic_x4, pairs, 4, silent, network)
    assert asked == [(6, 7, 3), (9, 5, 3)]
    for row, (lr, hr) in zip(report.images, pairs, strict=True):
        sr, target = bicubic_x4(load_rgb(lr)), load_rgb(hr)
        outside = np.ones(sr.shape[:2], bool)
        outside[4:-4, 4:-4] = False
        mse = np.mean((sr[outside].astype(float) - target[outside]) ** 2)
        assert row.border_psnr_db == pytest.approx(10 * math.log10(255**2 / mse))
        assert row.against_network is not None and row.against_network.border_psnr_db == math.inf
        assert row.against_network.interior_psnr_db == pytest.approx(20 * math.log10(255) + 10 * math.log10(3))
    assert report.border_psnr_db == pytest.approx(np.mean([row.border_psnr_db for row in report.images]))
    assert report.network_errors is not None and report.network_errors.shift_levels[:2] == (0.0, 0.0)
    written = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert (
        written["against_network"]["border_psnr_db"]
        == "inf"
        == written["images"][0]["against_network"]["border_psnr_db"]
    )
    assert measure_quality(bicubic_x4, pairs, 4, silent).network_errors is None


def test_scale_one_crops_nothing(tmp_path: Path) -> None:
    """The border pixel is the only difference, so any crop would report equal images."""
    pairs = make_set(tmp_path, [(6, 7)])

    def invert_corner(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        changed = image.copy()
        changed[0, 0] = 255 - changed[0, 0]
        return changed

    report = measure_quality(invert_corner, [(pairs[0][1], pairs[0][1])], 1, silent)
    assert report.crop == 0 and report.psnr_db < 60


def test_progress_runs_from_nothing_to_all(tmp_path: Path) -> None:
    seen = []
    pairs = make_set(tmp_path, [(6, 7), (9, 5)])
    measure_quality(bicubic_x4, pairs, 4, lambda stage, done, total: seen.append((stage, done, total)))
    assert seen == [("quality", 0, 2), ("quality", 1, 2), ("quality", 2, 2)]


def test_json_holds_rows_means_and_folders_and_survives_infinity() -> None:
    rows = (ImageQuality("a.png", math.inf, math.inf, 1.0), ImageQuality("b.png", 30.0, 32.0, 0.9))
    report = QualityReport(rows, "LR", "HR", 4, 4)
    written = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert written == {
        "lr_folder": "LR",
        "hr_folder": "HR",
        "scale": 4,
        "crop": 4,
        "n": 2,
        "psnr_db": "inf",
        "psnr_y_db": "inf",
        "ssim": 0.95,
        "border_psnr_db": None,
        "against_network": None,
        "images": [
            {"name": "a.png", "psnr_db": "inf", "psnr_y_db": "inf", "ssim": 1.0} | NOT_MEASURED,
            {"name": "b.png", "psnr_db": 30.0, "psnr_y_db": 32.0, "ssim": 0.9} | NOT_MEASURED,
        ],
    }


def test_pairs_of_another_scale_are_refused_by_name(tmp_path: Path) -> None:
    pairs = make_set(tmp_path, [(6, 7)])
    with pytest.raises(ImageError, match=r"LR/0.png and .*HR/0.png do not fit: HR of 24x28 is not x2 of LR 6x7; "):
        measure_quality(bicubic_x4, pairs, 2, silent)


def test_too_small_an_image_is_refused_by_name(tmp_path: Path) -> None:
    pairs = make_set(tmp_path, [(6, 7), (4, 30)])
    with pytest.raises(ImageError, match=r"HR/1.png is too small to measure: 19x19 pixels are needed"):
        measure_quality(bicubic_x4, pairs, 4, silent)


def test_damaged_image_is_refused_by_name(tmp_path: Path) -> None:
    pairs = make_set(tmp_path, [(6, 7)])
    pairs[0][0].write_text("no image")
    with pytest.raises(ImageError, match=r"LR/0.png is not an image"):
        measure_quality(bicubic_x4, pairs, 4, silent)


def test_network_of_another_scale_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"images of one size are compared, not \(6, 7, 3\) and \(24, 28, 3\)"):
        measure_quality(lambda lr: lr, make_set(tmp_path, [(6, 7)]), 4, silent)


def test_no_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one image"):
        measure_quality(bicubic_x4, [], 4, silent)
