"""The deployment kit of an export: every constant is the manifest's, and what no loader takes is refused by name."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgesr.api import ExportRequest, export, write_kit
from edgesr.api.running import open_artifact
from edgesr.artifact import Artifact, load_manifest
from edgesr.errors import ArtifactError, ExportError
from edgesr.export.kit.kit_files import RESERVED, kit_files
from edgesr.runtime.receptive_field import Reach

SAME = {
    "README.md", "cpp/CMakeLists.txt", "cpp/edgesr_loader.cpp", "cpp/edgesr_loader.h", "cpp/edgesr_tiles.cpp",
    "cpp/litert_c_api.h", "kotlin/EdgesrBitmap.kt", "kotlin/EdgesrLoader.kt", "kotlin/EdgesrTiles.kt",
}  # fmt: skip


@pytest.fixture(scope="module")
def kit(exported_once: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The kit of the small network in every target."""
    return write_kit(exported_once.manifest.folder, tmp_path_factory.mktemp("kit"))


def artifact_of(kit_of: Any, folder: Path, target: str) -> tuple[Artifact, Any]:
    (artifact,) = [a for a in load_manifest(folder).artifacts if a.target == target]
    (model,) = [model for model in kit_of.models if model.file == artifact.file]
    return artifact, model


def test_every_tflite_file_gets_its_contract(kit: Any, exported_once: Any) -> None:
    tflite = [a.file for a in exported_once.manifest.artifacts if a.file.endswith(".tflite")]
    assert [model.file for model in kit.models] == tflite and len(tflite) == 4
    own = {f"{folder}/{model.identifier.lower()}.{suffix}"
           for model in kit.models for folder, suffix in (("cpp", "h"), ("kotlin", "kt"))}  # fmt: skip
    assert set(kit.files) == SAME | own
    found = {str(path.relative_to(kit.folder)) for path in kit.folder.rglob("*") if path.is_file()}
    assert found == set(kit.files), "nothing else is left behind"
    assert not any("@" in (kit.folder / name).read_text().replace("@Suppress", "") for name in kit.files)


def test_onnx_files_are_left_out_with_the_reason(kit: Any) -> None:
    assert len(kit.left_out) == 4
    assert all(re.search(r"\.onnx: the loaders run LiteRT, which takes no \.onnx file", why) for why in kit.left_out)


@pytest.mark.parametrize("target", ["tflite-int8", "tflite-fp32"])
def test_the_constants_are_the_manifests(kit: Any, exported_once: Any, target: str) -> None:
    folder = exported_once.manifest.folder
    artifact, model = artifact_of(kit, folder, target)
    contract, size = artifact.contract.to_json(), (folder / artifact.file).stat().st_size
    opened = open_artifact(folder / artifact.file).tiled
    assert isinstance(opened.reach, Reach)
    integer = target == "tflite-int8"
    cpp = (kit.folder / "cpp" / f"{model.identifier.lower()}.h").read_text()
    values = {name: value for value, name in re.findall(r"^    (.+),  // (\w+)", cpp, re.MULTILINE)}
    assert json.loads(values["file"]) == artifact.file
    assert (json.loads(values["sha256"]), int(values["size_bytes"])) == (artifact.sha256, size)
    assert values["dtype"] == ("DType::kInt8" if integer else "DType::kFloat32")
    assert float(values["scale"].rstrip("f")) == pytest.approx(contract.get("scale", 0), rel=1e-7)
    assert int(values["zero_point"]) == contract.get("zero_point", 0)
    assert float(values["value_range"]) == contract["value_range"]
    for name in ("channels", "upscale", "size_multiple", "host_shuffle"):
        assert int(values[name]) == contract[name]
    assert values["any_size"] == str(contract["any_size"]).lower() and values["tiles"] == "true"
    reach = opened.reach
    assert values["reach"] == f"{{{reach.above}, {reach.below}, {reach.left}, {reach.right}}}"
    assert model.tile is not None and values["tile"] == f"{{{model.tile[0]}, {model.tile[1]}}}"
    assert "".join(f"{{{h}, {w}}}" for h, w in artifact.contract.sizes) in cpp
    kotlin = (kit.folder / "kotlin" / f"{model.identifier.lower()}.kt").read_text()
    for line in (
        f'sha256 = "{artifact.sha256}"', f"sizeBytes = {size}L", f"upscale = {contract['upscale']},",
        f"zeroPoint = {contract.get('zero_point', 0)},", f"dtype = DType.{contract['dtype'].upper()}",  # type: ignore[attr-defined]  # it is text
        f"reach = Reach({reach.above}, {reach.below}, {reach.left}, {reach.right})",
    ):  # fmt: skip
        assert line in kotlin


def test_the_default_tile_is_worth_what_it_computes(kit: Any) -> None:
    """Small networks have tiles of the size that `edgesr run` takes at most."""
    for model in kit.models:
        assert model.tile is not None and model.tile[0] == model.tile[1] >= 128


def test_a_kit_lies_beside_its_files_and_can_be_written_again(exported: Path) -> None:
    (artifact,) = [a for a in load_manifest(exported).artifacts if a.target == "tflite-int8"]
    first = write_kit(exported / artifact.file)
    assert first.folder == exported / "kit" and [m.file for m in first.models] == [artifact.file]
    before = {name: (first.folder / name).read_bytes() for name in first.files}
    (first.folder / "cpp" / "edgesr_loader.cpp").write_text("broken")
    second = write_kit(exported / artifact.file)
    assert before == {name: (second.folder / name).read_bytes() for name in second.files}
    assert first.left_out == ()


def test_names_become_identifiers_and_stay_apart(kit: Any) -> None:
    model = kit.models[0]
    names = ('4x näme-"q"$b.tflite', "4x name-q-b.tflite", "4x name q b.tflite", "edgesr-loader.tflite", "é.tflite")
    content = kit_files([replace(model, file=name) for name in names])
    headers = sorted(set(content) - SAME - {f"kotlin/{Path(n).name}" for n in content})
    own = [Path(name).stem for name in headers if name.startswith("cpp/")]
    assert len(own) == len(set(own)) == len(names)
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", name) and name.upper() not in RESERVED for name in own)
    literals = {line for text in content.values() for line in text.splitlines() if 'q\\"' in line}
    assert literals == {
        r'    "4x näme-\"q\"$b.tflite",  // file', r'    file = "4x näme-\"q\"\$b.tflite",'
    }  # fmt: skip


@pytest.mark.parametrize("name", ['a "b" \\ $c ?.tflite', "数.tflite"])
def test_any_file_name_makes_a_header_that_compiles(kit: Any, name: str, tmp_path: Path) -> None:
    compiler = shutil.which("c++") or shutil.which("g++")
    if compiler is None:
        pytest.skip("there is no C++ compiler; apt-get install g++")
    content = kit_files([replace(kit.models[0], file=name)])
    for path, text in content.items():
        (tmp_path / Path(path).name).write_text(text, encoding="utf-8")
    (header,) = [Path(p).name for p in content if p.startswith("cpp/") and p not in SAME]
    constant = Path(header).stem.upper()
    source = f'#include "{header}"\n#include <cstdio>\nint main() {{ std::puts(edgesr::{constant}.file); }}\n'
    (tmp_path / "main.cpp").write_text(source)
    command = [compiler, "-std=c++17", "-Wall", "-Werror", tmp_path / "main.cpp", "-o", tmp_path / "main"]
    subprocess.run(command, check=True, capture_output=True)
    assert subprocess.run([tmp_path / "main"], check=True, capture_output=True).stdout.decode() == f"{name}\n"


def test_a_file_by_the_general_route_runs_whole_images(kit: Any) -> None:
    whole = replace(kit.models[0], reach=None, tile=None, why_whole="no graph says how far its pixels reach")
    content = kit_files([whole])
    assert "| tiles | none: no graph says how far its pixels reach |" in content["README.md"]
    assert any("    false,  // tiles" in text for text in content.values())
    with pytest.raises(ValueError, match="it has a reach, or a reason why not"):
        replace(kit.models[0], reach=None)


def test_a_folder_without_a_file_for_litert_is_refused(
    request_for: Callable[..., ExportRequest], tmp_path: Path
) -> None:
    export(request_for("onnx-fp32"))
    with pytest.raises(ArtifactError, match=r"no deployment kit for .*\.onnx: the loaders run LiteRT.*; export"):
        write_kit(tmp_path / "out")
    assert not (tmp_path / "out" / "kit").exists()


def test_a_compiled_file_is_refused(exported: Path) -> None:
    manifest = load_manifest(exported)
    (artifact,) = [a for a in manifest.artifacts if a.target == "tflite-int8"]
    compiled = replace(artifact, target="ethos-u85-256", source=artifact.file)
    replace(manifest, artifacts=(compiled,)).save()
    with pytest.raises(ArtifactError, match="compiled for one NPU and load through its vendor's runtime alone; export"):
        write_kit(exported)


def test_a_changed_file_is_refused(exported: Path) -> None:
    (artifact,) = [a for a in load_manifest(exported).artifacts if a.target == "tflite-int8"]
    with (exported / artifact.file).open("ab") as file:
        file.write(b"x")
    with pytest.raises(ArtifactError, match="was changed after its export"):
        write_kit(exported / artifact.file)


def test_a_kit_that_cannot_be_written_says_so(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="a part of the path is a file: choose another folder"):
        write_kit(exported, tmp_path / "file")
