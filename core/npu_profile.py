"""What an NPU charges for 16-bit activations, and which operators it refuses with them: one literal table.

Costs are relative, in multiply-accumulates on 8-bit activations; they rank assignments of widths and are no latencies.

    cost of an operator = MACs * (1 or `wide_mac`) + bytes read and written * `byte`

A 16-bit tensor has two bytes a value. Refusals were measured: each names its source, shared facts of 2026-11-21. The
costs are assumptions, as `assumption` says: vendors do not publish them.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field

from edgesr.errors import EdgeSRError
from edgesr.ops import DepthToSpace, DepthwiseConv2d, HardSwish, Relu6, ResizeNearest
from edgesr.sixteen_bits import FORMAT_REFUSALS, Refusals
from edgesr.target import Format

_HTP_SIGNED = (
    "Qualcomm's HTP validator refuses it in signed 16 bits, the only ones of TFLite (measured with ai-edge-litert "
    "2.3.0 and the QNN 2.51 libraries, 2026-11-21)"
)


@dataclass(frozen=True)
class NpuProfile:
    """An NPU's relative costs, and the operators that it refuses with 16-bit activations in each format.

    Graph forms that spare INT8 an error may multiply the MACs by `max_mac_growth` at most.
    """

    name: str
    summary: str
    wide_mac: float
    byte: float
    assumption: str
    max_mac_growth: float = 1.45
    formats: tuple[Format, ...] = (Format.TFLITE, Format.ONNX)
    refusals: Mapping[Format, Refusals] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse costs that make 16 bits or memory free."""
        if self.max_mac_growth < 1:
            raise ValueError(f"profile '{self.name}': max_mac_growth is at least 1")
        if self.wide_mac < 1 or self.byte < 0:
            raise ValueError(f"profile '{self.name}': a 16-bit MAC costs at least 1, a byte at least 0")

    def wide_refusals(self, format_: Format) -> Refusals:
        """Why operators cannot have 16-bit activations in a format on this NPU: its runtime's reasons and its own."""
        return {**self.refusals.get(format_, {}), **FORMAT_REFUSALS[format_]}


NPU_PROFILES: tuple[NpuProfile, ...] = (
    NpuProfile(
        "generic",
        "half the MACs a cycle in 16 bits; takes what the host's runtimes take",
        wide_mac=2.0,
        byte=16.0,
        assumption="16x8-bit products are two passes of an 8x8-bit array; an array does 16 MACs for each byte it moves",
    ),
    NpuProfile(
        "qualcomm-htp",
        "Hexagon HTP, through QNN: ONNX whole, TFLite without 16-bit depthwise, DEPTH_TO_SPACE, RESIZE and RELU6",
        wide_mac=2.0,
        byte=32.0,
        assumption="16x8-bit products are two passes; memory is scarcer than on the generic array, twice as much",
        refusals={
            Format.TFLITE: dict.fromkeys((DepthwiseConv2d, DepthToSpace, HardSwish, Relu6, ResizeNearest), _HTP_SIGNED)
        },
    ),
    NpuProfile(
        "ethos-u85",
        "Arm Ethos-U85 through Vela, TFLite alone; takes 16-bit convolutions, sums, products and joins",
        wide_mac=2.0,
        byte=32.0,
        assumption="16x8-bit products at half rate; SRAM of 32 bytes a cycle beside 1024 MACs a cycle; bound by MACs",
        max_mac_growth=1.3,
        formats=(Format.TFLITE,),
        refusals={Format.TFLITE: {HardSwish: "an int16 HARD_SWISH aborts Vela 5.2.0 (measured 2026-11-21)"}},
    ),
)


def find_npu_profile(name: str) -> NpuProfile:
    """The profile of that name; raises `EdgeSRError` where there is none, naming those most like it."""
    for profile in NPU_PROFILES:
        if profile.name == name:
            return profile
    names = [profile.name for profile in NPU_PROFILES]
    near = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.3)
    raise EdgeSRError(f"no NPU profile is called '{name}'; choose {' or '.join(near) or ', '.join(names)}")
