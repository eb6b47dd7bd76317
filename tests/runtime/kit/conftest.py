"""Kits of small networks, and the C++ loader compiled with all their contracts, once."""

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgesr.artifact import IOContract
from edgesr.export.folds.host_shuffle import without_shuffle
from edgesr.export.kit.kit_files import kit_files
from edgesr.export.kit.kit_model import KitModel
from edgesr.export.tflite import emit_tflite
from edgesr.runtime.receptive_field import Reach, find_reach
from edgesr.target import IODtype, Precision

HERE = Path(__file__).parent
RUNNER_SOURCES = Path(__file__).parents[3] / "android_bench" / "runner"
TILE = (40, 48)
DENOISED_SIZES = ((288, 288), (304, 288), (336, 304))
DEFINES = """#include "edgesr_loader.h"
{includes}
struct Named {{ const char *name; const edgesr::Contract *contract; }};
inline const Named kModels[] = {{{entries}}};
"""


@dataclass(frozen=True, eq=False)
class Deployed:
    """A file, its contract, and what a kit says of both."""

    path: Path
    contract: IOContract
    model: KitModel


@pytest.fixture(scope="session")
def deployed(
    export: Callable[..., Any], denoiser: Any, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Deployed]:
    """Files that differ in all that a loader must know, by name."""
    known = {
        "fp32": deploy(export("tflite-fp32")),
        "fp16": deploy(export("tflite-fp16")),
        "int8": deploy(export("tflite-int8")),
        "uint8": deploy(export("tflite-int8", io=IODtype.UINT8)),
        "float-edges": deploy(export("tflite-int8", io=IODtype.FLOAT32)),
        "two-sizes": deploy(export("tflite-int8", sizes=((32, 48), (56, 40)))),
        "fixed": deploy(export("tflite-int8", sizes=((40, 56), (32, 32))), any_size=False),
        "fixed-fp32": deploy(export("tflite-fp32", sizes=((40, 56),)), any_size=False),
        "denoiser": deploy(export("tflite-fp32", sizes=DENOISED_SIZES, network=denoiser)),
        "denoiser-int8": deploy(export("tflite-int8", sizes=DENOISED_SIZES, network=denoiser)),
    }
    path = tmp_path_factory.mktemp("shuffled") / "shuffled.tflite"
    known["host-shuffle"] = deploy_shuffled(export("tflite-int8", sizes=((32, 48),)), path)
    whole = known["int8"].model
    unlimited = replace(whole, reach=None, tile=None, why_whole="it depends on every position")
    fp32 = known["fp32"]
    narrower = replace(fp32.model, contract=replace(fp32.contract, value_range=254 / 255))
    return known | {"no-tiles": replace(known["int8"], model=unlimited), "wrong-range": replace(fp32, model=narrower)}


def deploy(exported: Any, **changes: Any) -> Deployed:
    contract = replace(exported.contract, **changes)
    reach = find_reach(exported.network.graph)
    assert isinstance(reach, Reach)
    sides = (reach.above, reach.below, reach.left, reach.right)
    tile = TILE if contract.any_size else None
    size = exported.path.stat().st_size
    return Deployed(exported.path, contract, KitModel(exported.path.name, "0" * 64, size, contract, sides, tile))


def deploy_shuffled(exported: Any, path: Path) -> Deployed:
    """The same network without its last DEPTH_TO_SPACE."""
    network = without_shuffle(exported.network.quantized)
    path.write_bytes(emit_tflite(network, Precision.INT8, IODtype.INT8, exported.contract.sizes, {}))
    whole = deploy(exported)
    contract = replace(whole.contract, host_shuffle=exported.contract.upscale)
    model = replace(whole.model, file=path.name, size_bytes=path.stat().st_size, contract=contract)
    return Deployed(path, contract, model)


@pytest.fixture(scope="session")
def kit_folder(deployed: dict[str, Deployed], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The kit of all of them, as it is written; contracts are named by the fixture's names."""
    folder = tmp_path_factory.mktemp("kit")
    models = [replace(file.model, file=f"{name}.tflite") for name, file in deployed.items()]
    for name, content in kit_files(models).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    shutil.copy(RUNNER_SOURCES / "litert_c_api.h", folder / "cpp")
    return folder


@dataclass(frozen=True)
class CompiledLoader:
    """The loader as a program."""

    program: Path
    folder: Path

    def run(
        self, name: str, file: Deployed, image: np.ndarray, as_bytes: bool, tile: tuple[int, int] = (0, 0),
        threads: int = 1,
    ) -> tuple[np.ndarray, tuple[int, ...]]:  # fmt: skip
        """The output for an image (H, W, C), and the plan: the tile, how many there are, whether it is exact."""
        result = self.call(name, file.path, image, "u8" if as_bytes else "f32", *tile, threads)
        assert result.returncode == 0, result.stderr
        scale = file.contract.upscale
        shape = (image.shape[0] * scale, image.shape[1] * scale, image.shape[2])
        output = np.fromfile(self.folder / "output", np.uint8 if as_bytes else np.float32).reshape(shape)
        return output, tuple(map(int, result.stdout.split()))

    def call(self, name: str, path: Path, image: np.ndarray, *words: object) -> "subprocess.CompletedProcess[str]":
        image.tofile(self.folder / "input")
        paths = [path, self.folder / "input", *image.shape[:2], self.folder / "output"]
        command = [self.program, name, *paths, *words]
        return subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="session")
def litert_library() -> Path:
    """The libLiteRt.so of the installed wheel."""
    spec = find_spec("ai_edge_litert")
    library = Path(spec.origin).parent / "libLiteRt.so" if spec and spec.origin else None
    if library is None or not library.is_file():
        pytest.skip("the installed ai-edge-litert holds no libLiteRt.so")
    return library


@pytest.fixture(scope="session")
def loader(
    kit_folder: Path, deployed: dict[str, Deployed], litert_library: Path, tmp_path_factory: pytest.TempPathFactory
) -> CompiledLoader:
    return compile_loader(tmp_path_factory.mktemp("loader"), kit_folder, deployed, litert_library)


@pytest.fixture(scope="session")
def checked_loader(
    kit_folder: Path, deployed: dict[str, Deployed], litert_library: Path, tmp_path_factory: pytest.TempPathFactory
) -> CompiledLoader:
    """The same, which ends where memory is misused or lost, or arithmetic is undefined."""
    folder = tmp_path_factory.mktemp("checked")
    return compile_loader(folder, kit_folder, deployed, litert_library, "-fsanitize=address,undefined")


def compile_loader(
    folder: Path, kit: Path, deployed: dict[str, Deployed], library: Path, *extra: str
) -> CompiledLoader:
    compiler = shutil.which("c++") or shutil.which("g++")
    if compiler is None:
        pytest.skip("there is no C++ compiler; apt-get install g++")
    names = {name: name.replace("-", "_") for name in deployed}
    (folder / "models.h").write_text(
        DEFINES.format(
            includes="\n".join(f'#include "{name}.h"' for name in names.values()),
            entries=", ".join(f'{{"{key}", &edgesr::{name.upper()}}}' for key, name in names.items()),
        )
    )
    sources = [HERE / "harness.cpp", *(kit / "cpp" / name for name in ("edgesr_loader.cpp", "edgesr_tiles.cpp"))]
    flags = ["-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-fno-exceptions", "-fno-sanitize-recover", *extra]
    linking = [library, f"-Wl,-rpath,{library.parent}", "-Wl,--allow-shlib-undefined"]
    command = [compiler, *flags, "-I", folder, "-I", kit / "cpp", *sources, *linking, "-o", folder / "loader"]
    made = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    return CompiledLoader(folder / "loader", folder)
