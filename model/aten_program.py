"""A network as its core-ATen program: what stands for a user's class that the graph's vocabulary cannot hold.

A program is a list of steps in single-assignment order, for images of one size. Each step names a functional operator
of core ATen (`torch.Tag.core`) or `getitem`, and plain arguments: numbers, lists, and references to values before. To
load one is to look operators up by name among those, never to execute code that came with it, and never to unpickle.

The program is recorded in float64, with float64 constants. It runs in the dtype of its parameters: where a step makes a
float64 tensor by name, that dtype takes its place.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from edgesr.architecture import SRModel
from edgesr.errors import CheckpointError, ImageError

PROGRAM = "program"
"""The architecture of a network that is in no registry and in no vocabulary: its program is all there is."""
VALUE, DTYPE, MEMORY_FORMAT = "$value", "$dtype", "$memory_format"
"""The one key of a JSON object that stands for a value of the program, a dtype or an order in memory."""
GETITEM = "getitem"
DTYPES = {
    str(kind).removeprefix("torch."): kind
    for kind in (torch.float64, torch.float32, torch.int64, torch.int32, torch.int8, torch.uint8, torch.bool)
}
MEMORY_FORMATS = {str(kind).removeprefix("torch."): kind for kind in (torch.contiguous_format, torch.preserve_format)}


@dataclass(frozen=True)
class Step:
    """One operator; arguments hold JSON values alone."""

    name: str
    operator: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class AtenProgram:
    """Steps from an image (1, C, H, W) of `shape`, called `image`, to `output`; `tensors` are constants by name."""

    image: str
    shape: tuple[int, ...]
    steps: tuple[Step, ...]
    output: str
    tensors: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        """Refuse operators outside core ATen and values that nothing computes before they are used."""
        known = {self.image, *self.tensors}
        for step in self.steps:
            find_operator(step.operator)
            if missing := references(step) - known:
                raise CheckpointError(f"step {step.name} reads {', '.join(sorted(missing))}, which nothing computes")
            known.add(step.name)
        if self.output not in known:
            raise CheckpointError(f"nothing computes its output {self.output}")

    def to_json(self) -> dict[str, object]:
        """All but the tensors, as plain values."""
        steps = [[step.name, step.operator, list(step.args), dict(step.kwargs)] for step in self.steps]
        return {"image": self.image, "shape": list(self.shape), "steps": steps, "output": self.output}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> AtenProgram:
        """The program that `to_json` wrote; for any other description raises whatever its values raise."""
        steps = tuple(
            Step(str(name), str(kind), tuple(args), dict(kwargs)) for name, kind, args, kwargs in plain["steps"]
        )
        return cls(str(plain["image"]), tuple(plain["shape"]), steps, str(plain["output"]), tensors)


class ProgramNetwork(nn.Module):
    """A program as a module; its constants are buffers, in float64 until the module is converted."""

    def __init__(self, program: AtenProgram) -> None:
        super().__init__()
        self.program = program
        self._names = tuple(program.tensors)
        self._unused = last_uses(program)
        for index, value in enumerate(program.tensors.values()):
            self.register_buffer(f"constant_{index}", value.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        """Map (1, C, H, W), of the size that was recorded, to (1, C, scale*H, scale*W); `ImageError` for others."""
        if tuple(x.shape) != self.program.shape:
            wanted, found = ("x".join(map(str, shape[2:])) for shape in (self.program.shape, x.shape))
            raise ImageError(f"this network was recorded for one image of {wanted}, not {len(x)} of {found}")
        values: dict[str, Any] = {name: self.get_buffer(f"constant_{i}") for i, name in enumerate(self._names)}
        values[self.program.image] = x
        for step in self.program.steps:
            args, kwargs = (_restored(part, values, x.dtype) for part in (list(step.args), dict(step.kwargs)))
            values[step.name] = find_operator(step.operator)(*args, **kwargs)
            for name in self._unused.get(step.name, ()):
                del values[name]
        output: Tensor = values[self.program.output]
        return output


def find_operator(name: str) -> Callable[..., Any]:
    """An operator by its name, `aten.<name>.<overload>`; raises `CheckpointError` for any but the allowed ones."""
    if name == GETITEM:
        return operator.getitem
    space, _, rest = name.partition(".")
    packet, _, overload = rest.partition(".")
    found = getattr(getattr(torch.ops.aten, packet, None), overload, None) if space == "aten" else None
    if not isinstance(found, torch._ops.OpOverload):
        raise CheckpointError(f"this torch has no operator {name:.60}")
    if why := why_not_recordable(found):
        raise CheckpointError(f"operator {name:.60} {why}")
    return found


def why_not_recordable(found: torch._ops.OpOverload) -> str | None:
    """Why an operator may not be a step, None where it may."""
    if torch.Tag.core not in found.tags:
        return "is outside core ATen"
    if torch.Tag.nondeterministic_seeded in found.tags:
        return "makes random numbers, so that no file could compute what it computes"
    return "changes its inputs" if found._schema.is_mutable else None


def references(step: Step) -> set[str]:
    """The values that a step reads."""
    return set(_referenced([list(step.args), dict(step.kwargs)]))


def last_uses(program: AtenProgram) -> dict[str, list[str]]:
    """For each step the values that no later one reads, so that memory is bounded by what is alive."""
    last = {name: step.name for step in program.steps for name in references(step)}
    last.pop(program.output, None)
    unused: dict[str, list[str]] = {}
    for name, step in last.items():
        unused.setdefault(step, []).append(name)
    return unused


def _referenced(plain: object) -> list[str]:
    if isinstance(plain, dict):
        return [plain[VALUE]] if set(plain) == {VALUE} else [n for part in plain.values() for n in _referenced(part)]
    return [name for part in plain for name in _referenced(part)] if isinstance(plain, list) else []


def _restored(plain: Any, values: Mapping[str, Any], dtype: torch.dtype) -> Any:
    """An argument as torch takes it."""
    if isinstance(plain, list):
        return [_restored(part, values, dtype) for part in plain]
    if not isinstance(plain, dict):
        return plain
    if set(plain) == {VALUE}:
        return values[plain[VALUE]]
    if set(plain) == {DTYPE}:
        return dtype if DTYPES[plain[DTYPE]] is torch.float64 else DTYPES[plain[DTYPE]]
    if set(plain) == {MEMORY_FORMAT}:
        return MEMORY_FORMATS[plain[MEMORY_FORMAT]]
    return {name: _restored(part, values, dtype) for name, part in plain.items()}


def in_program_form(model: SRModel, program: AtenProgram) -> SRModel:
    """The model with its recorded program in the place of its module."""
    return replace(model, architecture=PROGRAM, module=ProgramNetwork(program).eval())
