"""Qualcomm's mobile SoCs with a Hexagon Tensor Processor (HTP): one literal table, read from QNN 2.51's documentation.

QNN compiles for a SoC by its number (`soc_model`) and its HTP's generation (`htp_arch`); a context binary made for one
generation does not run on an older one. Both are always given: QNN guesses whichever is missing.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from edgesr.errors import EdgeSRError


@dataclass(frozen=True)
class Soc:
    """A SoC: its marketing name, its part number, and what QNN calls it."""

    name: str
    part: str
    soc_model: int
    htp_arch: int

    def __post_init__(self) -> None:
        """Refuse numbers that QNN has no SoC for."""
        if self.soc_model < 1 or self.htp_arch < 68:
            raise ValueError(f"{self.part}: soc_model {self.soc_model} or htp_arch {self.htp_arch} is no HTP's")

    @property
    def arch(self) -> str:
        """The generation of the HTP, as Qualcomm writes it."""
        return f"v{self.htp_arch}"

    def describe(self) -> str:
        """Both names and the generation, for people."""
        return f"{self.name} ({self.part}, HTP {self.arch})"


SOCS: tuple[Soc, ...] = (
    Soc("snapdragon-8-gen-1", "SM8450", soc_model=36, htp_arch=69),
    Soc("snapdragon-8-gen-2", "SM8550", soc_model=43, htp_arch=73),
    Soc("snapdragon-8-gen-3", "SM8650", soc_model=57, htp_arch=75),
    Soc("snapdragon-8-elite", "SM8750", soc_model=69, htp_arch=79),
    Soc("snapdragon-8-elite-gen-5", "SM8850", soc_model=87, htp_arch=81),
)


def find_soc(name: str) -> Soc:
    """The SoC of that marketing name or part number, in any case; raises `EdgeSRError` naming those most like it."""
    wanted = "-".join(name.lower().replace("_", " ").split())
    for soc in SOCS:
        if wanted in (soc.name, soc.part.lower()):
            return soc
    known = [soc.name for soc in SOCS] + [soc.part.lower() for soc in SOCS]
    near = difflib.get_close_matches(wanted, known, n=3, cutoff=0.5)
    shown = " or ".join(x.upper() if x.startswith("sm") else x for x in near) or ", ".join(soc.name for soc in SOCS)
    raise EdgeSRError(f"no Qualcomm SoC is called '{name}'; choose {shown}")
