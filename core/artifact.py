"""What an export leaves behind: artifacts, their I/O contract, and the manifest that vouches for them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgesr.atomic import write_atomically
from edgesr.errors import ArtifactError
from edgesr.padding import PADDING, cut_back, pad_image, padded_size
from edgesr.pixel_shuffle import shuffle_pixels
from edgesr.route import Route
from edgesr.target import IODtype, Layout, Target, find_target

MANIFEST_NAME = "manifest.json"
MANIFEST_VERSION = 1
IMAGE_LEVELS = 255
DEEP_LEVELS = 65535
IN_CACHE = 1 << 16
"""Values that are converted at a time: a large image in between would go through memory at every step."""
INT8_ZERO = 128
"""What an image or tensor in int8 is smaller by than the same in uint8."""
INT16_ZERO = 32768
"""What a tensor in int16 is smaller by than the same in uint16."""
INPUT_NAME, OUTPUT_NAME = "image", "output"
"""What every file calls the image that goes in and the one that comes out."""


@dataclass(frozen=True)
class IOContract:
    """How an image goes into an artifact and comes out.

    Integer images are bytes (int8: the byte minus 128, that is XOR 0x80) and stand for value_range * byte / 255; the
    scale and zero points that a deployer needs follow from that. `sizes` are the input sizes (H, W) that the file
    was written for; `any_size` says that it also runs at others (after a resize, in TFLite).

    The file takes sides that are multiples of `size_multiple` alone. Other images are continued at the bottom and right
    by repeating their last row and column, and the output is cut back (`edgesr.padding`): `encode` and `decode` do it.

    Where `host_shuffle` is above 1, the file ends before its DEPTH_TO_SPACE of that block, because the NPU has none: it
    gives host_shuffle^2 * channels channels at the input's size, of which channel (i * host_shuffle + j) * channels + c
    is colour c of the pixel in row i and column j of each block.
    """

    dtype: IODtype
    layout: Layout
    channels: int
    upscale: int
    value_range: float
    sizes: tuple[tuple[int, int], ...]
    any_size: bool
    size_multiple: int = 1
    host_shuffle: int = 1

    def __post_init__(self) -> None:
        """Refuse contracts that no image could meet."""
        counts = (self.channels, self.upscale, self.size_multiple, self.host_shuffle)
        if min(counts) < 1 or not 0 < self.value_range < float("inf"):
            raise ValueError("channels, upscale, size_multiple, host_shuffle and value_range must be positive")
        if not self.any_size and not self.sizes:
            raise ValueError("no size is accepted: sizes is empty and any_size false")

    def accepts(self, height: int, width: int) -> str | None:
        """Why an input of that size is refused; None when it is accepted."""
        if min(height, width) < 1:
            return f"{height}x{width} holds no pixel"
        if not self.any_size and self.file_size((height, width)) not in self.sizes:
            known = ", ".join(f"{h}x{w}" for h, w in self.sizes)
            return f"{height}x{width} is not a size of this artifact ({known})"
        return None

    def file_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """The size (H, W) at which the file runs an image of `size`."""
        return padded_size(size, self.size_multiple)

    def encode(self, image: np.ndarray) -> np.ndarray:
        """The file's input for an image (N, H, W, C), padded to the size multiple.

        A float image lies in [0, value_range]; in a uint8 image 255 stands for value_range, in a uint16 image 65535.
        """
        return self._store(pad_image(image, self.size_multiple))

    def _store(self, image: np.ndarray) -> np.ndarray:
        if self.dtype is not IODtype.FLOAT32:
            data = self._from_bytes(image if image.dtype == np.uint8 else self._to_bytes(image))
        elif image.dtype == np.uint8:
            data = (np.arange(IMAGE_LEVELS + 1) * (self.value_range / IMAGE_LEVELS)).astype(np.float32)[image]
        elif image.dtype == np.uint16:
            data = image * np.float32(self.value_range / DEEP_LEVELS)
        else:
            data = image.astype(np.float32)
        return np.ascontiguousarray(data.transpose(0, 3, 1, 2) if self.layout is Layout.NCHW else data)

    def _to_bytes(self, image: np.ndarray) -> np.ndarray:
        if image.dtype == np.uint16:  # 65535 = 255 * 257, and 257 is odd: this is round(v / 257) without ties
            return ((image.astype(np.uint32) + 128) // (DEEP_LEVELS // IMAGE_LEVELS)).astype(np.uint8)
        flat = image.reshape(-1)
        data = np.empty(flat.shape, np.uint8)
        for start in range(0, len(flat), IN_CACHE):
            levels = flat[start : start + IN_CACHE] * (IMAGE_LEVELS / self.value_range)
            np.rint(levels, out=levels)
            data[start : start + IN_CACHE] = np.clip(levels, 0, IMAGE_LEVELS, out=levels)
        return data.reshape(image.shape)

    def _from_bytes(self, data: np.ndarray) -> np.ndarray:
        """Bytes of an image in the file's integer type, or of that type as bytes: both are the same step."""
        return (data.view(np.uint8) ^ np.uint8(INT8_ZERO)).view(np.int8) if self.dtype is IODtype.INT8 else data

    def decode(self, data: np.ndarray, size: tuple[int, int] | None = None) -> np.ndarray:
        """The float image (N, H, W, C) for the file's output.

        `size` is that of the image that was encoded (H, W), which the output is cut back to; None leaves it whole.
        """
        image = self._load(data)
        return image if size is None else cut_back(image, size, self.upscale)

    def decode_bytes(self, data: np.ndarray, size: tuple[int, int] | None = None) -> np.ndarray:
        """The uint8 image (N, H, W, C) for the file's output, its own bytes where they are integers; as `decode`."""
        levels = self._to_bytes(data) if self.dtype is IODtype.FLOAT32 else self._from_bytes(data).view(np.uint8)
        levels = levels.transpose(0, 2, 3, 1) if self.layout is Layout.NCHW else levels
        image = shuffle_pixels(levels, self.host_shuffle)
        return image if size is None else cut_back(image, size, self.upscale)

    def rounded(self, image: np.ndarray) -> np.ndarray:
        """An image of any size as the contract's type holds it."""
        return self._load(self._store(image))

    def _load(self, data: np.ndarray) -> np.ndarray:
        image = data.transpose(0, 2, 3, 1) if self.layout is Layout.NCHW else data
        image = np.ascontiguousarray(shuffle_pixels(image, self.host_shuffle), dtype=np.float32)
        if self.dtype is IODtype.FLOAT32:
            return image
        levels = image + np.float32(INT8_ZERO if self.dtype is IODtype.INT8 else 0)
        return levels * np.float32(self.value_range / IMAGE_LEVELS)

    def to_json(self) -> dict[str, object]:
        """Plain values; scale and zero point are written out for deployers."""
        plain = dataclasses.asdict(self) | {"dtype": self.dtype.value, "layout": self.layout.value}
        if self.size_multiple > 1:
            plain["padding"] = PADDING
        if self.dtype is not IODtype.FLOAT32:
            plain["scale"] = self.value_range / IMAGE_LEVELS
            plain["zero_point"] = -INT8_ZERO if self.dtype is IODtype.INT8 else 0
        return plain

    @classmethod
    def from_json(cls, plain: Mapping[str, object]) -> IOContract:
        """The contract that `to_json` wrote."""
        if plain.get("padding", PADDING) != PADDING:
            raise ValueError(f"padding is {plain['padding']!r:.40}, wanted {PADDING!r}")
        return cls(
            dtype=IODtype(plain["dtype"]),
            layout=Layout(plain["layout"]),
            channels=_entry(plain, "channels", int),
            upscale=_entry(plain, "upscale", int),
            value_range=float(_entry(plain, "value_range", int, float)),
            sizes=tuple(_size(size) for size in _entry(plain, "sizes", list, tuple)),
            any_size=_entry(plain, "any_size", bool),
            size_multiple=_entry(plain, "size_multiple", int),
            host_shuffle=_entry({"host_shuffle": 1, **plain}, "host_shuffle", int),
        )


@dataclass(frozen=True)
class Artifact:
    """One exported file: its target, hash and contract, the files that prove it, and what was recorded about it.

    Paths are relative to the manifest's folder. `reference` holds the PyTorch network, `graph` the graph that the file
    was emitted from, None where a general converter wrote it (`edgesr.route`). A compiled file has a `source`, the file
    that it was compiled from, and may need others beside it: `companions` are their sha256 by name, the source's among
    them.
    """

    file: str
    target: str
    sha256: str
    size_bytes: int
    contract: IOContract
    reference: str
    graph: str | None
    facts: Mapping[str, object] = field(default_factory=dict)
    source: str | None = None
    companions: Mapping[str, str] = field(default_factory=dict)

    def find_target(self) -> Target:
        """The target; raises `ArtifactError` when this version of edgesr has none of that name."""
        target = find_target(self.target)
        if target is None:
            raise ArtifactError(f"{self.file}: target '{self.target}' is unknown to this version of edgesr; upgrade it")
        return target

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        plain = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        plain |= {"contract": self.contract.to_json(), "companions": dict(self.companions)}
        return plain if self.source else {k: v for k, v in plain.items() if k not in ("source", "companions")}

    @classmethod
    def from_json(cls, plain: Mapping[str, object]) -> Artifact:
        """The artifact that `to_json` wrote."""
        return cls(
            file=_entry(plain, "file", str),
            target=_entry(plain, "target", str),
            sha256=_entry(plain, "sha256", str),
            size_bytes=_entry(plain, "size_bytes", int),
            contract=IOContract.from_json(_entry(plain, "contract", dict)),
            reference=_entry(plain, "reference", str),
            graph=_entry(plain, "graph", str) if not _is_general(plain) else None,
            facts=_entry(plain, "facts", dict),
            source=_entry(plain, "source", str) if "source" in plain else None,
            companions=_digests(_entry({"companions": {}, **plain}, "companions", dict)),
        )


@dataclass(frozen=True)
class Manifest:
    """The artifacts of one folder."""

    folder: Path
    artifacts: tuple[Artifact, ...] = ()

    def find(self, file: str) -> Artifact:
        """The artifact of that file name; raises `ArtifactError` where the manifest has none."""
        for artifact in self.artifacts:
            if artifact.file == file:
                return artifact
        raise ArtifactError(
            f"{self.folder / file} is not in {self.folder / MANIFEST_NAME}; export it with edgesr export"
        )

    def with_artifact(self, artifact: Artifact) -> Manifest:
        """The manifest with an artifact added, or exchanged for the one of the same file."""
        others = tuple(a for a in self.artifacts if a.file != artifact.file)
        return dataclasses.replace(self, artifacts=(*others, artifact))

    def check(self, artifact: Artifact) -> Path:
        """The artifact's path, after comparing its bytes and those of its companions with the manifest.

        Raises `ArtifactError` on a difference.
        """
        for name, digest in {**artifact.companions, artifact.file: artifact.sha256}.items():
            path = self._checked(name, digest)
        return path

    def runnable(self, artifact: Artifact) -> Path:
        """The file that this machine's runtimes run, checked: the artifact, or what it was compiled from."""
        path = self.check(artifact)
        return path if artifact.source is None else self.folder / artifact.source

    def _checked(self, name: str, digest: str) -> Path:
        path = self.folder / name
        if not path.is_file():
            raise ArtifactError(f"{path} is missing, its manifest lists it; export it again")
        try:
            found = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise ArtifactError(f"cannot read {path}: {error.strerror or error}; check its permissions") from error
        if found != digest:
            raise ArtifactError(
                f"{path} was changed after its export: sha256 {found[:12]}, the manifest says {digest[:12]}; "
                "export it again"
            )
        return path

    def save(self) -> None:
        """Write manifest.json whole or not at all."""
        plain = {"manifest_version": MANIFEST_VERSION, "artifacts": [a.to_json() for a in self.artifacts]}
        with write_atomically(self.folder / MANIFEST_NAME) as temporary:
            temporary.write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")


def load_manifest(folder: Path) -> Manifest:
    """The manifest of a folder; raises `ArtifactError` where there is none or it cannot be read."""
    return read_manifest(folder / MANIFEST_NAME)


def read_manifest(path: Path) -> Manifest:
    """The manifest in a file; raises as `load_manifest` does."""
    if not path.exists():
        raise ArtifactError(f"{path} does not exist; give a folder, or a file in a folder, that edgesr export wrote")
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        version = plain["manifest_version"]
        artifacts = tuple(Artifact.from_json(a) for a in plain["artifacts"]) if version == MANIFEST_VERSION else ()
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror or error}; check its permissions") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ArtifactError(f"{path} is no edgesr manifest ({type(error).__name__}: {error}); export again") from error
    if version != MANIFEST_VERSION:
        raise ArtifactError(f"{path} has version {version}, this edgesr reads {MANIFEST_VERSION}; export again")
    return Manifest(path.parent, artifacts)


def locate(path: Path) -> tuple[Manifest, tuple[Artifact, ...]]:
    """The manifest for an export folder or one artifact in it, and the artifacts meant."""
    if path.is_dir():
        manifest = load_manifest(path)
        if not manifest.artifacts:
            raise ArtifactError(f"{path / MANIFEST_NAME} lists no artifact; export one with edgesr export")
        return manifest, manifest.artifacts
    if not path.exists():
        raise ArtifactError(f"{path} does not exist; give a folder or an artifact that edgesr export wrote")
    manifest = load_manifest(path.parent)
    return manifest, (manifest.find(path.name),)


def _entry(plain: Mapping[str, object], name: str, *kinds: type[Any]) -> Any:
    """An entry of a manifest, when it is of one of the kinds; true and false are no numbers."""
    value = plain[name]
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise TypeError(f"{name} is {value!r:.40}, wanted {' or '.join(kind.__name__ for kind in kinds)}")
    return value


def _is_general(plain: Mapping[str, object]) -> bool:
    """Whether a file came by the general route, and so from no graph."""
    return bool(_entry(plain, "facts", dict).get("route") == Route.GENERAL.value)


def _digests(plain: Mapping[str, object]) -> dict[str, str]:
    return {name: _entry(plain, name, str) for name in plain}


def _size(plain: object) -> tuple[int, int]:
    if not isinstance(plain, (list, tuple)) or len(plain) != 2 or any(type(n) is not int for n in plain):
        raise TypeError(f"size {plain!r:.40} is no pair of whole numbers")
    return (plain[0], plain[1])
