"""The same bytes from a manifest's locks, in any folder, process and number of threads; and what is refused."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from edgesr.api import ExportRequest, export
from edgesr.api.calibration_lock import CalibrationLock, lock_calibration
from edgesr.api.lock import Lock, read_lock
from edgesr.api.rebuild_plan import RebuildRequest, plan_rebuild
from edgesr.api.rebuilding import rebuild
from edgesr.architecture import SRModel
from edgesr.artifact import MANIFEST_NAME, Artifact, load_manifest
from edgesr.errors import ArtifactError, CalibrationError, CheckpointError, EdgeSRError, ExportError, NetworkError
from edgesr.quant.images import MAX_IMAGES
from edgesr.quant.photographs import MAX_PHOTOGRAPHS
from edgesr.route import Route
from edgesr.target import Layout, Target, find_target
from edgesr.threads import torch_threads

SMALL = ("tflite-fp32", "tflite-int8", "onnx-int8")
Change = Callable[[dict[str, Any]], None]

CLASS = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.head = nn.Conv2d(3, width, 3, padding=1)
        self.tail = nn.Conv2d(width, 12, 3, padding=1)

    def forward(self, x):
        return torch.nn.functional.pixel_shuffle(self.tail(torch.relu(self.head(x))), 2)
"""


def targets(*names: str) -> tuple[Target, ...]:
    return tuple(target for name in names if (target := find_target(name)) is not None)


def changed(folder: Path, change: Change) -> Path:
    """The folder after a change to each artifact of its manifest."""
    path = folder / MANIFEST_NAME
    plain = json.loads(path.read_text())
    for artifact in plain["artifacts"]:
        change(artifact)
    path.write_text(json.dumps(plain))
    return folder


def in_another_process(
    arguments: list[str], folder: Path, threads: int, hash_seed: int
) -> subprocess.CompletedProcess[str]:
    """`edgesr ARGUMENTS` in a folder, with its own hash seed and number of threads."""
    environment = os.environ | {
        "PYTHONHASHSEED": str(hash_seed), "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads),
    }  # fmt: skip
    return subprocess.run([sys.executable, "-m", "edgesr.cli", *arguments], cwd=folder, env=environment,
                          capture_output=True, text=True, check=False)  # fmt: skip


def test_every_file_of_an_export_comes_out_the_same(exported_once: Any, tmp_path: Path) -> None:
    """In this process: floats, INT8 and 16 bits, each put in place and proved."""
    names = (*SMALL, "onnx-a16w8")
    result = rebuild(RebuildRequest(exported_once.manifest.folder, tmp_path / "again", targets=targets(*names)))
    assert [file.target for file in result.files if file.is_same] == [
        artifact.target for artifact in exported_once.artifacts if artifact.target in names
    ]
    again = load_manifest(tmp_path / "again")
    for artifact in again.artifacts:
        assert again.check(artifact).read_bytes() == (exported_once.manifest.folder / artifact.file).read_bytes()
        assert read_lock(artifact) == read_lock(exported_once.manifest.find(artifact.file))


def test_another_process_folder_hash_seed_and_thread_count(
    exported: Path, small_checkpoint: Path, photos: Path, tmp_path: Path
) -> None:
    """Nothing of the first export's places is left but the manifest: weights, images and their names are others."""
    there = tmp_path / "ein anderer Ort"
    there.mkdir()
    shutil.copy(small_checkpoint, there / "renamed.pth")
    (there / "pictures").mkdir()
    for index, path in enumerate(sorted(photos.iterdir())):
        shutil.copy(path, there / "pictures" / f"{index}.png")
    lone = there / "lock.json"
    shutil.move(changed(exported, _forget_places) / MANIFEST_NAME, lone)
    chosen = [word for name in SMALL for word in ("-t", name)]
    found = {"--from": lone.name, "--weights": "renamed.pth", "--calib": "pictures"}
    arguments = ["export", *(word for pair in found.items() for word in pair), *chosen, "--json"]
    done = in_another_process(arguments, there, threads=3, hash_seed=4711)
    assert (done.returncode, done.stderr) == (0, "")
    files = json.loads(done.stdout)["files"]
    assert {file["target"] for file in files} == set(SMALL) and all(file["same"] for file in files)


def _forget_places(artifact: dict[str, Any]) -> None:
    lock = artifact["facts"]["lock"]
    lock["weights"] = "/no/such/weights.pth"
    if lock["calibration"] is not None:
        lock["calibration"]["folder"] = "/no/such/folder"


def test_a_file_knows_no_place(exported_once: Any, small_checkpoint: Path, photos: Path) -> None:
    """What made two copies differ once: the checkpoint's path stood in the metadata of every file."""
    for artifact in exported_once.artifacts:
        content = (exported_once.manifest.folder / artifact.file).read_bytes()
        home = () if Path.home() == Path("/") else (str(Path.home()),)  # a user of a container may have none
        for place in (small_checkpoint.name, str(small_checkpoint.parent), str(photos), *home):
            assert place.encode() not in content, (artifact.file, place)


@pytest.mark.slow
def test_bundled_weights_and_images_in_another_process(tmp_path: Path) -> None:
    export(ExportRequest(targets=targets("tflite-fp32", "tflite-int8"), out=tmp_path / "out", effort="fast"))
    done = in_another_process(["export", "--from", "out", "--json"], tmp_path, threads=2, hash_seed=1)
    assert done.returncode == 0, done.stderr
    assert all(file["same"] for file in json.loads(done.stdout)["files"])


def test_files_that_share_a_request_are_made_by_one_export(
    request_for: Callable[..., ExportRequest], tmp_path: Path
) -> None:
    """Two exports into one folder, of other sizes and types of images."""
    first = request_for("tflite-int8", "tflite-fp16", sizes=((12, 16),))
    second = request_for("onnx-fp32", sizes=((8, 8),), layout=Layout.NHWC)
    export(first)
    export(second)
    plan = plan_rebuild(RebuildRequest(first.out), tmp_path / "again")
    assert [[target.name for target in request.targets] for request in plan.exports] == [
        ["tflite-int8", "tflite-fp16"], ["onnx-fp32"],
    ]  # fmt: skip
    assert plan.exports[1].sizes == second.sizes and plan.exports[1].layout is Layout.NHWC
    assert not rebuild(RebuildRequest(first.out)).different


DEEPER: Mapping[str, Mapping[str, object]] = {
    "budget": {"max_drop_db": 0.5, "npus": ("qualcomm-htp",)},
    "general": {"route": Route.GENERAL, "sizes": ((16, 16),)},
    "balanced": {"effort": "balanced"},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", DEEPER)
def test_budgets_the_general_route_and_learning(request_for: Callable[..., ExportRequest], name: str) -> None:
    """With another number of threads."""
    request = request_for("onnx-int8", **DEEPER[name])
    export(request)
    with torch_threads(3):
        assert not rebuild(RebuildRequest(request.out)).different


@pytest.fixture
def own_class(tmp_path: Path, photos: Path) -> ExportRequest:
    """An export of a class of the user's own."""
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "net.py").write_text(CLASS)
    names: dict[str, Any] = {}
    exec(CLASS, names)
    torch.manual_seed(0)
    torch.save(names["Net"](4).state_dict(), folder / "net.pth")
    request = ExportRequest(
        targets=targets("tflite-fp32", "onnx-fp32"), out=tmp_path / "out", model=f"{folder / 'net.py'}:Net",
        weights=folder / "net.pth", init={"width": 4}, calibration=photos,
    )  # fmt: skip
    export(request)
    return request


def test_a_class_is_executed_where_it_is_named_and_unchanged(own_class: ExportRequest, tmp_path: Path) -> None:
    file = own_class.user_class.file if own_class.user_class else Path()
    moved = shutil.copytree(file.parent, tmp_path / "moved") / "net.py"
    assert not rebuild(RebuildRequest(own_class.out, model=f"{moved}:Net")).different
    with pytest.raises(NetworkError, match=r"whose file a rebuild executes; name it as MODEL"):
        rebuild(RebuildRequest(own_class.out))
    with pytest.raises(NetworkError, match=r"Other is another class than Net; give the file"):
        rebuild(RebuildRequest(own_class.out, model=f"{moved}:Other"))
    moved.write_text("raise SystemExit('this must not run')\n")
    with pytest.raises(NetworkError, match=r"net.py is not as it was: sha256 [0-9a-f]{12}, the lock says"):
        rebuild(RebuildRequest(own_class.out, model=f"{moved}:Net"))
    with pytest.raises(NetworkError, match="no such file; give the file that"):
        rebuild(RebuildRequest(own_class.out, model=f"{tmp_path / 'none.py'}:Net"))


def test_other_weights_are_refused(exported: Path, gentle_model: SRModel, tmp_path: Path) -> None:
    state = gentle_model.module.state_dict()
    torch.save({key: value * 1.01 for key, value in state.items()}, tmp_path / "other.pth")
    changed(exported, _forget_places)
    with pytest.raises(CheckpointError, match=r"other.pth is not the checkpoint of .*: sha256 .*, the lock says"):
        rebuild(RebuildRequest(exported, weights=tmp_path / "other.pth"))
    with pytest.raises(CheckpointError, match=r"none.pth: no such file; give the checkpoint of .* with --weights"):
        rebuild(RebuildRequest(exported, weights=tmp_path / "none.pth"))
    with pytest.raises(CheckpointError, match=r"/no/such/weights.pth: no such file"):
        rebuild(RebuildRequest(exported))


def test_other_images_are_refused_by_name(exported: Path, photos: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(photos, tmp_path / "images"))
    first, second, third = sorted(folder.iterdir())
    request = RebuildRequest(exported, calibration=folder, targets=targets("tflite-int8"))
    _lose_the_images(exported)
    third.unlink()
    with pytest.raises(CalibrationError, match=f"{third.name} missing; give those with --calib"):
        rebuild(request)
    shutil.copy(first, third)
    with pytest.raises(CalibrationError, match=f"{third.name} changed"):
        rebuild(request)
    shutil.copy(photos / third.name, third)
    shutil.copy(first, folder / "more.png")
    with pytest.raises(CalibrationError, match=r"more.png new"):
        rebuild(request)
    with pytest.raises(CalibrationError, match=r"nowhere: not the calibration images of .*image folder not found"):
        rebuild(dataclasses.replace(request, calibration=tmp_path / "nowhere"))
    assert second.exists()


def _lose_the_images(exported: Path) -> None:
    def lose(artifact: dict[str, Any]) -> None:
        if artifact["facts"]["lock"]["calibration"] is not None:
            artifact["facts"]["lock"]["calibration"]["folder"] = "/no/such/folder"

    changed(exported, lose)


def test_differences_are_said_first_and_floats_need_no_images(exported: Path) -> None:
    """A manifest that another torch, on another machine, might have written; here its file is the same after all."""

    def elsewhere(artifact: dict[str, Any]) -> None:
        artifact["facts"]["versions"]["torch"] = "1.0"
        artifact["facts"]["lock"]["machine"]["vectors"] = "NEON"

    _lose_the_images(exported)
    warnings: list[str] = []
    request = RebuildRequest(changed(exported, elsewhere), targets=targets("tflite-fp32"))
    (file,) = rebuild(request, warn=warnings.append).files
    assert file.is_same and file.differences == tuple(warnings) and len(warnings) == 2
    assert warnings[0] == f"torch {torch.__version__}, was 1.0" and warnings[1].endswith("was NEON")


def test_a_lock_that_says_something_else_makes_other_bytes(exported: Path) -> None:
    """A seeded error, which no version explains."""

    def of_another_type(artifact: dict[str, Any]) -> None:
        artifact["facts"]["lock"]["io"] = "uint8"

    result = rebuild(RebuildRequest(changed(exported, of_another_type), targets=targets("tflite-int8")))
    (file,) = result.different
    assert file.differences == () and file.rebuilt_sha256 != file.sha256


UNUSABLE: Mapping[str, tuple[Change, str]] = {
    "no lock": (lambda artifact: artifact["facts"].pop("lock"), "has no lock in its manifest"),
    "no table": (lambda artifact: artifact["facts"].update(lock=3), "has no lock in its manifest"),
    "a key less": (lambda artifact: artifact["facts"]["lock"].pop("npu"), "is damaged .KeyError: 'npu'"),
    "a size": (lambda artifact: artifact["facts"]["lock"].update(sizes=[[1]]), "is damaged .TypeError: sizes"),
    "a type": (lambda artifact: artifact["facts"]["lock"].update(io="uint9"), "is damaged .ValueError: 'uint9'"),
    "a budget": (lambda artifact: artifact["facts"]["lock"].update(max_drop_db="1"), "TypeError: max_drop_db"),
    "images": (lambda artifact: artifact["facts"]["lock"].update(calibration={"folder": 1, "images": {}}), "damaged"),
    "an effort": (lambda artifact: artifact["facts"]["lock"].update(effort="bold"), "no recipe is called 'bold'"),
    "an NPU": (lambda artifact: artifact["facts"]["lock"].update(npu="none"), "none"),
    "a target": (lambda artifact: artifact.update(target="tflite-int7"), "unknown to this version"),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_locks_that_cannot_be_used(exported: Path, name: str) -> None:
    change, words = UNUSABLE[name]
    with pytest.raises(EdgeSRError, match=words):
        rebuild(RebuildRequest(changed(exported, change)))


def test_a_manifest_without_locks_still_verifies(exported: Path) -> None:
    folder = changed(exported, UNUSABLE["no lock"][0])
    manifest = load_manifest(folder)
    assert all(manifest.check(artifact).exists() for artifact in manifest.artifacts)


def test_manifests_and_folders_that_cannot_be_used(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="does not exist"):
        rebuild(RebuildRequest(tmp_path / "none"))
    with pytest.raises(ArtifactError, match=r"has no ethos-u85-256; it holds onnx-"):
        rebuild(RebuildRequest(exported, targets=targets("ethos-u85-256")))
    with pytest.raises(ExportError, match="holds the files to compare with; choose another folder"):
        rebuild(RebuildRequest(exported, out=exported / ".." / exported.name))
    path = exported / MANIFEST_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | {"manifest_version": 0}))
    with pytest.raises(ArtifactError, match="has version 0, this edgesr reads 1"):
        rebuild(RebuildRequest(path))


def test_a_lock_survives_json(exported_once: Any) -> None:
    for artifact in exported_once.artifacts:
        plain = json.loads(json.dumps(artifact.to_json()))
        lock = read_lock(Artifact.from_json(plain))
        assert isinstance(lock, Lock) and lock == read_lock(artifact)
        assert (lock.calibration is None) != artifact.find_target().precision.is_integer


def test_images_that_are_read_are_those_that_are_locked(tmp_path: Path) -> None:
    """Not all of a large folder: as many as are read, evenly, and the photographs of deeper efforts besides."""
    names = [f"{index:04}.png" for index in range(MAX_PHOTOGRAPHS + 100)]
    for name in names:
        (tmp_path / name).write_text(name)
    assert len(lock_calibration(tmp_path, with_photographs=False).images) == MAX_IMAGES
    many = lock_calibration(tmp_path, with_photographs=True).images
    assert MAX_PHOTOGRAPHS <= len(many) < MAX_PHOTOGRAPHS + MAX_IMAGES and list(many) == sorted(many)


def test_order_counts_and_names_do_not() -> None:
    locked = CalibrationLock(None, {"a": "1", "b": "2"})
    assert locked.why_not(CalibrationLock("elsewhere", {"x": "1", "y": "2"})) is None
    assert locked.why_not(CalibrationLock(None, {"b": "2", "a": "1"})) == "the same images in another order"
    assert locked.why_not(CalibrationLock(None, {"a": "1", "b": "3"})) == "b changed"
