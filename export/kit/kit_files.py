"""The files of a kit: sources that are the same for every network, and one pair of contracts for each file.

    README.md
    cpp/      edgesr_loader.h, edgesr_loader.cpp, edgesr_tiles.cpp, CMakeLists.txt, <name>.h
    kotlin/   EdgesrLoader.kt, EdgesrTiles.kt, EdgesrBitmap.kt, <name>.kt

The header of LiteRT's C API comes from elsewhere (`android_bench.runner`) and is added by who writes the kit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from importlib.resources import files

from edgesr.export.kit.kit_model import KitModel, cpp_values, fill, kotlin_values, printable
from edgesr.padding import PADDING

SOURCES = (
    "cpp/CMakeLists.txt", "cpp/edgesr_loader.h", "cpp/edgesr_loader.cpp", "cpp/edgesr_tiles.cpp",
    "kotlin/EdgesrBitmap.kt", "kotlin/EdgesrLoader.kt", "kotlin/EdgesrTiles.kt",
)  # fmt: skip
"""What is the same in every kit."""
RESERVED = ("EDGESR_LOADER", "EDGESR_TILES", "LITERT_C_API")
"""What no model's constant is called: its header would be one of the sources."""


def kit_files(models: Sequence[KitModel]) -> Mapping[str, str]:
    """The content of every file, by its path within the kit; `models` is not empty."""
    named = dict(zip(_names(models), models, strict=True))
    content = {source: _template(source) for source in SOURCES}
    for name, model in named.items():
        content[f"cpp/{name.lower()}.h"] = fill(_template("contract.h.in"), cpp_values(model, name))
        content[f"kotlin/{name.lower()}.kt"] = fill(_template("Contract.kt.in"), kotlin_values(model, name))
    first = next(iter(named))
    scales = sorted({model.contract.upscale for model in models})
    values = {
        "VERSION": version("edgesr"),
        "UPSCALES": " or ".join(f"{scale} times" for scale in scales),
        "MODELS": "\n\n".join(_describe(model, name) for name, model in named.items()),
        "NAME": first,
        "HEADER": f"{first.lower()}.h",
    }
    return content | {"README.md": fill(_template("README.md.in"), values)}


def _names(models: Sequence[KitModel]) -> list[str]:
    """The models' identifiers; where two would be the same, or one a source's name, it gets a number."""
    names: list[str] = []
    for model in models:
        name, number = model.identifier, 2
        while name in (*names, *RESERVED):
            name, number = f"{model.identifier}_{number}", number + 1
        names.append(name)
    return names


def _template(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _describe(model: KitModel, name: str) -> str:
    """One file's contract as a heading and a table."""
    contract = model.contract
    sizes = ", ".join(f"{height}x{width}" for height, width in contract.sizes)
    padding = f", continued by padding '{PADDING}'" if contract.size_multiple > 1 else ""
    rows = [
        ("constant", f"`{name}`"),
        ("sha256", f"`{model.sha256}`"),
        ("bytes", str(model.size_bytes)),
        ("image", f"{contract.dtype.value}, {contract.layout.value}, {contract.channels} channels"),
        ("scale, zero point", f"{model.scale!r}, {model.zero_point}" if model.scale else "none: floats"),
        ("value range", f"[0, {contract.value_range:g}]"),
        ("upscale", str(contract.upscale)),
        ("sizes", f"{sizes}{', and any other' if contract.any_size else ''} (height x width of the input)"),
        ("multiple", f"{contract.size_multiple}{padding}"),
        ("host shuffle", str(contract.host_shuffle)),
        *_tiles(model),
    ]
    table = "\n".join(f"| {key} | {value} |" for key, value in (("---", "---"), *rows))
    return f"### {printable(model.file)}\n\n| | |\n{table}"


def _tiles(model: KitModel) -> list[tuple[str, str]]:
    if model.reach is None:
        return [("tiles", f"none: {model.why_whole}")]
    tile = "its own sizes" if model.tile is None else f"{model.tile[0]}x{model.tile[1]}"
    return [("reach", ", ".join(map(str, model.reach))), ("tile", tile)]
