import errno
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edgesr.errors import ExportError, ImageError
from edgesr.images import list_images, load_rgb, pair_folders, save_png

RNG = np.random.default_rng(0)
PICTURE = RNG.integers(0, 256, (6, 5, 3), dtype=np.uint8)


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, bits: int, colour_type: int, rows: bytes) -> bytes:
    """A PNG file made by hand, for what Pillow does not write (16-bit colour) or not cheaply (huge)."""
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", zlib.compress(rows))
        + png_chunk(b"IEND", b"")
    )


def touch_png(folder: Path, *names: str) -> None:
    folder.mkdir(exist_ok=True)
    for name in names:
        save_png(folder / name, PICTURE)


@pytest.mark.parametrize("name", ["x.png", "x.bmp", "x.tif", "x.TIFF", "x.webp"])
def test_lossless_formats_read_back_exactly(tmp_path: Path, name: str) -> None:
    Image.fromarray(PICTURE).save(tmp_path / name, lossless=True)
    loaded = load_rgb(tmp_path / name)
    assert loaded.dtype == np.uint8 and loaded.flags.writeable
    np.testing.assert_array_equal(loaded, PICTURE)


def test_jpeg_reads_close(tmp_path: Path) -> None:
    smooth = np.full((16, 24, 3), (200, 100, 50), np.uint8)
    Image.fromarray(smooth).save(tmp_path / "x.jpg", quality=95)
    assert np.abs(load_rgb(tmp_path / "x.jpg").astype(int) - smooth).max() <= 3


def test_greyscale_is_repeated(tmp_path: Path) -> None:
    Image.fromarray(PICTURE[:, :, 0]).save(tmp_path / "x.png")
    np.testing.assert_array_equal(load_rgb(tmp_path / "x.png"), np.stack([PICTURE[:, :, 0]] * 3, axis=2))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_greyscale_is_rounded(tmp_path: Path, suffix: str) -> None:
    values = np.array([[0, 128, 129, 257, 385, 386, 32767, 65406, 65407, 65535]], np.uint16)
    Image.fromarray(values).save(tmp_path / f"x{suffix}")
    loaded = load_rgb(tmp_path / f"x{suffix}")
    assert loaded[0, :, 0].tolist() == [0, 0, 1, 1, 1, 2, 127, 254, 255, 255]
    np.testing.assert_array_equal(loaded[0, :, 1], np.round(values[0] / 257).astype(np.uint8))


def test_16_bit_colour_widened_from_8_bits_is_exact(tmp_path: Path) -> None:
    wide = PICTURE.astype(">u2") * 257
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in wide)
    (tmp_path / "x.png").write_bytes(png(5, 6, 16, 2, rows))
    np.testing.assert_array_equal(load_rgb(tmp_path / "x.png"), PICTURE)


def test_alpha_is_dropped_not_composited(tmp_path: Path) -> None:
    alpha = np.zeros((6, 5, 1), np.uint8)
    Image.fromarray(np.concatenate([PICTURE, alpha], axis=2)).save(tmp_path / "x.png")
    np.testing.assert_array_equal(load_rgb(tmp_path / "x.png"), PICTURE)


@pytest.mark.parametrize("transparency", [None, b"\0\x80\xff"])
def test_palette_is_looked_up(tmp_path: Path, transparency: bytes | None) -> None:
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8)).convert("P")
    image.putpalette([1, 2, 3, 40, 50, 60, 250, 251, 252])
    if transparency is not None:
        image.info["transparency"] = transparency
    image.save(tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as saved:
        assert saved.mode == "P" and saved.info.get("transparency") == transparency
    assert load_rgb(tmp_path / "x.png").tolist() == [[[1, 2, 3], [40, 50, 60], [250, 251, 252]]]


def test_cmyk_is_converted(tmp_path: Path) -> None:
    Image.new("CMYK", (2, 1), (0, 255, 255, 0)).save(tmp_path / "x.tif")
    assert load_rgb(tmp_path / "x.tif").tolist() == [[[255, 0, 0], [255, 0, 0]]]


def test_one_bit_and_one_pixel(tmp_path: Path) -> None:
    Image.new("1", (1, 1), 1).save(tmp_path / "x.png")
    assert load_rgb(tmp_path / "x.png").tolist() == [[[255, 255, 255]]]


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held on its side: rotate clockwise to show
    Image.fromarray(PICTURE).save(tmp_path / "x.png", exif=exif)
    np.testing.assert_array_equal(load_rgb(tmp_path / "x.png"), np.rot90(PICTURE, -1))


def refused(path: Path, limit: float = 100.0) -> str:
    with pytest.raises(ImageError) as caught:
        load_rgb(path, max_megapixels=limit)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message and ";" in message
    return message


def test_missing_file_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path / "x.png").startswith("image not found: ")


def test_folder_is_no_image(tmp_path: Path) -> None:
    assert "is a folder" in refused(tmp_path)


def test_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.png")
    assert "not a regular file" in refused(tmp_path / "x.png")


def test_formats_off_the_list_are_refused(tmp_path: Path) -> None:
    """Pillow would start Ghostscript for an EPS file."""
    Image.fromarray(PICTURE).save(tmp_path / "x.png", format="GIF")
    assert "not an image in a known format" in refused(tmp_path / "x.png")


@pytest.mark.parametrize("content", [b"", b"hello, I am text\n"])
def test_other_content_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.png").write_bytes(content)
    assert "not an image in a known format; give PNG, JPEG, WebP, BMP or TIFF" in refused(tmp_path / "x.png")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".tif"])
def test_truncated_file_is_refused(tmp_path: Path, suffix: str) -> None:
    noise = RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = tmp_path / f"x{suffix}"
    Image.fromarray(noise).save(path)
    whole = path.read_bytes()
    for share in (0.05, 0.5, 0.9):
        path.write_bytes(whole[: int(len(whole) * share)])
        refused(path)


def test_32_bit_values_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0.5, 1e9]], np.float32)).save(tmp_path / "x.tif")
    assert "32-bit values of unknown range" in refused(tmp_path / "x.tif")


def test_large_image_is_refused_by_its_header(tmp_path: Path) -> None:
    save_png(tmp_path / "x.png", PICTURE)
    assert "5x6, over the limit of 2.9e-05 megapixels" in refused(tmp_path / "x.png", limit=29e-6)
    assert load_rgb(tmp_path / "x.png", max_megapixels=30e-6).shape == (6, 5, 3)


@pytest.mark.parametrize("side", [9_600, 10_001, 60_000])
def test_bombs_leak_no_warning(tmp_path: Path, side: int) -> None:
    """Sizes below our limit but within Pillow's warning, above our limit, and above Pillow's error."""
    (tmp_path / "x.png").write_bytes(png(side, side, 8, 2, b""))
    message = refused(tmp_path / "x.png")
    assert ("over the limit of 100 megapixels" in message) == (side > 10_000)
    assert "decompression bomb" not in message.lower()


def test_no_permission_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulated: root may read everything."""
    save_png(tmp_path / "x.png", PICTURE)

    def deny(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Image, "open", deny)
    assert "Permission denied; check its permissions" in refused(tmp_path / "x.png")


def test_save_png_keeps_the_old_file_when_writing_is_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(path: Path, data: bytes) -> None:
        with path.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise KeyboardInterrupt

    save_png(tmp_path / "x.png", PICTURE)
    before = (tmp_path / "x.png").read_bytes()
    monkeypatch.setattr(Path, "write_bytes", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_png(tmp_path / "x.png", PICTURE)
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.png"]
    assert (tmp_path / "x.png").read_bytes() == before


@pytest.mark.parametrize(
    "array", [PICTURE[:, :, 0], PICTURE[:0], PICTURE[:, :, :2], PICTURE.astype(np.float32)], ids=lambda a: str(a.shape)
)
def test_save_png_refuses_other_arrays(tmp_path: Path, array: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match=r"uint8 \(H, W, 3\)"):
        save_png(tmp_path / "x.png", array)
    assert list(tmp_path.iterdir()) == []


def test_save_png_refuses_other_suffixes(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"x\.jpg.*ends in \.png"):
        save_png(tmp_path / "x.jpg", PICTURE)


def test_list_images_sorts_and_leaves_out_the_rest(tmp_path: Path) -> None:
    touch_png(tmp_path, "b.png", "a.PNG", ".edgesr-1-ab.png")
    touch_png(tmp_path / "folder.png", "inner.png")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "dangling.png").symlink_to(tmp_path / "nowhere.png")
    assert [path.name for path in list_images(tmp_path)] == ["a.PNG", "b.png"]


def test_list_images_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ImageError, match=r"image folder not found: .*missing; check the name$"):
        list_images(tmp_path / "missing")
    with pytest.raises(ImageError, match=r"file is a file, not a folder"):
        list_images(tmp_path / "file")
    with pytest.raises(ImageError, match=r"^no images in .*; put PNG"):
        list_images(tmp_path)

    def deny(_: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "iterdir", deny)
    with pytest.raises(ImageError, match=r"^cannot list .*: Permission denied; check its permissions$"):
        list_images(tmp_path)


def test_pair_folders_by_stem_and_role_suffix(tmp_path: Path) -> None:
    touch_png(tmp_path / "lr", "0802x4.png", "baby_LR.png", "img_x4_lr.png", "x4.png")
    touch_png(tmp_path / "hr", "0802.png", "baby_HR.png", "img.png", "x4.png")
    pairs = [(low.name, high.name) for low, high in pair_folders(tmp_path / "lr", tmp_path / "hr")]
    assert pairs == [
        ("0802x4.png", "0802.png"),
        ("baby_LR.png", "baby_HR.png"),
        ("img_x4_lr.png", "img.png"),
        ("x4.png", "x4.png"),
    ]


@pytest.mark.parametrize("longer", ["lr", "hr"])
def test_pair_folders_names_what_has_no_partner(tmp_path: Path, longer: str) -> None:
    for side in ("lr", "hr"):
        touch_png(tmp_path / side, "a.png")
    touch_png(tmp_path / longer, "b.png", "c.png", "d.png", "e.png")
    shorter = "hr" if longer == "lr" else "lr"
    with pytest.raises(ImageError, match=rf"no partner in .*/{shorter} for b.png, c.png, d.png and 1 more; "):
        pair_folders(tmp_path / "lr", tmp_path / "hr")


def test_pair_folders_refuses_two_of_one_name(tmp_path: Path) -> None:
    touch_png(tmp_path / "lr", "a_x2.png", "a_x4.png")
    touch_png(tmp_path / "hr", "a.png")
    with pytest.raises(ImageError, match=r"holds a_x2.png and a_x4.png for one name"):
        pair_folders(tmp_path / "lr", tmp_path / "hr")
