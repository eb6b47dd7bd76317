"""PNG rows and filters against other decoders and encoders: Pillow, and ffmpeg where there are 16 bits."""

import io
import shutil
import struct
import subprocess
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgesr.pictures.picture import Metadata, OutputShape, Picture
from edgesr.pictures.png_chunks import SIGNATURE, Header, iterate_chunks, pack_chunk
from edgesr.pictures.png_filters import filter_rows, paeth_of_bytes, undo_filters
from edgesr.pictures.png_reader import ADAM7, ONE_PASS, holds_16_bits, read_png_16
from edgesr.pictures.png_writer import PngWriter

RNG = np.random.default_rng(0)
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


def smooth(height: int, width: int, samples: int, dtype: Any) -> Any:
    """A picture with slopes and some noise, so that every filter has its rows."""
    ramp = np.add.outer(np.arange(height) * 5, np.arange(width) * 3)[:, :, None] * np.arange(1, samples + 1)
    scale = 1 if dtype == np.uint8 else 201
    return (ramp * scale + RNG.integers(0, 9 * scale, (height, width, samples))).astype(dtype)


def write(pixels: Any, pieces: int = 3, metadata: Metadata | None = None) -> bytes:
    samples, bits = pixels.shape[2], 8 * pixels.itemsize
    shape = OutputShape(pixels.shape[:2], samples - (samples % 2 == 0), samples % 2 == 0, bits, metadata or Metadata())
    file = io.BytesIO()
    writer = PngWriter(file, shape)
    for part in np.array_split(pixels, pieces):
        writer.write(part) if len(part) else None
    writer.close()
    return file.getvalue()


def predicted(kind: int, left: int, up: int, corner: int) -> int:
    """The specification's sentence for one byte."""
    if kind < 4:
        return (0, left, up, (left + up) // 2)[kind]
    guess = left + up - corner
    return min((left, up, corner), key=lambda value: abs(guess - value))


def filtered_slowly(rows: Any, types: Any, above: Any, pixel: int) -> Any:
    stored, before = np.zeros_like(rows), above
    for y, row in enumerate(rows):
        for x, value in enumerate(row):
            left, corner = (int(line[x - pixel]) if x >= pixel else 0 for line in (row, before))
            stored[y, x] = (int(value) - predicted(types[y], left, int(before[x]), corner)) % 256
        before = row
    return stored


@pytest.mark.parametrize("pixel", [1, 2, 3, 4, 6, 8])
def test_filters_are_undone(pixel: int) -> None:
    rows = RNG.integers(0, 256, (300, 7 * pixel), dtype=np.uint8)
    types, above = RNG.integers(0, 5, 300).astype(np.uint8), RNG.integers(0, 256, 7 * pixel, dtype=np.uint8)
    stored = filtered_slowly(rows, types, above, pixel)
    np.testing.assert_array_equal(undo_filters(types, stored, above, pixel), rows)


@pytest.mark.parametrize("pixel", [1, 3, 6])
def test_rows_are_filtered_as_their_types_say(pixel: int) -> None:
    rows = smooth(12, 9 * pixel, 1, np.uint8)[:, :, 0]
    above = RNG.integers(0, 256, 9 * pixel, dtype=np.uint8)
    stored = filter_rows(rows, above, pixel)
    np.testing.assert_array_equal(stored[:, 1:], filtered_slowly(rows, stored[:, 0], above, pixel))


def test_the_nearest_of_all_bytes_is_the_specifications() -> None:
    levels = np.arange(256, dtype=np.uint8)
    left, up = (each.astype(np.int32) for each in np.meshgrid(levels, levels, indexing="ij"))
    for corner in range(256):
        a, b, c = (np.abs(left + up - corner - each) for each in (left, up, corner))
        nearest = np.where((a <= b) & (a <= c), left, np.where(b <= c, up, corner))
        found = paeth_of_bytes(left.astype(np.uint8), up.astype(np.uint8), np.full(left.shape, corner, np.uint8))
        np.testing.assert_array_equal(found, nearest)


@pytest.mark.parametrize("samples", MODES)
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (9, 1), (37, 50)])
def test_pillow_reads_what_is_written(samples: int, size: tuple[int, int]) -> None:
    pixels = smooth(*size, samples, np.uint8)
    image = Image.open(io.BytesIO(write(pixels)))
    assert image.mode == MODES[samples]
    np.testing.assert_array_equal(np.asarray(image).reshape(pixels.shape), pixels)


@pytest.mark.parametrize("samples", MODES)
@pytest.mark.parametrize("size", [(1, 1), (37, 50), (600, 3)])
def test_16_bits_are_read_back(samples: int, size: tuple[int, int]) -> None:
    pixels = smooth(*size, samples, np.uint16)
    file = io.BytesIO(write(pixels))
    assert holds_16_bits(file)
    assert_same(read_png_16(file), pixels)


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not installed; it decodes PNG, too")
@pytest.mark.parametrize(("samples", "bits"), [(3, 8), (1, 16), (3, 16), (4, 16)])
def test_ffmpeg_reads_the_same(samples: int, bits: int, tmp_path: Path) -> None:
    pixels = smooth(37, 50, samples, np.uint8 if bits == 8 else np.uint16)
    (tmp_path / "x.png").write_bytes(write(pixels))
    pixel_format = {(3, 8): "rgb24", (1, 16): "gray16be", (3, 16): "rgb48be", (4, 16): "rgba64be"}[samples, bits]
    line = ["ffmpeg", "-v", "error", "-i", tmp_path / "x.png", "-f", "rawvideo", "-pix_fmt", pixel_format, "-"]
    raw = subprocess.run(line, capture_output=True, check=True).stdout
    found = np.frombuffer(raw, np.uint8 if bits == 8 else ">u2").reshape(pixels.shape)
    np.testing.assert_array_equal(found, pixels)


def assert_same(picture: Picture, pixels: Any) -> None:
    samples = pixels.shape[2]
    np.testing.assert_array_equal(picture.colour, pixels[:, :, : samples - (samples % 2 == 0)])
    if samples % 2:
        assert picture.alpha is None
    else:
        np.testing.assert_array_equal(picture.alpha, pixels[:, :, -1])


def by_hand(pixels: Any, interlaced: bool = False, extra: bytes = b"", idat: int = 1 << 30) -> bytes:
    """A 16-bit PNG whose rows have every filter in turn, in one pass or seven; `extra` stands behind the pixels."""
    samples = pixels.shape[2]
    data = b""
    for top, left, down, across in ADAM7 if interlaced else ONE_PASS:
        part = pixels[top::down, left::across]
        if not part.size:
            continue
        rows = part.astype(">u2").reshape(len(part), -1).view(np.uint8)
        types = np.arange(len(rows), dtype=np.uint8) % 5
        stored = filtered_slowly(rows, types, np.zeros_like(rows[0]), 2 * samples)
        data += np.concatenate((types[:, None], stored), axis=1).tobytes()
    header = Header(pixels.shape[1], pixels.shape[0], 16, {1: 0, 2: 4, 3: 2, 4: 6}[samples], interlaced)
    body = zlib.compress(data)
    bodies = b"".join(pack_chunk(b"IDAT", body[i : i + idat]) for i in range(0, len(body), idat))
    return SIGNATURE + pack_chunk(b"IHDR", header.pack()) + bodies + extra + pack_chunk(b"IEND", b"")


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("size", [(1, 1), (3, 2), (17, 13)])
def test_all_filters_and_passes_of_16_bits(interlaced: bool, size: tuple[int, int]) -> None:
    pixels = RNG.integers(0, 65536, (*size, 3), dtype=np.uint16)
    file = by_hand(pixels, interlaced, idat=100)
    assert_same(read_png_16(io.BytesIO(file)), pixels)
    high = np.asarray(Image.open(io.BytesIO(file)))  # what Pillow keeps of them: the hand-made file is a true PNG
    np.testing.assert_array_equal(high, pixels >> 8)


def test_a_transparent_colour_becomes_alpha() -> None:
    pixels = smooth(5, 6, 3, np.uint16)
    file = by_hand(pixels, extra=pack_chunk(b"tRNS", struct.pack(">3H", *pixels[2, 3])))
    alpha = read_png_16(io.BytesIO(file)).alpha
    assert alpha is not None
    assert alpha[2, 3] == 0 and (alpha == 65535).sum() == 29


def test_metadata_stands_before_the_pixels() -> None:
    kept = Metadata(icc=b"x" * 16 + b"RGB " + b"y" * 100, exif=b"MM\0*\0\0\0\x08\0\0")
    file = io.BytesIO(write(smooth(4, 4, 3, np.uint16), metadata=kept))
    assert [kind for kind, _ in iterate_chunks(file)] == [b"IHDR", b"iCCP", b"eXIf", b"IDAT", b"IEND"]
    file.seek(0)
    assert read_png_16(file).metadata == kept
    image = Image.open(io.BytesIO(write(smooth(4, 4, 3, np.uint8), metadata=kept)))
    assert image.info["icc_profile"] == kept.icc and image.info["exif"] == b"Exif\0\0" + (kept.exif or b"")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data: data[: len(data) // 2], "ends early"),
        (lambda data: data[:45] + bytes([data[45] ^ 1]) + data[46:], "checksum of its chunk IDAT"),
        (lambda data: data[:33] + data[-12:], "pixels end early"),
    ],
)
def test_damaged_16_bits_are_refused(damage: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_png_16(io.BytesIO(damage(by_hand(smooth(9, 9, 3, np.uint16)))))


@pytest.mark.parametrize(("rows", "words"), [(3, "1 rows are missing"), (5, "1 rows too many")])
def test_a_wrong_number_of_rows_is_noticed(rows: int, words: str) -> None:
    writer = PngWriter(io.BytesIO(), OutputShape((4, 5), 3, False, 8))
    with pytest.raises(ValueError, match=words):
        writer.write(np.zeros((rows, 5, 3), np.uint8))
        writer.close()
