"""From a torch module to its core-ATen program at one size, and the proof that it computes what the module computes.

torch.export traces the module in float64 and takes every operator apart into core ATen. What core ATen lacks cannot be
recorded; that is rare, and named. Sizes are those of the one image, so code that depends on the size is no obstacle.
"""

from __future__ import annotations

import copy
import operator
from typing import Any

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram
from torch.export.graph_signature import OutputKind

from edgesr.architecture import SRModel
from edgesr.errors import CheckpointError, ExportError, UnsupportedOpError
from edgesr.export.capture import CHECK_TOLERANCE, run_in_float64, torch_kept_quiet, tracing_failure
from edgesr.export.node_origin import module_path, operator_name, source_line
from edgesr.model.aten_program import (
    DTYPE,
    DTYPES,
    GETITEM,
    MEMORY_FORMAT,
    MEMORY_FORMATS,
    VALUE,
    AtenProgram,
    ProgramNetwork,
    Step,
    why_not_recordable,
)

LEFT_OUT = ("device", "layout", "pin_memory")
"""Where a tensor lies is the caller's choice: all of them on the CPU, in rows."""
NO_RESULT = ("aten._assert_tensor_metadata.default",)


def record_program(model: SRModel, in_channels: int, size: tuple[int, int]) -> AtenProgram:
    """The model's program for images of `size` (H, W).

    Raises `ExportError` where torch.export cannot trace the module or the program computes something else, and
    `UnsupportedOpError`, listing them, for operators outside core ATen.
    """
    shape = (1, in_channels, *size)
    example = torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * model.value_range
    expected = run_in_float64(model, example)
    program = _read(_trace(model, example), model.name, shape)
    with torch.no_grad():
        found = ProgramNetwork(program)(example)
    difference = (found - expected).abs().max().item() if found.shape == expected.shape else float("inf")
    if not difference <= CHECK_TOLERANCE * max(1.0, expected.abs().max().item()):
        raise ExportError(f"{model.name}: the recorded program differs from the module by {difference:.3g} in float64")
    return program


def _trace(model: SRModel, example: Tensor) -> ExportedProgram:
    try:
        with torch_kept_quiet():
            traced = torch.export.export(copy.deepcopy(model.module).double(), (example.clone(),))
            program: ExportedProgram = traced.run_decompositions()
            return program
    except Exception as error:  # torch.export raises dozens of kinds; every one means: not traceable
        size = "x".join(map(str, example.shape[2:]))
        why = f"torch.export cannot trace its forward at {size}: {tracing_failure(error)}"
        raise ExportError(f"{model.name}: {why}") from error


def _read(program: ExportedProgram, name: str, shape: tuple[int, ...]) -> AtenProgram:
    signature = program.graph_signature
    if changed := list(signature.buffers_to_mutate.values()):
        why = f"its forward changes '{changed[0]}' in place; compute a new tensor instead"
        raise UnsupportedOpError(f"{name}: {why}")
    tensors = _constants(program)
    nodes = [node for node in program.graph.nodes if node.op == "call_function" and _target(node) not in NO_RESULT]
    _refuse_foreign(nodes, name)
    image = signature.user_inputs[0]
    outputs = [s.arg.name for s in signature.output_specs if s.kind is OutputKind.USER_OUTPUT]
    steps = tuple(
        Step(
            node.name,
            _target(node),
            tuple(_plain(part, name) for part in node.args),
            {key: _plain(part, name) for key, part in node.kwargs.items() if key not in LEFT_OUT},
        )
        for node in nodes
    )
    try:
        return AtenProgram(str(image), shape, steps, str(outputs[0]), tensors)
    except CheckpointError as error:
        raise ExportError(f"{name}: its program cannot be recorded: {error}; report it with the class") from error


def _constants(program: ExportedProgram) -> dict[str, Tensor]:
    """Parameters, buffers and constants by the name of their placeholder."""
    signature = program.graph_signature
    stored = {**program.constants, **program.state_dict}
    names = signature.inputs_to_parameters | signature.inputs_to_buffers | signature.inputs_to_lifted_tensor_constants
    return {holder: t.detach() for holder, name in names.items() if isinstance(t := stored[name], Tensor)}


def _refuse_foreign(nodes: list[fx.Node], name: str) -> None:
    """Raise `UnsupportedOpError` for every operator that no step may be."""
    found: dict[str, str] = {}
    for node in nodes:
        if node.target is operator.getitem:
            continue
        why = why_not_recordable(node.target) if isinstance(node.target, torch._ops.OpOverload) else "is no operator"
        if why is not None:
            line = source_line(node)
            place = f" at {module_path(node) or 'forward'}{f' in {line}' if line else ''}"
            found.setdefault(_target(node), f"{_target(node)}{place} {why}")
    if found:
        raise UnsupportedOpError(f"{name}: the general route cannot keep its program: {'; '.join(found.values())}")


def _target(node: fx.Node) -> str:
    return GETITEM if node.target is operator.getitem else operator_name(node)


def _plain(part: Any, name: str) -> Any:
    """An argument as JSON holds it; raises `ExportError` for what it cannot hold."""
    if isinstance(part, fx.Node):
        return {VALUE: part.name}
    if isinstance(part, (list, tuple)):
        return [_plain(item, name) for item in part]
    if isinstance(part, torch.dtype) and (kind := str(part).removeprefix("torch.")) in DTYPES:
        return {DTYPE: kind}
    if isinstance(part, torch.memory_format) and (order := str(part).removeprefix("torch.")) in MEMORY_FORMATS:
        return {MEMORY_FORMAT: order}
    if part is None or isinstance(part, (bool, int, float, str)):
        return part
    raise ExportError(f"{name}: its program holds {part!r:.40}, which cannot be recorded; report it with the class")
