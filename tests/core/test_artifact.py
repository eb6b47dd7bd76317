"""The contract of an artifact's bytes, and the manifest that vouches for files or refuses them in one line."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgesr.artifact import MANIFEST_NAME, Artifact, IOContract, Manifest, load_manifest, locate
from edgesr.errors import ArtifactError
from edgesr.target import TARGETS, IODtype, Layout

INTEGERS = (IODtype.INT8, IODtype.UINT8)
BYTES = np.arange(256, dtype=np.uint8)


def contract(dtype: IODtype = IODtype.INT8, layout: Layout = Layout.NHWC, **fields: Any) -> IOContract:
    return IOContract(**{
        "dtype": dtype, "layout": layout, "channels": 3, "upscale": 4, "value_range": 1.0,
        "sizes": ((128, 128),), "any_size": True,
    } | fields)  # fmt: skip


def every_byte(value_range: float = 1.0) -> np.ndarray:
    """An image (1, 16, 16, 3) whose first channel holds every level, the others its mirror and its half."""
    channels = [BYTES, 255 - BYTES, BYTES // 2]
    return np.stack(channels, 1).reshape(1, 16, 16, 3) * (value_range / 255)


@pytest.mark.parametrize("value_range", [1.0, 255.0, 2.5])
@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize("dtype", INTEGERS)
def test_integer_images_are_bytes(dtype: IODtype, layout: Layout, value_range: float) -> None:
    c = contract(dtype, layout, value_range=value_range)
    data = c.encode(every_byte(value_range))
    bytes_ = np.stack([BYTES, 255 - BYTES, BYTES // 2], 1).reshape(1, 16, 16, 3)
    expected = bytes_ if layout is Layout.NHWC else bytes_.transpose(0, 3, 1, 2)
    assert data.dtype == np.dtype(dtype.value) and data.shape == expected.shape
    assert data.flags.c_contiguous
    stored = np.frombuffer(data.tobytes(), np.uint8).reshape(expected.shape)
    assert np.array_equal(stored ^ (0x80 if dtype is IODtype.INT8 else 0), expected)


@pytest.mark.parametrize("value_range", [1.0, 255.0, 2.5])
@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize("dtype", IODtype)
def test_images_come_back(dtype: IODtype, layout: Layout, value_range: float) -> None:
    c = contract(dtype, layout, value_range=value_range)
    image = every_byte(value_range).reshape(1, 8, 32, 3)
    back = c.decode(c.encode(image))
    assert back.dtype == np.float32 and back.shape == image.shape and back.flags.c_contiguous
    assert np.abs(back - image).max() <= 2 * np.finfo(np.float32).eps * value_range
    if dtype in INTEGERS:
        levels = [np.rint(x.astype(np.float64) * 255 / value_range) for x in (back, image)]
        assert np.array_equal(levels[0], levels[1])


def test_floats_are_the_values_themselves() -> None:
    image = np.random.default_rng(0).normal(size=(2, 3, 5, 3))
    assert np.array_equal(contract(IODtype.FLOAT32).encode(image), image.astype(np.float32))
    planes = contract(IODtype.FLOAT32, Layout.NCHW).encode(image)
    assert planes.shape == (2, 3, 3, 5) and planes[1, 2, 1, 4] == np.float32(image[1, 1, 4, 2])


@pytest.mark.parametrize("dtype", INTEGERS)
def test_values_are_rounded_and_saturate(dtype: IODtype) -> None:
    image = np.array([-3.0, -0.4, 0.49, 0.51, 100.4, 254.6, 255.4, 1e9]).reshape(1, 2, 4, 1) / 255
    levels = contract(dtype, channels=1).encode(image).astype(int).ravel() + (128 if dtype is IODtype.INT8 else 0)
    assert levels.tolist() == [0, 0, 0, 1, 100, 255, 255, 255]


def test_encoding_and_decoding_leave_their_argument_alone() -> None:
    for dtype in IODtype:
        c, image = contract(dtype), every_byte()
        data = c.encode(image)
        kept = data.copy()
        c.decode(data)
        assert np.array_equal(image, every_byte()) and np.array_equal(data, kept)


@pytest.mark.parametrize(
    ("fields", "size", "refusal"),
    [
        ({}, (128, 128), None),
        ({}, (1, 1), None),
        ({"size_multiple": 16}, (32, 48), None),
        ({"size_multiple": 16}, (33, 48), None),
        ({"size_multiple": 16, "any_size": False}, (127, 113), None),
        (
            {"size_multiple": 16, "any_size": False}, (127, 112),
            "127x112 is not a size of this artifact (128x128)",
        ),
        ({"any_size": False}, (128, 128), None),
        ({"any_size": False}, (64, 128), "64x128 is not a size of this artifact (128x128)"),
        (
            {"any_size": False, "sizes": ((1, 2), (3, 4))}, (2, 1),
            "2x1 is not a size of this artifact (1x2, 3x4)",
        ),
        ({}, (0, 5), "0x5 holds no pixel"),
        ({}, (5, -16), "5x-16 holds no pixel"),
    ],
)  # fmt: skip
def test_sizes_are_accepted_or_refused_with_the_reason(
    fields: dict[str, Any], size: tuple[int, int], refusal: str | None
) -> None:
    assert contract(**fields).accepts(*size) == refusal


@pytest.mark.parametrize("value_range", [1.0, 255.0])
@pytest.mark.parametrize("dtype", INTEGERS)
def test_scale_and_zero_point_for_deployers_are_those_of_the_bytes(dtype: IODtype, value_range: float) -> None:
    c = contract(dtype, value_range=value_range)
    plain: dict[str, Any] = c.to_json()
    data = c.encode(every_byte(value_range))
    assert np.allclose((data.astype(float) - plain["zero_point"]) * plain["scale"], every_byte(value_range))


def test_float_images_have_no_scale() -> None:
    assert not {"scale", "zero_point"} & set(contract(IODtype.FLOAT32).to_json())


CONTRACTS = [
    contract(),
    contract(IODtype.UINT8, Layout.NCHW, sizes=(), size_multiple=16),
    contract(IODtype.FLOAT32, value_range=255.0, sizes=((1, 2), (300, 400)), any_size=False, channels=1, upscale=1),
]


@pytest.mark.parametrize("c", CONTRACTS)
def test_contracts_survive_json(c: IOContract) -> None:
    assert IOContract.from_json(json.loads(json.dumps(c.to_json()))) == c
    assert IOContract.from_json(c.to_json()) == c


@pytest.mark.parametrize(
    "wrong",
    [
        {"channels": 0}, {"upscale": 0}, {"size_multiple": 0}, {"value_range": 0.0}, {"value_range": -1.0},
        {"value_range": float("nan")}, {"value_range": float("inf")}, {"sizes": (), "any_size": False},
    ],
)  # fmt: skip
def test_contracts_that_no_image_meets_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must be positive|no size is accepted"):
        contract(**wrong)


def artifact(file: str = "net-int8.tflite", content: bytes = b"bytes", **fields: Any) -> Artifact:
    return Artifact(**{
        "file": file, "target": "tflite-int8", "sha256": hashlib.sha256(content).hexdigest(),
        "size_bytes": len(content), "contract": contract(), "reference": "reference/net.safetensors",
        "graph": "reference/net.graph.safetensors", "facts": {"created": "today", "folds": [{"changed": ["a"]}]},
    } | fields)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An export of two artifacts."""
    for name in ("a.tflite", "b.onnx"):
        (tmp_path / name).write_bytes(name.encode())
    artifacts = (artifact("a.tflite", b"a.tflite"), artifact("b.onnx", b"b.onnx", target="onnx-int8"))
    Manifest(tmp_path, artifacts).save()
    return tmp_path


@pytest.mark.parametrize("target", TARGETS)
def test_an_artifact_knows_its_target(target: Any) -> None:
    assert artifact(target=target.name).find_target() is target


def test_an_unknown_target_is_refused() -> None:
    with pytest.raises(ArtifactError, match=r"^net-int8\.tflite: target 'tflite-int4' is unknown .*; upgrade it$"):
        artifact(target="tflite-int4").find_target()


def test_a_manifest_comes_back(folder: Path) -> None:
    manifest = load_manifest(folder)
    assert manifest == Manifest(
        folder, (artifact("a.tflite", b"a.tflite"), artifact("b.onnx", b"b.onnx", target="onnx-int8"))
    )
    before = (folder / MANIFEST_NAME).read_bytes()
    manifest.save()
    assert (folder / MANIFEST_NAME).read_bytes() == before


def test_a_manifest_is_text_for_people(tmp_path: Path) -> None:
    Manifest(tmp_path, (artifact(),)).save()
    plain = json.loads((tmp_path / MANIFEST_NAME).read_text(encoding="utf-8"))
    assert plain["manifest_version"] == 1
    (entry,) = plain["artifacts"]
    assert (
        entry["contract"] | {"dtype": "int8", "layout": "nhwc", "sizes": [[128, 128]], "zero_point": -128}
        == entry["contract"]
    )
    assert (tmp_path / MANIFEST_NAME).read_text(encoding="utf-8").count("\n") > 20


def test_saving_leaves_no_other_file_and_makes_the_folder(tmp_path: Path) -> None:
    Manifest(tmp_path / "new" / "out", (artifact(),)).save()
    assert [path.name for path in (tmp_path / "new" / "out").iterdir()] == [MANIFEST_NAME]


def test_an_artifact_is_added_or_exchanged() -> None:
    one, other = artifact("a.tflite"), artifact("b.tflite")
    newer = replace(one, sha256="0" * 64)
    manifest = Manifest(Path("out")).with_artifact(one).with_artifact(other).with_artifact(newer)
    assert manifest.artifacts == (other, newer)
    assert manifest.find("a.tflite") is newer
    with pytest.raises(ArtifactError, match=r"^out/c\.onnx is not in out/manifest\.json; export it"):
        manifest.find("c.onnx")


def test_bytes_are_compared_with_the_manifest(folder: Path) -> None:
    manifest = load_manifest(folder)
    assert manifest.check(manifest.find("a.tflite")) == folder / "a.tflite"
    (folder / "a.tflite").write_bytes(b"a.tflitf")
    with pytest.raises(ArtifactError, match=r"a\.tflite was changed after its export: sha256 [0-9a-f]{12}, .* again$"):
        manifest.check(manifest.find("a.tflite"))
    assert manifest.check(manifest.find("b.onnx")) == folder / "b.onnx", "the other one is not concerned"
    (folder / "a.tflite").unlink()
    with pytest.raises(ArtifactError, match=r"a\.tflite is missing, its manifest lists it; export it again$"):
        manifest.check(manifest.find("a.tflite"))


def test_a_file_that_cannot_be_read_is_said_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = load_manifest(folder)

    def forbidden(path: Path, *args: object, **kwargs: object) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", forbidden)
    monkeypatch.setattr(Path, "read_text", forbidden)
    with pytest.raises(ArtifactError, match=r"^cannot read .*a\.tflite: Permission denied; check its permissions$"):
        manifest.check(manifest.find("a.tflite"))
    with pytest.raises(ArtifactError, match=r"^cannot read .*manifest\.json: Permission denied; check"):
        load_manifest(folder)


def test_locate_takes_a_folder_or_one_file(folder: Path) -> None:
    manifest, artifacts = locate(folder)
    assert manifest.folder == folder and [a.file for a in artifacts] == ["a.tflite", "b.onnx"]
    manifest, artifacts = locate(folder / "b.onnx")
    assert manifest.folder == folder and [a.file for a in artifacts] == ["b.onnx"]


def test_locate_takes_a_file_of_the_working_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert [a.file for a in locate(Path("a.tflite"))[1]] == ["a.tflite"]
    assert len(locate(Path())[1]) == 2


def _empty(folder: Path) -> Path:
    Manifest(folder).save()
    return folder


def _beside(folder: Path) -> Path:
    (folder / "foreign.onnx").write_bytes(b"?")
    return folder / "foreign.onnx"


def _elsewhere(folder: Path) -> Path:
    (folder / "sub").mkdir()
    (folder / "sub" / "foreign.onnx").write_bytes(b"?")
    return folder / "sub" / "foreign.onnx"


def _no_export(folder: Path) -> Path:
    (folder / "sub").mkdir()
    return folder / "sub"


LOST: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (lambda folder: folder / "c.onnx", r"c\.onnx does not exist; give a folder or an artifact"),
    "missing folder": (lambda folder: folder / "no" / "c.onnx", r"c\.onnx does not exist; give a folder or"),
    "foreign file in an export": (_beside, r"foreign\.onnx is not in .*manifest\.json; export it with edgesr export"),
    "foreign file": (_elsewhere, r"sub/manifest\.json does not exist; give a folder, or a file in a folder, that"),
    "foreign folder": (_no_export, r"sub/manifest\.json does not exist; give a folder, or a file in a folder, that"),
    "nothing exported": (_empty, r"manifest\.json lists no artifact; export one with edgesr export"),
}


@pytest.mark.parametrize("case", LOST)
def test_locate_refuses_what_no_export_left(case: str, folder: Path) -> None:
    make, message = LOST[case]
    with pytest.raises(ArtifactError, match=rf"\A[^\n]*{message}[^\n]*\Z"):
        locate(make(folder))


def edited(folder: Path, edit: Callable[[Any], Any]) -> None:
    """Change the manifest's JSON."""
    path = folder / MANIFEST_NAME
    path.write_text(json.dumps(edit(json.loads(path.read_text(encoding="utf-8")))), encoding="utf-8")


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"7", b'"text"', b"{}", b'{"manifest_version": 1}', b"\xff\xfe\x00", b"[" * 100_000,
     b'{"manifest_version": 1, "artifacts": 5}', b'{"manifest_version": 1, "artifacts": [3]}',
     b'{"manifest_version": 1, "artifacts": "net"}', b'{"manifest_version": 1, "artifacts": [{}]}',
     b'{"manifest_version": 1, "artifacts": [[]]}', b'{"manifest_version": 1, "artifacts": {"a": 1}}'],
)  # fmt: skip
def test_what_is_no_manifest_is_refused_in_one_line(folder: Path, content: bytes) -> None:
    (folder / MANIFEST_NAME).write_bytes(content)
    with pytest.raises(ArtifactError, match=r"\A[^\n]*manifest\.json is no edgesr manifest \([^\n]*\); export again\Z"):
        load_manifest(folder)


@pytest.mark.parametrize("version", [0, 2, "1", None, 1.5])
def test_a_manifest_of_another_version_is_refused(folder: Path, version: object) -> None:
    edited(folder, lambda plain: plain | {"manifest_version": version})
    with pytest.raises(ArtifactError, match=rf"has version {version}, this edgesr reads 1; export again"):
        load_manifest(folder)


def test_a_later_version_may_look_different(folder: Path) -> None:
    (folder / MANIFEST_NAME).write_text('{"manifest_version": 7, "files": {}}')
    with pytest.raises(ArtifactError, match="has version 7, this edgesr reads 1"):
        load_manifest(folder)


WRONG = {
    **{name: [None, 5, 1.5, True, [], {}] for name in ("file", "target", "sha256", "reference", "graph")},
    "size_bytes": [None, "5", 1.5, True, [], {}],
    "contract": [None, 5, "int8", []],
    "facts": [None, 5, "int8", []],
    "contract.dtype": [None, 5, "int4", [], {}],
    "contract.layout": [None, 5, "hwcn", [], {}],
    **{f"contract.{name}": [None, "3", 1.5, True, [], 0, -1] for name in ("channels", "upscale", "size_multiple")},
    "contract.value_range": [None, "1", True, [], 0, -1.0, float("nan"), float("inf")],
    "contract.sizes": [None, 5, "12", [5], [[1]], [[1, 2, 3]], [["1", 2]], [[1.5, 2]], [None], {"a": 1}],
    "contract.any_size": [None, 1, "yes", []],
}


@pytest.mark.parametrize(("entry", "value"), [(entry, value) for entry, values in WRONG.items() for value in values])
def test_a_manifest_with_a_wrong_entry_is_refused_in_one_line(folder: Path, entry: str, value: object) -> None:
    *path, name = entry.split(".")

    def edit(plain: Any) -> Any:
        place = plain["artifacts"][1]
        for part in path:
            place = place[part]
        place[name] = value
        return plain

    edited(folder, edit)
    with pytest.raises(ArtifactError, match=r"\A[^\n]*manifest\.json is no edgesr manifest \([^\n]*\); export again\Z"):
        load_manifest(folder)


@pytest.mark.parametrize("entry", [entry for entry in WRONG if "." not in entry])
def test_a_manifest_with_a_missing_entry_is_refused(folder: Path, entry: str) -> None:
    def edit(plain: Any) -> Any:
        del plain["artifacts"][0][entry]
        return plain

    edited(folder, edit)
    with pytest.raises(ArtifactError, match=rf"is no edgesr manifest \(KeyError: '{entry}'\); export again"):
        load_manifest(folder)


def test_a_newer_minor_entry_does_no_harm(folder: Path) -> None:
    edited(folder, lambda plain: plain | {"note": "by another tool"})
    assert len(load_manifest(folder).artifacts) == 2
