"""What the outermost pixels lose beside the interior, on photographs that neither calibrated nor taught a file.

    python docs/ring_drop.py EXPORT_FOLDER PHOTOGRAPHS

Set5 and Set14 have few pixels in their rings, so that a drop there is mostly chance. PHOTOGRAPHS is the folder that
the INT8 files of EXPORT_FOLDER were calibrated on. Those that calibrated are left out; where an effort learned, so are
those that it learned from, and every fifth remains (`hold_out`). Squared errors are pooled over all images, and the
standard error comes from leaving one image out at a time (the jackknife).
"""

import math
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgesr.api import verify_quality
from edgesr.artifact import locate
from edgesr.images import list_images, load_rgb, save_png
from edgesr.quant.images import load_calibration_images, spread
from edgesr.quant.photographs import MAX_PHOTOGRAPHS, hold_out, labelled
from edgesr.report.values import entry
from edgesr.runtime.quality import ImageQuality


def main() -> None:
    """Print one line for each file."""
    if len(sys.argv) != 3:
        sys.exit(f"usage: {sys.argv[0]} EXPORT_FOLDER PHOTOGRAPHS")
    out, photographs = Path(sys.argv[1]), Path(sys.argv[2])
    calibrated = set(load_calibration_images(photographs).names)
    artifacts = locate(out)[1]
    learned = any(entry(artifact.facts, "quantization", "learning") for artifact in artifacts)
    paths = list_images(photographs)
    unseen = hold_out(spread(paths, MAX_PHOTOGRAPHS))[1] if learned else paths
    held = [path for path in unseen if path.name not in calibrated]
    with tempfile.TemporaryDirectory() as folder:
        lr, hr = Path(folder) / "LR", Path(folder) / "HR"
        scale = artifacts[0].contract.upscale
        for path in held:
            for pair in labelled([load_rgb(path)], scale):  # none for one that is too small
                save_png(lr / f"{path.stem}.png", pair.lr)
                save_png(hr / f"{path.stem}.png", pair.hr)
        for result in verify_quality(out, lr, hr):
            found, reference = result.quality.images, result.reference.images
            inside = pooled([x.psnr_db for x in reference], [x.psnr_db for x in found])
            ring = pooled([border_db(x) for x in reference], [border_db(x) for x in found])
            print(f"{result.file} in {result.runner}, {result.quality.n} photographs: interior {inside}, ring {ring}")


def border_db(image: ImageQuality) -> float:
    """The ring's PSNR, which networks that enlarge have."""
    assert image.border_psnr_db is not None
    return image.border_psnr_db


def pooled(reference_db: Sequence[float], found_db: Sequence[float]) -> str:
    """The drop of all images as one, and its standard error."""
    reference, found = (10 ** (-np.array(x) / 10) for x in (reference_db, found_db))
    drops = np.array([drop_db(np.delete(reference, i), np.delete(found, i)) for i in range(len(found))])
    error = math.sqrt((len(drops) - 1) * np.mean((drops - drops.mean()) ** 2))
    return f"{drop_db(reference, found):.3f} +- {error:.3f} dB"


def drop_db(reference: np.ndarray, found: np.ndarray) -> float:
    """How much larger the found squared error is, in dB."""
    return float(10 * np.log10(found.sum() / reference.sum()))


if __name__ == "__main__":
    main()
