"""Inputs that photographs under-represent: screens, text, drawings, strong contrast, scenes reduced until they alias.

Ranges learned on photographs alone clip on such images, and one clipped gate costs more than all rounding together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from edgesr.images import Image8

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
SUPERSAMPLING = 4
REDUCTIONS = (1.25, 1.5, 2.0)
"""How much further an input is reduced: its edges then lie closer together than in the images that it came from."""


def hard_images(inputs: Sequence[Image8], count: int, side: int, generator: np.random.Generator) -> list[Image8]:
    """`count` RGB images (side, side, 3), in turn reduced, stretched in contrast, and drawn."""
    makers = (_reduced, _stretched, _drawn)
    return [makers[i % 3](inputs, side, generator) for i in range(count)]


def _reduced(inputs: Sequence[Image8], side: int, generator: np.random.Generator) -> Image8:
    """A piece of an input, reduced once more, in slightly raised contrast."""
    piece = _piece(inputs, round(side * float(generator.choice(REDUCTIONS))), generator)
    small = Image.fromarray(piece).resize((side, side), Image.Resampling.BICUBIC)
    return _contrasted(np.asarray(small), float(generator.uniform(1.0, 1.6)), generator)


def _stretched(inputs: Sequence[Image8], side: int, generator: np.random.Generator) -> Image8:
    """A piece of an input with its contrast stretched until much of it saturates."""
    piece = Image.fromarray(_piece(inputs, side, generator)).resize((side, side), Image.Resampling.BICUBIC)
    return _contrasted(np.asarray(piece), float(generator.uniform(1.5, 3.5)), generator)


def _contrasted(image: Image8, gain: float, generator: np.random.Generator) -> Image8:
    values = (image.astype(np.float32) - image.mean()) * gain + float(generator.uniform(60, 195))
    contrasted: Image8 = np.rint(np.clip(values, 0, 255)).astype(np.uint8)
    return contrasted


def _piece(inputs: Sequence[Image8], side: int, generator: np.random.Generator) -> Image8:
    """A random square of a random input, at most `side` pixels a side."""
    image = inputs[int(generator.integers(len(inputs)))]
    side = min(side, *image.shape[:2])
    top, left = (int(generator.integers(n - side + 1)) for n in image.shape[:2])
    return image[top : top + side, left : left + side]


def _drawn(inputs: Sequence[Image8], side: int, generator: np.random.Generator) -> Image8:
    """Shapes, lines and text in flat colours, drawn four times as large and reduced."""
    del inputs
    large = side * SUPERSAMPLING
    picture = Image.new("RGB", (large, large), _colour(generator))
    pen = ImageDraw.Draw(picture)
    for _ in range(int(generator.integers(3, 9))):
        x0, y0, x1, y1 = (int(v) for v in generator.integers(-large // 8, large + large // 8, 4))
        box, colour = (min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)), _colour(generator)
        kind = int(generator.integers(4))
        if kind == 0:
            pen.rectangle(box, fill=colour)
        elif kind == 1:
            pen.line((x0, y0, x1, y1), fill=colour, width=int(generator.integers(1, 10)))
        elif kind == 2:
            pen.ellipse(box, outline=colour, width=int(generator.integers(1, 8)))
        else:
            text = "".join(generator.choice(list(LETTERS), 8))
            pen.text((x0, y0), text, fill=colour, font=ImageFont.load_default(size=int(generator.integers(10, 60))))
    return np.asarray(picture.resize((side, side), Image.Resampling.BICUBIC))


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
