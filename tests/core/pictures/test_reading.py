"""Pictures in every mode, with every orientation, with what belongs to them."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from edgesr.errors import ImageError
from edgesr.images import load_rgb
from edgesr.pictures.exif import PREFIX, read_orientation, reset_orientation
from edgesr.pictures.formats import PICTURE_FORMATS, PNG, find_format, format_of
from edgesr.pictures.picture import Metadata, OutputShape, Picture
from edgesr.pictures.png_writer import PngWriter
from edgesr.pictures.reading import picture_size, read_picture
from edgesr.pictures.writing import open_writer

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (6, 5, 3), dtype=np.uint8)
ALPHA = RNG.integers(0, 256, (6, 5), dtype=np.uint8)
RGBA = np.concatenate((COLOURS, ALPHA[:, :, None]), axis=2)
MAKER_NOTE = b"offsets in here must not move"


def exif_of(orientation: int, order: str = "big") -> bytes:
    exif = Image.Exif()
    exif.endian = ">" if order == "big" else "<"
    exif[0x0112], exif[0x010F] = orientation, "Maker"
    exif.get_ifd(0x8769)[0x927C] = MAKER_NOTE
    return exif.tobytes().removeprefix(PREFIX)


def profile(space: str) -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(space)).tobytes()


def saved(image: Image.Image, kind: str, **options: Any) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, kind, **options)
    file.seek(0)
    return file


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_every_orientation_is_applied_and_reset(orientation: int, kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"x.{kind.lower()}"
    Image.fromarray(RGBA).save(path, kind, lossless=True, exact=True, exif=PREFIX + exif_of(orientation))
    picture = read_picture(path)
    np.testing.assert_array_equal(picture.colour, load_rgb(path))
    with Image.open(path) as image:
        upright = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(np.dstack((picture.colour, picture.alpha)), upright)
    exif = picture.metadata.exif
    assert exif is not None and read_orientation(exif) == 1 and MAKER_NOTE in exif and b"Maker" in exif


@pytest.mark.parametrize("order", ["big", "little"])
@pytest.mark.parametrize("orientation", [1, 6, 8])
def test_only_the_orientation_changes(order: str, orientation: int) -> None:
    exif = exif_of(orientation, order)
    assert read_orientation(exif) == orientation
    reset = reset_orientation(exif)
    changed = [i for i, (a, b) in enumerate(zip(exif, reset, strict=True)) if a != b]
    assert len(changed) == (0 if orientation == 1 else 1) and read_orientation(reset) == 1


@pytest.mark.parametrize(
    "exif", [b"", b"II", b"MM\0*\xff\xff\xff\xff", exif_of(6)[:16], exif_of(6)[:30], b"II*\0\x08\0\0\0\xff\xff"]
)
def test_damaged_exif_is_kept_as_it_is(exif: bytes) -> None:
    assert reset_orientation(exif) == exif and read_orientation(exif) == 1


def test_an_orientation_that_does_not_exist_is_upright() -> None:
    exif = exif_of(77)
    assert read_orientation(exif) == 1 and read_orientation(reset_orientation(exif)) == 1


def grey_palette() -> Image.Image:
    return Image.fromarray(COLOURS).quantize(16)


@pytest.mark.parametrize(
    ("image", "channels", "has_alpha"),
    [
        (Image.fromarray(COLOURS[:, :, 0]), 1, False),
        (Image.fromarray(COLOURS[:, :, 0] > 99), 1, False),
        (Image.fromarray(RGBA[:, :, 2:]), 1, True),
        (Image.fromarray(COLOURS), 3, False),
        (Image.fromarray(RGBA), 3, True),
        (grey_palette(), 3, False),
    ],
    ids=["L", "1", "LA", "RGB", "RGBA", "P"],
)
def test_modes_are_kept(image: Image.Image, channels: int, has_alpha: bool) -> None:
    picture = read_picture(saved(image, "PNG"), name="x")
    assert (picture.channels, picture.alpha is not None, picture.bits) == (channels, has_alpha, 8)
    wanted = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(np.broadcast_to(picture.colour, wanted.shape), wanted)
    if has_alpha:
        np.testing.assert_array_equal(picture.alpha, RGBA[:, :, 3])


@pytest.mark.parametrize(("image", "key"), [(Image.fromarray(COLOURS[:, :, 0]), 7), (grey_palette(), 3)])
def test_a_transparent_colour_becomes_alpha(image: Image.Image, key: int) -> None:
    image.putpixel((2, 1), key)
    alpha = read_picture(saved(image, "PNG", transparency=key), name="x").alpha
    assert alpha is not None and alpha[1, 2] == 0 and alpha.max() == 255


@pytest.mark.parametrize("samples", [1, 3, 4])
def test_16_bit_png_is_turned_and_keeps_all_bits(samples: int, tmp_path: Path) -> None:
    pixels = RNG.integers(0, 65536, (6, 5, samples), dtype=np.uint16)
    icc = profile("sRGB")
    shape = OutputShape((6, 5), min(samples, 3), samples == 4, 16, Metadata(icc, exif_of(6)))
    with (tmp_path / "x.png").open("wb") as file:
        writer = PngWriter(file, shape)
        writer.write(pixels)
        writer.close()
    picture = read_picture(tmp_path / "x.png")
    turned = np.rot90(pixels, -1)
    np.testing.assert_array_equal(picture.colour, turned[:, :, :3])
    if samples == 4:
        np.testing.assert_array_equal(picture.alpha, turned[:, :, 3])
    assert picture.bits == 16 and picture.metadata.icc == icc and read_orientation(picture.metadata.exif or b"") == 1
    assert picture_size(tmp_path / "x.png") == (6, 5)


def test_a_damaged_16_bit_png_is_told(tmp_path: Path) -> None:
    file = io.BytesIO()
    writer = PngWriter(file, OutputShape((60, 50), 3, False, 16))
    writer.write(RNG.integers(0, 65536, (60, 50, 3), dtype=np.uint16))
    writer.close()
    (tmp_path / "x.png").write_bytes(file.getvalue()[:9000])
    with pytest.raises(ImageError, match=r"cannot decode .*x\.png: it ends early; copy or export it again"):
        read_picture(tmp_path / "x.png")


@pytest.mark.parametrize("mode", ["I", "F"])
def test_values_of_unknown_range_are_refused(mode: str) -> None:
    with pytest.raises(ImageError, match="x holds 32-bit values of unknown range"):
        read_picture(saved(Image.new(mode, (4, 4)), "TIFF"), name="x")


def test_cmyk_becomes_rgb_without_its_profile() -> None:
    cmyk = b"\0" * 16 + b"CMYK" + b"\0" * 108
    file = saved(Image.fromarray(COLOURS).convert("CMYK"), "JPEG", icc_profile=cmyk)
    picture = read_picture(file, name="x")
    assert picture.channels == 3 and picture.metadata.icc == cmyk
    assert OutputShape.enlarged(picture, 2, PNG).metadata.icc is None


@pytest.mark.parametrize(("space", "channels", "kept"), [("sRGB", 3, True), ("sRGB", 1, False), ("XYZ", 3, False)])
def test_a_profile_for_other_colours_goes(space: str, channels: int, kept: bool) -> None:
    icc = profile(space)
    assert Metadata(icc).fitting(channels).icc == (icc if kept else None)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_profile_and_exif_are_written(kind: str, tmp_path: Path) -> None:
    found = find_format(kind)
    assert found is not None
    path, metadata = tmp_path / f"x{found.suffix}", Metadata(profile("sRGB"), exif_of(1))
    with path.open("wb") as file:
        writer = open_writer(file, found, OutputShape((6, 5), 3, False, 8, metadata))
        writer.write(COLOURS[:4])
        writer.write(COLOURS[4:])
        writer.close()
    again = read_picture(path)
    assert again.metadata == metadata and again.size == (6, 5)
    if kind == "JPEG":
        with Image.open(path) as image:
            assert image.layer[0][1:3] == image.layer[1][1:3] == (1, 1)  # 4:4:4


def test_formats_by_name_and_what_they_refuse() -> None:
    assert [format_of(Path(f"x{s}")) for s in (".PNG", ".jpeg", ".gif")] == [PNG, PICTURE_FORMATS[1], None]
    assert find_format("webp") is PICTURE_FORMATS[2] and find_format("tiff") is None
    assert PNG.refusal((400_000, 400_000), has_alpha=True) is None
    jpeg = PICTURE_FORMATS[1]
    assert "at most 65500 pixels to a side, not 70000x10" in (jpeg.refusal((10, 70_000), False) or "")


@pytest.mark.parametrize("alpha", [np.zeros((6, 4), np.uint8), np.zeros((6, 5), np.uint16)])
def test_transparency_of_another_kind_is_no_picture(alpha: Any) -> None:
    with pytest.raises(ValueError, match="the transparency of"):
        Picture(COLOURS, alpha)
