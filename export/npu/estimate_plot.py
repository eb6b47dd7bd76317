"""An estimate drawn as one SVG file: a bar of cycles for each layer, coloured by what bounds it.

Self-contained: no script, no font, no link. Layers that Vela fused into others have no bar.
"""

from __future__ import annotations

from edgesr.export.npu.vela_report import LayerEstimate, NpuEstimate
from edgesr.svg import document, text

COLOURS = {"compute": "#2f6fb3", "SRAM": "#3a9d6e", "DRAM": "#d1812c", "flash": "#b0433f"}
"""By what bounds a layer."""
PALE = "#777777"
WIDTH, ROW, BAR = 960, 18, 12
NAMES, BARS = 260, 520
"""Where bars begin, and the width of the longest."""
HEAD, FOOT = 92, 16
NAME_LENGTH = 38


def draw_estimate(estimate: NpuEstimate, title: str) -> str:
    """The SVG text; `title` says which file."""
    layers = [layer for layer in estimate.layers if layer.cycles]
    most = max((layer.cycles for layer in layers), default=1)
    height = HEAD + ROW * len(layers) + FOOT
    parts = [
        text(16, 22, f"{title}: cycles by layer, an estimate", 'font-size="15" font-weight="bold"'),
        text(16, 41, f"{estimate.cycles:,} cycles, {estimate.milliseconds:.2f} ms at {estimate.clock_mhz} MHz", ""),
        text(16, 58, estimate.label, f'fill="{PALE}" font-size="11"'),
        *_legend(layers),
    ]
    for position, layer in enumerate(layers):
        parts += _row(layer, HEAD + ROW * position, most, estimate.cycles)
    return document(WIDTH, height, parts)


def _legend(layers: list[LayerEstimate]) -> list[str]:
    """The colours that occur, and what they mean."""
    found = [part for part in COLOURS if any(layer.bound_by == part for layer in layers)]
    parts = []
    for position, part in enumerate(found):
        x = 16 + 150 * position
        parts.append(f'<rect x="{x}" y="68" width="10" height="10" fill="{COLOURS[part]}"/>')
        parts.append(text(x + 16, 77, f"bound by {part}", f'fill="{PALE}"'))
    return parts


def _row(layer: LayerEstimate, top: int, most: int, total: int) -> list[str]:
    length = max(1.0, BARS * layer.cycles / most)
    name = layer.name if len(layer.name) <= NAME_LENGTH else "…" + layer.name[1 - NAME_LENGTH :]
    share = f"{layer.cycles:,} ({layer.cycles / total:.1%})"
    return [
        text(NAMES - 8, top + BAR - 2, name, 'text-anchor="end"'),
        f'<rect x="{NAMES}" y="{top}" width="{length:.1f}" height="{BAR}" fill="{COLOURS[layer.bound_by]}"/>',
        text(round(NAMES + length) + 6, top + BAR - 2, share, f'fill="{PALE}" font-size="11"'),
    ]
