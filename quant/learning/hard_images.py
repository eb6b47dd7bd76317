"""Inputs that photographs under-represent: screens, text, drawings, strong contrast, scenes reduced until they alias.

Ranges learned on photographs alone clip on such images, and one clipped gate costs more than all rounding together.
They are made as large as the network's output and reduced by its scale, so that their truth is known.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from edgesr.degradation import downsample, resized
from edgesr.images import Image8
from edgesr.quant.photographs import LabelledImage

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
SUPERSAMPLING = 4
"""Pixels that are drawn for each pixel of an input, or more."""
REDUCTIONS = (1.25, 1.5, 2.0)
"""How much further an image is reduced: its edges then lie closer together than in the images that it came from."""


def hard_images(
    sources: Sequence[Image8], count: int, side: int, scale: int, generator: np.random.Generator
) -> list[LabelledImage]:
    """`count` inputs (side, side, C) with their truth, `scale` times as large: in turn reduced, stretched and drawn.

    C is that of the sources, 3 or 1.
    """
    makers = (_reduced, _stretched, _drawn)
    pictures = [makers[i % 3](sources, side, scale, generator) for i in range(count)]
    return [LabelledImage(downsample(picture, scale), picture) for picture in pictures]


def _reduced(sources: Sequence[Image8], side: int, scale: int, generator: np.random.Generator) -> Image8:
    """A piece of a source, reduced once more, in slightly raised contrast."""
    large = side * scale
    piece = _piece(sources, round(large * float(generator.choice(REDUCTIONS))), generator)
    return _contrasted(resized(piece, (large, large)), float(generator.uniform(1.0, 1.6)), generator)


def _stretched(sources: Sequence[Image8], side: int, scale: int, generator: np.random.Generator) -> Image8:
    """A piece of a source with its contrast stretched until much of it saturates."""
    large = side * scale
    piece = resized(_piece(sources, large, generator), (large, large))
    return _contrasted(piece, float(generator.uniform(1.5, 3.5)), generator)


def _contrasted(image: Image8, gain: float, generator: np.random.Generator) -> Image8:
    values = (image.astype(np.float32) - image.mean()) * gain + float(generator.uniform(60, 195))
    contrasted: Image8 = np.rint(np.clip(values, 0, 255)).astype(np.uint8)
    return contrasted


def _piece(sources: Sequence[Image8], side: int, generator: np.random.Generator) -> Image8:
    """A random square of a random source, at most `side` pixels a side."""
    image = sources[int(generator.integers(len(sources)))]
    side = min(side, *image.shape[:2])
    top, left = (int(generator.integers(n - side + 1)) for n in image.shape[:2])
    return image[top : top + side, left : left + side]


def _drawn(sources: Sequence[Image8], side: int, scale: int, generator: np.random.Generator) -> Image8:
    """Shapes, lines and text in flat colours, drawn larger and reduced."""
    factor = max(2 * scale, SUPERSAMPLING)
    large, unit = side * factor, factor / SUPERSAMPLING
    picture = Image.new("RGB", (large, large), _colour(generator))
    pen = ImageDraw.Draw(picture)
    for _ in range(int(generator.integers(3, 9))):
        x0, y0, x1, y1 = (int(v) for v in generator.integers(-large // 8, large + large // 8, 4))
        box, colour = (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)), _colour(generator)
        kind = int(generator.integers(4))
        if kind == 0:
            pen.rectangle(box, fill=colour)
        elif kind == 1:
            pen.line((x0, y0, x1, y1), fill=colour, width=round(unit * generator.integers(1, 10)))
        elif kind == 2:
            pen.ellipse(box, outline=colour, width=round(unit * generator.integers(1, 8)))
        else:
            text = "".join(generator.choice(list(LETTERS), 8))
            font = ImageFont.load_default(size=round(unit * generator.integers(10, 60)))
            pen.text((x0, y0), text, fill=colour, font=font)
    is_grey = sources[0].shape[2] == 1
    drawn = np.asarray(picture.convert("L"))[:, :, None] if is_grey else np.asarray(picture)
    return resized(drawn, (side * scale, side * scale))


def _colour(generator: np.random.Generator) -> tuple[int, int, int]:
    """Corners of the colour cube, greys at the ends, and anything else."""
    draw = generator.random()
    if draw < 0.3:
        r, g, b = (int(v) for v in generator.choice([0, 255], 3))
    elif draw < 0.65:
        r = g = b = int(generator.choice([0, 255]))
    else:
        r, g, b = (int(v) for v in generator.integers(0, 256, 3))
    return r, g, b
