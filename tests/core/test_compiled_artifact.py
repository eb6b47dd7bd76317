"""Artifacts that were compiled for an NPU: files beside them, and a tail that the host computes."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from edgesr.artifact import MANIFEST_NAME, Artifact, IOContract, Manifest, load_manifest
from edgesr.errors import ArtifactError
from edgesr.target import IODtype, Layout

CONTRACT = IOContract(IODtype.INT8, Layout.NHWC, 3, 2, 1.0, ((8, 8),), False, host_shuffle=2)
CONTENTS = {"net.onnx": b"wrapper", "net_qnn.bin": b"context", "reference/net-12.onnx": b"source"}


def digest(name: str) -> str:
    return hashlib.sha256(CONTENTS[name]).hexdigest()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in CONTENTS.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    source = "reference/net-12.onnx"
    beside = {name: digest(name) for name in ("net_qnn.bin", source)}
    artifact = Artifact(
        "net.onnx", "onnx-int8", digest("net.onnx"), 7, CONTRACT, "reference/a", "reference/b", {}, source, beside
    )
    Manifest(tmp_path, (artifact,)).save()
    return tmp_path


def test_a_compiled_artifact_comes_back(folder: Path) -> None:
    (artifact,) = load_manifest(folder).artifacts
    assert artifact.source == "reference/net-12.onnx"
    assert artifact.companions == {name: digest(name) for name in ("net_qnn.bin", artifact.source)}
    assert artifact.contract == CONTRACT


def test_plain_artifacts_say_nothing_of_companions(folder: Path) -> None:
    (artifact,) = load_manifest(folder).artifacts
    assert not {"source", "companions"} & set(replace(artifact, source=None, companions={}).to_json())


@pytest.mark.parametrize("name", CONTENTS)
def test_every_file_is_compared_with_the_manifest(folder: Path, name: str) -> None:
    manifest = load_manifest(folder)
    assert manifest.check(manifest.artifacts[0]) == folder / "net.onnx"
    (folder / name).write_bytes(b"changed")
    with pytest.raises(ArtifactError, match=rf"{name} was changed after its export"):
        manifest.check(manifest.artifacts[0])
    (folder / name).unlink()
    with pytest.raises(ArtifactError, match=rf"{name} is missing"):
        manifest.check(manifest.artifacts[0])


@pytest.mark.parametrize(("entry", "value"), [("source", 5), ("companions", []), ("companions", {"net_qnn.bin": 7})])
def test_wrong_entries_are_refused(folder: Path, entry: str, value: object) -> None:
    path = folder / MANIFEST_NAME
    plain = json.loads(path.read_text())
    plain["artifacts"][0][entry] = value
    path.write_text(json.dumps(plain))
    with pytest.raises(ArtifactError, match="is no edgesr manifest"):
        load_manifest(folder)


@pytest.mark.parametrize("block", [1, 2, 4])
@pytest.mark.parametrize("layout", Layout)
def test_the_host_shuffles_as_depth_to_space_does(block: int, layout: Layout) -> None:
    """Against PixelShuffle on channels brought into its order, which is colour first."""
    rng = np.random.default_rng(0)
    data = rng.normal(size=(2, 5, 3, block * block * 3)).astype(np.float32)
    colour_first = data.reshape(2, 5, 3, block * block, 3).swapaxes(3, 4).reshape(data.shape)
    expected = F.pixel_shuffle(torch.from_numpy(colour_first.transpose(0, 3, 1, 2).copy()), block).numpy()
    contract = IOContract(IODtype.FLOAT32, layout, 3, block, 1.0, (), True, host_shuffle=block)
    file_output = data.transpose(0, 3, 1, 2) if layout is Layout.NCHW else data
    assert np.array_equal(contract.decode(file_output), expected.transpose(0, 2, 3, 1))


def test_bytes_are_shuffled_as_bytes() -> None:
    data = np.arange(-64, 64, dtype=np.int8).reshape(1, 2, 4, 16)
    contract = replace(CONTRACT, channels=4, sizes=((2, 4),))
    decoded = contract.decode(data)
    assert decoded.shape == (1, 4, 8, 4)
    assert np.rint(decoded[0, 1, 2] * 255).tolist() == (data[0, 0, 1, 8:12].astype(int) + 128).tolist()


def test_a_block_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="host_shuffle"):
        replace(CONTRACT, host_shuffle=0)
