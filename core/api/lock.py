"""The lock of an exported file: what is needed, beside its other facts, to make the same bytes again.

An artifact's facts hold the packages (`versions`, `converter`, `compiled`) and the network with the sha256 of its
weights (`model`). Its lock, the entry `lock` of the same facts, adds what was asked for as it was asked for, the sha256
of the class's file and of each calibration image, the seeds, and what of the machine takes part. Paths are hints:
rebuilding compares content. The number of threads is not recorded, no result depends on it: quantization computes with
one, and what the order of sums changes in the float64 of capture and folds is lost in the float32 of the file.
"""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from edgesr.api.calibration_lock import CalibrationLock, lock_calibration
from edgesr.api.export_request import ExportRequest, Job
from edgesr.artifact import Artifact
from edgesr.errors import ArtifactError
from edgesr.model.checkpoint import sha256
from edgesr.quant.calibration import SEED
from edgesr.quant.recipe import find_recipe
from edgesr.route import Route
from edgesr.target import IODtype, Layout, Target

LOCK = "lock"
"""The entry of an artifact's facts."""


@dataclass(frozen=True)
class Lock:
    """What one file was asked for; the fields of the request are `ExportRequest`'s, for its target and `npu` alone.

    `class_sha256` is that of the file of a class of the user's own, `calibration` None where no image has shaped the
    file. `configuration` is the file that options came from, if any.
    """

    model: str | None
    weights: str | None
    init: Mapping[str, object]
    sizes: tuple[tuple[int, int], ...]
    io: IODtype | None
    layout: Layout | None
    effort: str
    max_drop_db: float | None
    npu: str
    route: Route
    class_sha256: str | None
    calibration: CalibrationLock | None
    seeds: Mapping[str, int]
    python: str
    machine: Mapping[str, str]
    configuration: str | None = None

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        plain = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return plain | {
            "init": dict(self.init),
            "sizes": [list(size) for size in self.sizes],
            "io": self.io.value if self.io else None,
            "layout": self.layout.value if self.layout else None,
            "route": self.route.value,
            "calibration": self.calibration.to_json() if self.calibration else None,
            "seeds": dict(self.seeds),
            "machine": dict(self.machine),
        }

    def request(
        self, target: Target, out: Path, model: str | None, weights: Path | None, calibration: Path | None
    ) -> ExportRequest:
        """The request that makes the file again, from what lies at these places now."""
        return ExportRequest(
            targets=(target,), out=out, model=model, weights=weights, sizes=self.sizes, io=self.io, layout=self.layout,
            calibration=calibration, effort=self.effort, max_drop_db=self.max_drop_db, npus=(self.npu,),
            init=self.init, route=self.route,
        )  # fmt: skip


def read_lock(artifact: Artifact) -> Lock:
    """The lock of an artifact; raises `ArtifactError` where it has none or a damaged one."""
    plain = artifact.facts.get(LOCK)
    if not isinstance(plain, Mapping):
        raise ArtifactError(
            f"{artifact.file} has no lock in its manifest, an edgesr before locks wrote it; export it again instead"
        )
    try:
        return _parsed(plain)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        why = f"{type(error).__name__}: {error}"
        raise ArtifactError(f"the lock of {artifact.file} is damaged ({why}); export it again instead") from error


def _parsed(plain: Mapping[str, object]) -> Lock:
    values = {field.name: plain[field.name] for field in dataclasses.fields(Lock)}
    for name in ("model", "weights", "class_sha256", "configuration"):
        _require(values[name] is None or isinstance(values[name], str), name)
    for name in ("effort", "npu", "python"):
        _require(isinstance(values[name], str), name)
    for name in ("init", "seeds", "machine"):
        _require(isinstance(values[name], dict), name)
    _require(values["max_drop_db"] is None or type(values["max_drop_db"]) in (int, float), "max_drop_db")
    sizes, calibration = values["sizes"], values["calibration"]
    _require(isinstance(sizes, list) and all(_is_size(size) for size in sizes), "sizes")
    values |= {
        "sizes": tuple((size[0], size[1]) for size in sizes),  # type: ignore[attr-defined]  # required above
        "io": IODtype(values["io"]) if values["io"] is not None else None,
        "layout": Layout(values["layout"]) if values["layout"] is not None else None,
        "route": Route(values["route"]),
        "calibration": CalibrationLock.from_json(calibration) if calibration is not None else None,  # type: ignore[arg-type]  # it checks
    }
    return Lock(**values)  # type: ignore[arg-type]  # checked above


def _require(holds: bool, name: str) -> None:
    if not holds:
        raise TypeError(f"{name} is of another kind")


def _is_size(size: object) -> bool:
    return isinstance(size, list) and len(size) == 2 and all(type(n) is int and n > 0 for n in size)


class LockWriter:
    """Writes the locks of one export; made before the network is loaded, so that what is hashed is what runs."""

    def __init__(self, request: ExportRequest) -> None:
        self._request = request
        named = request.user_class
        self._class_sha256 = sha256(named.file) if named is not None and named.file.is_file() else None

    def facts(self, job: Job) -> dict[str, object]:
        """The entry of an artifact's facts."""
        return {LOCK: self._lock(job).to_json()}

    def _lock(self, job: Job) -> Lock:
        request, integer = self._request, job.target.precision.is_integer
        return Lock(
            model=request.model,
            weights=None if request.weights is None else str(request.weights),
            init=request.init,
            sizes=request.sizes,
            io=request.io,
            layout=request.layout,
            effort=request.effort,
            max_drop_db=request.max_drop_db,
            npu=job.npu.name,
            route=request.route,
            class_sha256=self._class_sha256,
            calibration=self._calibration if integer else None,
            seeds=_seeds(request) if integer else {},
            python=platform.python_version(),
            machine=describe_machine(learns(request) and integer),
            configuration=None if request.configuration is None else str(request.configuration),
        )

    @cached_property
    def _calibration(self) -> CalibrationLock:
        return lock_calibration(self._request.calibration, reads_photographs(self._request))


def learns(request: ExportRequest) -> bool:
    """Whether the effort learns by gradient, which it does on a GPU where there is one."""
    return bool(find_recipe(request.effort).learning)


def reads_photographs(request: ExportRequest) -> bool:
    """Whether photographs beyond the calibration images take part."""
    return learns(request) or request.max_drop_db is not None


def _seeds(request: ExportRequest) -> dict[str, int]:
    if request.route is Route.GENERAL:
        return {}
    recipe = find_recipe(request.effort)
    learning = {"patches": recipe.seed, **{plan.name: plan.seed for plan in recipe.learning}} if recipe.learning else {}
    return {"calibration": SEED, **learning}


def describe_machine(learning: bool) -> dict[str, str]:
    """What of a machine takes part in a file's bytes: float sums follow the processor's vector width, or the GPU."""
    machine = {
        "system": platform.system(),
        "processor": platform.machine(),
        "vectors": torch.backends.cpu.get_cpu_capability(),
    }
    on_gpu = learning and torch.cuda.is_available()
    return machine | ({"gpu": torch.cuda.get_device_name()} if on_gpu else {})
