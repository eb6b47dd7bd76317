"""What a rebuild needs, found and compared with the locks before anything runs; files that share work go together.

A checkpoint, a class's file and calibration images are looked for where the caller says, then where the lock says; what
counts is their content. A class of the user's own is executed only where the caller names it, as in any export.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgesr.api.calibration_lock import CalibrationLock, lock_calibration
from edgesr.api.export_request import ExportRequest
from edgesr.api.lock import Lock, read_lock, reads_photographs
from edgesr.artifact import MANIFEST_NAME, Artifact, Manifest, read_manifest
from edgesr.errors import (
    ArtifactError,
    CalibrationError,
    CheckpointError,
    EdgeSRError,
    ExportError,
    ImageError,
    NetworkError,
)
from edgesr.model.checkpoint import sha256
from edgesr.model.registry import DEFAULT_MODEL, WEIGHTS_FOLDER, find_bundled
from edgesr.target import Target
from edgesr.user_code import parse_user_class

FindCalibration = Callable[[Path | None, bool], CalibrationLock]
SHORT = 12
"""Digits of a sha256 that a message shows."""


@dataclass(frozen=True)
class RebuildRequest:
    """Which files of a manifest to build again, and where what they need lies now.

    `manifest` is the file or its folder. `out` keeps the files, None compares and keeps none. `model` names the class
    of the user's own that the files were made from, which is executed. `weights` and `calibration` say where the
    checkpoint and the images are, None that they are where the lock says. `targets` choose files, none of them all.
    """

    manifest: Path
    out: Path | None = None
    model: str | None = None
    weights: Path | None = None
    calibration: Path | None = None
    targets: tuple[Target, ...] = ()

    @property
    def manifest_file(self) -> Path:
        """The manifest itself."""
        return self.manifest / MANIFEST_NAME if self.manifest.is_dir() else self.manifest


@dataclass(frozen=True)
class LockedFile:
    """An artifact as its manifest has it, and its lock."""

    artifact: Artifact
    lock: Lock


@dataclass(frozen=True)
class RebuildPlan:
    """The files to build again, and the exports that build them."""

    files: tuple[LockedFile, ...]
    exports: tuple[ExportRequest, ...]


def plan_rebuild(request: RebuildRequest, out: Path) -> RebuildPlan:
    """Find everything, or refuse.

    Raises `ArtifactError` for a manifest or lock that cannot be used, and `CheckpointError`, `NetworkError` or
    `CalibrationError` for what is missing or has other bytes than the lock says.
    """
    files = _chosen(read_manifest(request.manifest_file), request)
    if request.out is not None and request.out.resolve() == request.manifest_file.parent.resolve():
        raise ExportError(f"{request.out} holds the files to compare with; choose another folder with -o, or none")
    ordered = sorted(files, key=lambda file: not file.artifact.find_target().precision.is_integer)
    exports: list[ExportRequest] = []
    found = functools.cache(lock_calibration)
    for file in ordered:
        exports = _merged(exports, _Search(request, file, found).request(out))
    return RebuildPlan(files, tuple(exports))


def _chosen(manifest: Manifest, request: RebuildRequest) -> tuple[LockedFile, ...]:
    names = {target.name for target in request.targets}
    known = {artifact.target for artifact in manifest.artifacts}
    if missing := sorted(names - known):
        held = ", ".join(sorted(known)) or "no file"
        raise ArtifactError(f"{request.manifest_file} has no {missing[0]}; it holds {held}")
    if not manifest.artifacts:
        raise ArtifactError(f"{request.manifest_file} lists no artifact; give the manifest of an export")
    chosen = [artifact for artifact in manifest.artifacts if not names or artifact.target in names]
    return tuple(LockedFile(artifact, read_lock(artifact)) for artifact in chosen)


def _merged(exports: Sequence[ExportRequest], new: ExportRequest) -> list[ExportRequest]:
    """The exports with another file, made by one that makes it and no other file besides, or by one of its own.

    Files of floats have no calibration images of their own, and join any export that is alike otherwise.
    """
    for index, old in enumerate(exports):
        joined = _joined(old, new)
        if joined is not None and _made_by(joined) == _made_by(old) | _made_by(new):
            return [*exports[:index], joined, *exports[index + 1 :]]
    return [*exports, new]


def _made_by(request: ExportRequest) -> set[tuple[str, str]]:
    return {(job.target.name, job.npu.name) for job in request.jobs}


def _joined(old: ExportRequest, new: ExportRequest) -> ExportRequest | None:
    if _shape(old) != _shape(new):
        return None
    (target,) = new.targets
    if target.precision.is_integer and old.calibration != new.calibration:
        return None
    free = [npu for part in (old, new) for npu in part.npus if any(t.compiler is None for t in part.targets)]
    npus = tuple(dict.fromkeys((*free, *old.npus, *new.npus)))
    try:
        joined = dataclasses.replace(old, targets=tuple(dict.fromkeys((*old.targets, target))), npus=npus)
        return joined if joined.jobs else None
    except EdgeSRError:  # together they ask for what none of them did
        return None


def _shape(request: ExportRequest) -> tuple[object, ...]:
    init = json.dumps(dict(request.init), sort_keys=True)
    return (
        request.model, request.weights, request.sizes, request.io, request.layout, request.effort, request.max_drop_db,
        init, request.route,
    )  # fmt: skip


class _Search:
    """Finds what one file was made from; `found` hashes calibration images, as `lock_calibration` does."""

    def __init__(self, request: RebuildRequest, file: LockedFile, found: FindCalibration) -> None:
        self._asked = request
        self._found = found
        self._lock = file.lock
        self._artifact = file.artifact
        model = file.artifact.facts.get("model")
        self._sha256 = str(model.get("sha256")) if isinstance(model, dict) else ""

    def request(self, out: Path) -> ExportRequest:
        """The request for this file; raises as `plan_rebuild` does."""
        target, integer = self._artifact.find_target(), self._lock.calibration is not None
        model, weights = self._model(), self._weights()
        calibration = self._calibration(self._lock.request(target, out, model, weights, None)) if integer else None
        return self._lock.request(target, out, model, weights, calibration)

    def _model(self) -> str | None:
        """The model's name, or the class as the caller names it."""
        locked, given = parse_user_class(self._lock.model), parse_user_class(self._asked.model)
        if locked is None:
            return self._lock.model
        if given is None:
            raise NetworkError(
                f"{self._artifact.file} was made from {locked}, whose file a rebuild executes; name it as MODEL if you "
                f"would run it"
            )
        wanted = f"give the file that {self._artifact.file} was made from"
        if given.name != locked.name:
            raise NetworkError(f"{given.name} is another class than {locked.name}; {wanted}")
        if not given.file.is_file():
            raise NetworkError(f"{given.file}: no such file; {wanted}")
        if (found := sha256(given.file)) != self._lock.class_sha256:
            raise NetworkError(f"{given.file} is not as it was: {_differ(found, self._lock.class_sha256)}; {wanted}")
        return self._asked.model

    def _weights(self) -> Path | None:
        """The checkpoint; None for a bundled model's."""
        if self._lock.weights is None:
            bundled = WEIGHTS_FOLDER / find_bundled(self._lock.model or DEFAULT_MODEL).weights
            if (found := sha256(bundled)) != self._sha256:
                raise CheckpointError(
                    f"the weights of {self._lock.model or DEFAULT_MODEL} that come with this edgesr are others: "
                    f"{_differ(found, self._sha256)}; install the edgesr that wrote the manifest"
                )
            return None
        places = [place for place in (self._asked.weights, Path(self._lock.weights)) if place is not None]
        digests = {place: sha256(place) for place in places if place.is_file()}
        for place, digest in digests.items():
            if digest == self._sha256:
                return place
        for place, digest in digests.items():
            raise CheckpointError(
                f"{place} is not the checkpoint of {self._artifact.file}: {_differ(digest, self._sha256)}; give that "
                "one with --weights"
            )
        raise CheckpointError(f"{places[0]}: no such file; give the checkpoint of {self._artifact.file} with --weights")

    def _calibration(self, request: ExportRequest) -> Path | None:
        """The folder of calibration images; None for the builtin set."""
        locked = self._lock.calibration
        assert locked is not None  # its caller asks for integers alone
        hint = None if locked.folder is None else Path(locked.folder)
        places = (hint,) if self._asked.calibration is None else (self._asked.calibration, hint)
        why_not = {place: self._why_not(locked, place, reads_photographs(request)) for place in places}
        for place, why in why_not.items():
            if why is None:
                return place
        raise CalibrationError(
            f"{places[0] or 'the builtin set'}: not the calibration images of {self._artifact.file}: "
            f"{why_not[places[0]]}; give those with --calib"
        )

    def _why_not(self, locked: CalibrationLock, place: Path | None, with_photographs: bool) -> str | None:
        try:
            return locked.why_not(self._found(place, with_photographs))
        except ImageError as error:
            return str(error).rpartition(";")[0] or str(error)


def _differ(found: str, locked: str | None) -> str:
    return f"sha256 {found[:SHORT]}, the lock says {(locked or 'none')[:SHORT]}"
