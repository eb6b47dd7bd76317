"""What each NPU wants of a graph and charges for it: one literal table of families, and their members by name.

Costs are relative, in multiply-accumulates on 8-bit activations; they rank assignments of widths and are no latencies.

    cost of an operator = MACs * (1 or `wide_mac`) + bytes read and written * `byte`

A 16-bit tensor has two bytes a value. Refusals were measured: each names its source, shared facts of 2026-11-21. The
costs are assumptions, as `assumption` says: vendors do not publish them.

A family is what NPUs of one make have in common. Its members are the NPUs that a compiler compiles for, named as
`qualcomm` and `ethos_u` name them, with the family's costs.
"""

from __future__ import annotations

import difflib
import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from edgesr.errors import EdgeSRError
from edgesr.ethos_u import ETHOS_U
from edgesr.graph import Graph
from edgesr.ops import DepthToSpace, DepthwiseConv2d, HardSwish, Relu6, ResizeNearest
from edgesr.qualcomm import SOCS
from edgesr.sixteen_bits import FORMAT_REFUSALS, Refusals
from edgesr.target import Compiler, Format

_HTP_SIGNED = (
    "Qualcomm's HTP validator refuses it in signed 16 bits, the only ones of TFLite (measured with ai-edge-litert "
    "2.3.0 and the QNN 2.51 libraries, 2026-11-21)"
)


class Tail(enum.Enum):
    """How the last shuffle of sub-pixels is done."""

    DEPTH_TO_SPACE = "depth-to-space"
    HOST_SHUFFLE = "host-shuffle"


@dataclass(frozen=True)
class NpuProfile:
    """An NPU's relative costs, the tail and folds it wants, and what it refuses with 16-bit activations.

    Graph forms that spare INT8 an error may multiply the MACs by `max_mac_growth` at most. `folds` are the names of
    exact folds that pay on this NPU, each with the reason. `compilers` compile for it on this machine; a family, which
    is no single NPU, has none.
    """

    name: str
    summary: str
    wide_mac: float
    byte: float
    assumption: str
    max_mac_growth: float = 1.45
    tail: Tail = Tail.DEPTH_TO_SPACE
    tail_why: str = "it has DEPTH_TO_SPACE"
    formats: tuple[Format, ...] = (Format.TFLITE, Format.ONNX)
    refusals: Mapping[Format, Refusals] = field(default_factory=dict)
    compilers: tuple[Compiler, ...] = ()
    folds: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse costs that make 16 bits or memory free."""
        if self.max_mac_growth < 1:
            raise ValueError(f"profile '{self.name}': max_mac_growth is at least 1")
        if self.wide_mac < 1 or self.byte < 0:
            raise ValueError(f"profile '{self.name}': a 16-bit MAC costs at least 1, a byte at least 0")

    def wide_refusals(self, format_: Format) -> Refusals:
        """Why operators cannot have 16-bit activations in a format on this NPU: its runtime's reasons and its own."""
        return {**self.refusals.get(format_, {}), **FORMAT_REFUSALS[format_]}

    def host_shuffle(self, graph: Graph) -> int:
        """The block that the host shuffles by, 1 where the NPU does it or the graph ends in no shuffle."""
        last = graph.producer(graph.output)
        wanted = self.tail is Tail.HOST_SHUFFLE and isinstance(last, DepthToSpace)
        return last.block if wanted and isinstance(last, DepthToSpace) else 1


_NO_SHUFFLE = "it has no DEPTH_TO_SPACE ({}): the file gives sub-pixels as channels, the host moves them"

_ETHOS_U85 = NpuProfile(
    "ethos-u85",
    "Arm Ethos-U85 through Vela, TFLite alone; takes 16-bit convolutions, sums, products and joins",
    wide_mac=2.0,
    byte=32.0,
    assumption="16x8-bit products at half rate; SRAM of 32 bytes a cycle beside 1024 MACs a cycle; bound by MACs",
    # Of SPANV2 on ethos-u85-1024 at 128x128 and 270x480 Vela 5.2.0 estimates 4.17 and 39.19 ms plain (139,840 MACs a
    # pixel), 4.23 and 38.21 with the gate from f2 (148,032, x1.06), and 4.12 and 36.53 with that and the fold below;
    # with the head composed (169,840, x1.21) 4.36 and 39.39. So the gate is granted and the head is not.
    max_mac_growth=1.07,
    folds={
        "depthwise-before-concat": "its join is the largest tensor: taken apart, Vela 5.2.0 estimates 4.12 for 4.23 ms "
        "at 128x128 and 36.5 for 38.2 at 270x480 (SPANV2 on ethos-u85-1024 with 2 MiB, 2026-11-25)"
    },
    tail=Tail.HOST_SHUFFLE,
    tail_why=_NO_SHUFFLE.format("Vela 5.2.0, measured 2026-11-21"),
    formats=(Format.TFLITE,),
    refusals={Format.TFLITE: {HardSwish: "an int16 HARD_SWISH aborts Vela 5.2.0 (measured 2026-11-21)"}},
)

FAMILIES: tuple[NpuProfile, ...] = (
    NpuProfile(
        "generic",
        "half the MACs a cycle in 16 bits; takes what the host's runtimes take",
        wide_mac=2.0,
        byte=16.0,
        assumption="16x8-bit products are two passes of an 8x8-bit array; an array does 16 MACs for each byte it moves",
        tail_why="the host's runtimes have DEPTH_TO_SPACE",
    ),
    NpuProfile(
        "qualcomm-htp",
        "Hexagon HTP, through QNN: ONNX whole, TFLite without 16-bit depthwise, DEPTH_TO_SPACE, RESIZE and RELU6",
        wide_mac=2.0,
        byte=32.0,
        assumption="16x8-bit products are two passes; memory is scarcer than on the generic array, twice as much",
        tail_why="it has DEPTH_TO_SPACE; as RESHAPE and TRANSPOSE it moves 15 times the memory (2026-11-21)",
        refusals={
            Format.TFLITE: dict.fromkeys((DepthwiseConv2d, DepthToSpace, HardSwish, Relu6, ResizeNearest), _HTP_SIGNED)
        },
    ),
    _ETHOS_U85,
    replace(_ETHOS_U85, name="ethos-u65", summary="Arm Ethos-U65 through Vela, TFLite alone"),
    replace(_ETHOS_U85, name="ethos-u55", summary="Arm Ethos-U55 through Vela, TFLite alone"),
    NpuProfile(
        "mediatek-neuropilot",
        "MediaTek APU through LiteRT's NeuroPilot plugin, TFLite alone",
        wide_mac=2.0,
        byte=32.0,
        assumption="no figure is published; as for qualcomm-htp",
        tail=Tail.HOST_SHUFFLE,
        tail_why=_NO_SHUFFLE.format("LiteRT's plugin, read 2026-11-21"),
        formats=(Format.TFLITE,),
    ),
    NpuProfile(
        "samsung-exynos",
        "Samsung Exynos NPU through LiteRT's plugin, TFLite alone",
        wide_mac=2.0,
        byte=32.0,
        assumption="no figure is published; as for qualcomm-htp",
        tail=Tail.HOST_SHUFFLE,
        tail_why=_NO_SHUFFLE.format("LiteRT's plugin, read 2026-11-21"),
        formats=(Format.TFLITE,),
    ),
)  # fmt: skip
"""What NPUs of one make have in common; `generic` is none in particular."""


def _family(name: str) -> NpuProfile:
    return next(family for family in FAMILIES if family.name == name)


_HTP = _family("qualcomm-htp")
NPU_PROFILES: tuple[NpuProfile, ...] = (
    *FAMILIES,
    *(
        replace(
            _HTP, name=soc.name, summary=f"{soc.part}, HTP {soc.arch}", compilers=(Compiler.QNN, Compiler.LITERT_AOT)
        )
        for soc in SOCS
    ),
    *(replace(_family(npu.family), name=npu.name, summary=npu.setting, compilers=(Compiler.VELA,)) for npu in ETHOS_U),
)
"""Every name that --npu takes."""


def find_npu_profile(name: str) -> NpuProfile:
    """The profile of that name or SoC, in any case; raises `EdgeSRError` where there is none, naming the near ones."""
    parts = {soc.part.lower(): soc.name for soc in SOCS}
    wanted = parts.get(name.lower(), name.lower())
    for profile in NPU_PROFILES:
        if profile.name == wanted:
            return profile
    names = [profile.name for profile in NPU_PROFILES]
    near = difflib.get_close_matches(wanted, names + list(parts), n=3, cutoff=0.5)
    raise EdgeSRError(f"no NPU profile is called '{name}'; choose {' or '.join(near) or ', '.join(names)}")
