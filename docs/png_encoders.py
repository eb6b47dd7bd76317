"""Time and size of the ways to deflate a PNG's rows: the table of docs/adr/0019-isal.md.

Usage: python docs/png_encoders.py PHOTOGRAPHS [--size 1080x1920] [--images 6] [--rounds 5]

Each photograph is enlarged to the size by bicubic interpolation, as a network's output is smooth, and filtered as
`edgesr run` does; each way then deflates the rows as they come. Of processor times the least of the rounds is kept, as
others use the machine too.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
from isal import isal_zlib

from edgesr.cli.console import Size, print_table
from edgesr.degradation import resized
from edgesr.images import list_images, load_rgb
from edgesr.pictures.png_filters import filter_rows

ROWS = 32
WAYS: dict[str, Callable[[], Any]] = {
    "zlib, level 1": lambda: zlib.compressobj(1),
    "zlib, level 6": lambda: zlib.compressobj(6),
    "zlib, runs alone": lambda: zlib.compressobj(6, strategy=zlib.Z_RLE),
    **{f"ISA-L, level {level}": (lambda level=level: isal_zlib.compressobj(level)) for level in range(4)},
}


def filtered(picture: np.ndarray) -> list[bytes]:
    """The picture's rows (H, W, 3) as a PNG stores them, some at a time."""
    plain = picture.reshape(len(picture), -1)
    above, parts = np.zeros(plain.shape[1], np.uint8), []
    for start in range(0, len(plain), ROWS):
        rows = plain[start : start + ROWS]
        parts.append(filter_rows(rows, above, picture.shape[2]).tobytes())
        above = rows[-1]
    return parts


def deflate(parts: list[bytes], make: Callable[[], Any]) -> tuple[float, int]:
    """Seconds of processor time, and bytes."""
    started = time.thread_time()
    deflater = make()
    length = sum(len(deflater.compress(part)) for part in parts) + len(deflater.flush())
    return time.thread_time() - started, length


@click.command()
@click.argument("photographs", type=click.Path(path_type=Path))
@click.option("--size", default="1080x1920", show_default=True, type=Size())
@click.option("--images", default=6, show_default=True, type=click.IntRange(1))
@click.option("--rounds", default=5, show_default=True, type=click.IntRange(1))
def command(photographs: Path, size: tuple[int, int], images: int, rounds: int) -> None:
    """Print the table for the first IMAGES of PHOTOGRAPHS."""
    pictures = [filtered(resized(load_rgb(path), size)) for path in list_images(photographs)[:images]]
    rows = []
    for name, make in WAYS.items():
        found = [[deflate(parts, make) for _ in range(rounds)] for parts in pictures]
        seconds = sum(min(each)[0] for each in found) / len(found)
        share = sum(each[0][1] for each in found) / (len(found) * 3 * size[0] * size[1])
        rows.append((name, f"{1e3 * seconds:.1f}", f"{share:.3f}"))
    print_table(("deflated by", "ms", "size / pixels' bytes"), rows, right=(1, 2))
    click.echo(f"\n{len(pictures)} photographs enlarged to {size[0]}x{size[1]}, processor time of one thread")


if __name__ == "__main__":
    command()
