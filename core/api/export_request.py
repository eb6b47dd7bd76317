"""What an export is asked for, and the files that follow: one for each target, and for each NPU compiled for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgesr.api.widths import refuse_widths
from edgesr.errors import ExportError
from edgesr.npu_profile import NPU_PROFILES, NpuProfile, find_npu_profile
from edgesr.quant.recipe import RECIPES, find_recipe
from edgesr.route import GENERAL_TARGETS, Route, why_not_general
from edgesr.target import Compiler, Format, IODtype, Layout, Target
from edgesr.user_code import UserClass, parse_user_class


@dataclass(frozen=True)
class Job:
    """One file to write: its target, and the NPU whose wishes it meets."""

    target: Target
    npu: NpuProfile

    @property
    def stem(self) -> str:
        """What follows the model's name in the file's, without its suffix."""
        if self.target.compiler is None:
            return self.target.precision.value
        return self.target.name if self.target.npu else f"{self.target.name}-{self.npu.name}"


@dataclass(frozen=True)
class ExportRequest:
    """What to export, how and where.

    `model` is a bundled model's name, or a class of the user's own, `path/to/net.py:Class`: that file is executed, the
    class needs `weights`, and `init` are its constructor's arguments. `sizes` are input sizes (H, W): none leaves ONNX
    files free and writes TFLite and compiled files for 128x128; an ONNX or compiled file holds one size. `io` and
    `layout` None mean each target's default. `calibration` is a folder of images, None the builtin set. `max_drop_db`
    lets int8 targets have 16-bit activations where the picture would lose more. `npus` name the NPUs: targets that are
    compiled are written for each of theirs, others for the first. The general `route` is for networks outside the
    vocabulary: its files hold one size, take floats, and follow no NPU, effort or budget. `configuration` is the file
    that options came from, which the manifest names.
    """

    targets: tuple[Target, ...]
    out: Path
    model: str | None = None
    weights: Path | None = None
    sizes: tuple[tuple[int, int], ...] = ()
    io: IODtype | None = None
    layout: Layout | None = None
    calibration: Path | None = None
    effort: str = RECIPES[0].name
    max_drop_db: float | None = None
    npus: tuple[str, ...] = (NPU_PROFILES[0].name,)
    init: Mapping[str, object] = field(default_factory=dict)
    route: Route = Route.NATIVE
    configuration: Path | None = None

    @property
    def user_class(self) -> UserClass | None:
        """The class in a file that `model` names, None where it is a name or nothing."""
        return parse_user_class(self.model)

    def __post_init__(self) -> None:
        """Refuse an empty request and combinations that a target does not have."""
        if not self.targets:
            raise ExportError("nothing to export; name a target")
        find_recipe(self.effort)
        if any(min(size) < 1 for size in self.sizes):
            raise ExportError("a size has no pixel; give height and width of 1 or more")
        self._refuse_network()
        if self.route is Route.GENERAL:
            self._refuse_general()
        for target in self.targets:
            self._refuse(target)
        for job in self.jobs:
            refuse_widths(self.max_drop_db, job.npu, job.target)

    def _refuse_network(self) -> None:
        if self.user_class is None and self.init:
            raise ExportError("init is for a class of your own; name it as the model, like path/to/net.py:Class")
        if self.user_class is not None and self.weights is None:
            raise ExportError(
                f"{self.user_class} has no weights, and a network of random numbers proves nothing; give its "
                "checkpoint with --weights"
            )

    def _refuse_general(self) -> None:
        for target in self.targets:
            if why := why_not_general(target):
                raise ExportError(f"{target.name} does not go the general route: {why}; choose from {GENERAL_TARGETS}")
        if len(self.sizes) > 1:
            raise ExportError("a file of the general route holds one size; give one --size")
        if self.io not in (None, IODtype.FLOAT32):
            raise ExportError("files of the general route take and give float32; leave out --io")
        if self.layout is Layout.NHWC and any(target.format is Format.ONNX for target in self.targets):
            raise ExportError("ONNX files of the general route are nchw; leave out --layout")
        defaults = self.effort == RECIPES[0].name and self.max_drop_db is None and self.npus == (NPU_PROFILES[0].name,)
        if not defaults:
            raise ExportError("--effort, --max-drop and --npu shape edgesr's own graph, which the general route lacks")

    def _refuse(self, target: Target) -> None:
        if self.io is not None and self.io not in target.io:
            choices = ", ".join(io.value for io in target.io)
            raise ExportError(f"{target.name} has no {self.io.value} I/O; choose from {choices}")
        if self.layout is not None and self.layout not in target.layouts:
            choices = ", ".join(layout.value for layout in target.layouts)
            raise ExportError(f"{target.name} has no {self.layout.value} layout; choose from {choices}")
        if (target.format is Format.ONNX or target.compiler) and len(self.sizes) > 1:
            free = "" if target.compiler else ", or none to leave it free"
            raise ExportError(f"{target.name} holds one size; give one --size{free}")

    @property
    def jobs(self) -> tuple[Job, ...]:
        """The files to write, in the order of the targets; raises `ExportError` for an NPU that no file is for."""
        profiles = [find_npu_profile(name) for name in dict.fromkeys(self.npus)]
        jobs = [Job(target, npu) for target in self.targets for npu in _npus_of(target, profiles)]
        for npu in profiles[1:]:
            if not any(job.npu is npu for job in jobs):
                raise ExportError(
                    f"nothing is compiled for {npu.name}: files that run on any NPU follow the first --npu, "
                    f"{profiles[0].name}; leave it out, or add a target that is compiled for it"
                )
        return tuple(jobs)


def _npus_of(target: Target, profiles: list[NpuProfile]) -> list[NpuProfile]:
    if target.compiler is None:
        return profiles[:1]
    if target.npu is not None:
        return [find_npu_profile(target.npu)]
    fitting = [npu for npu in profiles if target.compiler in npu.compilers]
    if not fitting:
        raise ExportError(f"{target.name} is compiled for one NPU; name it with --npu: {_names(target.compiler)}")
    return fitting


def _names(compiler: Compiler) -> str:
    return ", ".join(npu.name for npu in NPU_PROFILES if compiler in npu.compilers)
