"""Which NPU a name means: a family, a member of it, or a SoC by its number or its marketing name.

Names are compared without case, spaces, hyphens and underscores. Retail phones call their SoC what no table has
(`SM8750P`): such a string means the SoC that it begins with, and the answer says so.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from edgesr.errors import EdgeSRError
from edgesr.export.npu.tables import FOLDER, NpuTable, load_tables

SCHEMA = "edgesr-npu-socs/1"
MAX_SUFFIX = 3
"""How much longer than its SoC a retail string may be."""
FAMILY_NAMES: Mapping[str, tuple[str, ...]] = {
    "qualcomm-htp": ("qualcomm", "hexagon", "snapdragon"),
    "mediatek-neuropilot": ("mediatek", "neuropilot", "dimensity"),
    "samsung-exynos": ("samsung", "exynos"),
    "google-tensor": ("google", "tensor"),
    "intel-npu": ("intel", "openvino"),
}
"""Other names of families."""


@dataclass(frozen=True)
class Soc:
    """A SoC of a family of NPUs: its name, what it is sold as, and who says so."""

    npu: str
    name: str
    marketing_name: str = ""
    marketing_source: str = ""


@dataclass(frozen=True)
class NamedNpu:
    """What a name means: the family's table, the SoC or member of the family, and what was guessed to find it."""

    name: str
    table: NpuTable
    soc: str | None = None
    note: str = ""


@cache
def load_socs() -> tuple[Soc, ...]:
    """Every SoC; raises `EdgeSRError` where their file is missing or malformed."""
    path = FOLDER / "socs.json"
    try:
        plain: Any = json.loads(path.read_text(encoding="utf-8"))
        if plain["schema"] != SCHEMA:
            raise ValueError(f"schema {plain['schema']!r}, wanted {SCHEMA!r}")
        return tuple(
            Soc(str(x["npu"]), str(x["soc"]), str(x.get("marketing_name", "")), str(x.get("marketing_source", "")))
            for x in plain["socs"]
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        why = f"{type(error).__name__}: {error}"
        raise EdgeSRError(f"{path} is no table of SoCs ({why}); install edgesr again") from error


def every_npu() -> tuple[NamedNpu, ...]:
    """Every family that has a table."""
    return tuple(NamedNpu(table.npu, table) for table in load_tables())


def find_npu(name: str) -> NamedNpu:
    """What a name means; raises `EdgeSRError`, with the names most like it, where it means nothing."""
    wanted = _plain(name)
    named = {_plain(key): found for key, found in _names().items()}
    if wanted in named:
        return named[wanted]
    for soc in sorted(load_socs(), key=lambda soc: -len(soc.name)):
        start = _plain(soc.name)
        rest = wanted.removeprefix("s5") if soc.npu == "samsung-exynos" else wanted
        if rest.startswith(start) and len(rest) - len(start) <= MAX_SUFFIX:
            found = named[start]
            note = f"'{name}' is in no table; it is read as {soc.name}, with which it begins"
            return NamedNpu(found.name, found.table, found.soc, note)
    raise EdgeSRError(f"no NPU is called '{name}'; choose {_near(wanted, named)}")


def _names() -> dict[str, NamedNpu]:
    """Every name that means an NPU; SoCs' names win over families'."""
    tables = {table.npu: table for table in load_tables()}
    names: dict[str, NamedNpu] = {}
    for npu, table in tables.items():
        for key in (
            npu,
            table.origin["facts_id"],
            *FAMILY_NAMES.get(npu, ()),
            *(f"{x}-npu" for x in FAMILY_NAMES.get(npu, ())[:1]),
        ):
            names[key] = NamedNpu(npu, table)
        names |= {model: NamedNpu(model, table, model) for model in table.models}
    for soc in load_socs():
        found = NamedNpu(soc.name, tables[soc.npu], soc.name)
        names[soc.name] = found
        if soc.marketing_name:
            short = re.sub(r"\(.*\)", "", soc.marketing_name)
            names |= {soc.marketing_name: found, short: found}
    return names


def _near(wanted: str, named: Mapping[str, NamedNpu]) -> str:
    """The names most like one; the families' where none is like it."""
    near = difflib.get_close_matches(wanted, named, n=3, cutoff=0.6)
    names = [_shown(named[key]) for key in near] or [table.npu for table in load_tables()]
    return " or ".join(dict.fromkeys(names)) if near else f"from {', '.join(names)}, or a SoC such as SM8750"


def _shown(npu: NamedNpu) -> str:
    sold = next((soc.marketing_name for soc in load_socs() if soc.name == npu.soc and soc.marketing_name), "")
    return f"{npu.name} ({sold})" if sold else npu.name


def _plain(name: str) -> str:
    return re.sub(r"[\s_\-]+", "", name).lower()
