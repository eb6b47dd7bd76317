import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edgesr.images import load_rgb
from edgesr.quant.builtin import builtin_calibration_paths

DEMO = Path(__file__).parents[2] / "docs" / "demo"
SKIMAGE_FILES = {
    "astronaut": "astronaut.png",
    "camera": "camera.png",
    "chelsea": "chelsea.png",
    "hubble": "hubble_deep_field.jpg",
    "retina": "retina.jpg",
    "rocket": "rocket.jpg",
    "text": "text.png",
}


@pytest.fixture(scope="module")
def pictures() -> NDArray[np.uint8]:
    return np.stack([load_rgb(path) for path in builtin_calibration_paths()])


def test_pictures_are_distinct_crops_of_one_size_in_a_small_package(pictures: NDArray[np.uint8]) -> None:
    assert pictures.shape == (36, 80, 120, 3)
    assert len({picture.tobytes() for picture in pictures}) == 36
    assert sum(path.stat().st_size for path in builtin_calibration_paths()) < 800_000


def test_pictures_cover_what_activation_ranges_depend_on(pictures: NDArray[np.uint8]) -> None:
    """Dark, bright, flat, busy and saturated pictures, every channel from 0 to 255."""
    flat = pictures.reshape(len(pictures), -1, 3).astype(np.float64)
    brightness, contrast = flat.mean(axis=(1, 2)), flat.std(axis=1).mean(axis=1)
    saturation = (flat.max(axis=2) - flat.min(axis=2)).mean(axis=1)
    assert brightness.min() < 25 and brightness.max() > 220
    assert contrast.min() < 15 and contrast.max() > 75
    assert saturation.min() == 0 and saturation.max() > 120
    assert pictures.min(axis=(0, 1, 2)).tolist() == [0, 0, 0]
    assert pictures.max(axis=(0, 1, 2)).tolist() == [255, 255, 255]


def test_provenance_lists_every_file_with_a_free_licence() -> None:
    paths = builtin_calibration_paths()
    text = (paths[0].parent / "PROVENANCE.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\S+\.png) \| \w+ \| [^|]+ \| (CC0|public domain|CC BY 2\.0) \| ", text, re.MULTILINE)
    assert [name for name, _ in rows] == [path.name for path in paths]


@pytest.mark.parametrize("source", sorted(SKIMAGE_FILES))
def test_recipe_in_the_provenance_makes_the_file(source: str) -> None:
    skimage_data = pytest.importorskip("skimage.data", reason="scikit-image holds the source pictures")
    original = Path(skimage_data.__file__).parent / SKIMAGE_FILES[source]
    if not original.exists():
        pytest.skip(f"this scikit-image does not ship {original.name}")
    picture = Image.open(original).convert("RGB")
    mine = [path for path in builtin_calibration_paths() if path.name.startswith(source)]
    assert mine
    for path in mine:
        f, x, y = (int(part) for part in path.stem.split("_")[1:])
        width, height = picture.width // f, picture.height // f
        reduced = picture.resize((width, height), Image.Resampling.BICUBIC, box=(0, 0, width * f, height * f))
        made = np.asarray(reduced.crop((x, y, x + 120, y + 80)), dtype=int)
        # two levels: JPEG decoders may differ by that much
        assert np.abs(made - load_rgb(path)).max() <= 2


def test_demo_photo_is_its_hr_reduced_and_not_a_calibration_image(pictures: NDArray[np.uint8]) -> None:
    hr = load_rgb(DEMO / "photo_hr.png")
    assert hr.shape == (400, 600, 3)
    reduced = np.asarray(Image.fromarray(hr).resize((150, 100), Image.Resampling.BICUBIC), dtype=int)
    assert np.abs(reduced - load_rgb(DEMO / "photo.png")).max() <= 1
    assert not any(path.name.startswith("coffee") for path in builtin_calibration_paths())
    assert "CC0" in (DEMO / "PROVENANCE.md").read_text(encoding="utf-8")
