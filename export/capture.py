"""From a torch module to a graph: torch.export's core-ATen program read through one table.

The program is exported with free height and width, so that a network whose arithmetic depends on the image size is
refused and not silently frozen. Arithmetic on constants alone is computed here and now. The captured graph is then
checked against the module in float64 at a size that the export has not seen.
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import operator
import warnings
from typing import TYPE_CHECKING

import torch
from torch import Tensor, fx
from torch.export import Dim, ExportedProgram
from torch.export.graph_signature import OutputKind
from torch.utils._pytree import tree_map_only

from edgesr.architecture import SRModel
from edgesr.errors import ExportError, UnsupportedOpError
from edgesr.export.aten import (
    ALIASES,
    HANDLERS,
    FollowingError,
    NodeReader,
    OpaqueValue,
    RefusedOperatorError,
    RefusedValue,
)
from edgesr.export.node_origin import module_path, operator_name
from edgesr.export.refusals import Refusal, describe_refusals, refusal_of
from edgesr.graph import Graph
from edgesr.ops import Op, TensorSpec
from edgesr.span_gate import native_decompositions
from edgesr.user_code import raised_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

INPUT_NAME = "input"
EXAMPLE_SIZE = (24, 40)
CHECK_SIZE = (17, 29)
CHECK_TOLERANCE = 1e-9  # float64 rounding through tens of layers, relative to the largest output
KEPT_WHOLE = (
    "pixel_shuffle", "hardswish", "upsample_nearest2d", "prelu", "reflection_pad2d", "replication_pad2d",
)  # fmt: skip
"""What core ATen would take apart; padding modes so that they are refused by name."""


def capture(model: SRModel, in_channels: int = 3) -> Graph:
    """The graph of `model`, with float64 parameters.

    Raises `UnsupportedOpError`, listing everything outside the vocabulary with its places, and `ExportError` when
    torch.export cannot trace the module or the captured graph computes something else.
    """
    program = _export(model, in_channels)
    graph = _GraphBuilder(program, model.name, in_channels).build()
    _check(graph, model, in_channels)
    return graph


def _export(model: SRModel, in_channels: int) -> ExportedProgram:
    multiple = model.size_multiple
    example = torch.zeros(1, in_channels, *(n * multiple for n in EXAMPLE_SIZE))
    axes = [Dim(f"{axis}_blocks", min=1, max=8192) for axis in ("height", "width")]
    sizes = {i + 2: axis if multiple == 1 else multiple * axis for i, axis in enumerate(axes)}
    table: dict[torch._ops.OperatorBase, Callable[..., object]] = torch.export.default_decompositions()
    table.update(native_decompositions())
    for name in KEPT_WHOLE:
        packet = getattr(torch.ops.aten, name)
        for overload in packet.overloads():
            table.pop(getattr(packet, overload), None)
    try:
        with torch_kept_quiet():
            program = torch.export.export(model.module, (example,), dynamic_shapes=(sizes,))
            decomposed: ExportedProgram = program.run_decompositions(table)
            return decomposed
    except Exception as error:  # torch.export raises dozens of kinds; every one means: not traceable
        why = f"torch.export cannot trace its forward with free height and width: {tracing_failure(error)}"
        raise ExportError(f"{model.name}: {why}") from error


@contextlib.contextmanager
def torch_kept_quiet() -> Iterator[None]:
    """Leave out torch's own deprecations, and the program that it prints and logs beside an error it raises."""
    threshold, aside = logging.root.manager.disable, io.StringIO()
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(aside), contextlib.redirect_stderr(aside):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(threshold)


def tracing_failure(error: Exception) -> str:
    """The first line of an error of torch.export; of violated constraints the second one too."""
    lines = [line.strip(" -") for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    count = 2 if lines[0].startswith("Constraints violated") else 1
    text = " ".join(lines[:count]).replace(' For more information, run with TORCH_LOGS="+dynamic".', "")
    place = raised_at(error)
    text = f"{text} (in {place})" if place else text
    branches = "no branch or loop may depend on the image's values"
    return f"{text}; {branches}" if "data-dependent" in text else text


def _check(graph: Graph, model: SRModel, in_channels: int) -> None:
    height, width = (n * model.size_multiple for n in CHECK_SIZE)
    x = torch.rand(2, in_channels, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = x * model.value_range
    expected = run_in_float64(model, x)
    if expected.shape[2:] != (model.scale * height, model.scale * width):
        made = f"{tuple(expected.shape[2:])} pixels of {(height, width)}"
        raise ExportError(f"{model.name}: its forward makes {made}, which is not the model's scale {model.scale}")
    with torch.no_grad():
        output = graph.execute(x)
    difference = (output - expected).abs().max().item() if output.shape == expected.shape else float("inf")
    if not difference <= CHECK_TOLERANCE * max(1.0, expected.abs().max().item()):
        raise ExportError(f"{model.name}: the captured graph differs from the module by {difference:.3g} in float64")


def run_in_float64(model: SRModel, x: Tensor) -> Tensor:
    """What the module itself makes of `x`, tensors kept in plain attributes converted too."""
    module = copy.deepcopy(model.module).double()
    for part in module.modules():
        for name, value in vars(part).items():
            if isinstance(value, Tensor) and value.is_floating_point():
                setattr(part, name, value.double())
    try:
        with torch.no_grad():
            output: Tensor = module(x.clone())  # a forward may change its input in place
    except Exception as error:  # whatever the network's own code raises
        raise ExportError(
            f"{model.name}: its forward fails in float64, where it is checked: {tracing_failure(error)}"
        ) from error
    if output.dtype != torch.float64:
        raise ExportError(f"{model.name}: its forward casts to {output.dtype}; leave the dtype as it comes in")
    return output


class _GraphBuilder:
    """Walks the exported program once and collects operators."""

    def __init__(self, program: ExportedProgram, name: str, in_channels: int) -> None:
        self.program = program
        self.name = name
        self.input = TensorSpec(INPUT_NAME, in_channels)
        self.values: dict[fx.Node, object] = {}
        self.ops: list[Op] = []
        self.refusals: list[Refusal] = []
        self.names: set[str] = {INPUT_NAME}
        self.stems: set[str] = {INPUT_NAME}

    def build(self) -> Graph:
        """The graph of the whole program."""
        self._refuse_side_effects()
        tensors = _constants(self.program)
        for node in self.program.graph.nodes:
            if node.op == "placeholder":
                self.values[node] = tensors.get(node.name, INPUT_NAME)
            elif node.op == "call_function":
                self.values[node] = self._read_or_refuse(node)
        if self.refusals:
            raise describe_refusals(self.name, self.refusals)
        output = self._only_output(self.program.graph.output_node())
        return Graph(self.name, self.input, tuple(self.ops), output).pruned()

    def _only_output(self, node: fx.Node) -> str:
        everything, structure = node.args[0], self.program.call_spec.out_spec
        assert isinstance(everything, (tuple, list))
        specs = self.program.graph_signature.output_specs  # an input changed in place is an output of the program, too
        outputs = [x for x, spec in zip(everything, specs, strict=True) if spec.kind is OutputKind.USER_OUTPUT]
        if len(outputs) != 1 or structure is None or not structure.is_leaf():
            what = getattr(getattr(structure, "type", None), "__name__", "object")
            raise self._no_image(f"a {what} of {len(outputs)}")
        value = self.values[outputs[0]] if isinstance(outputs[0], fx.Node) else None
        if not isinstance(value, str):
            raise self._no_image("a value that does not depend on the image")
        return value

    def _no_image(self, returned: str) -> UnsupportedOpError:
        return UnsupportedOpError(f"{self.name}: forward must return one image tensor, it returns {returned}")

    def _refuse_side_effects(self) -> None:
        """A buffer that forward changes makes every image depend on the ones before; the input is the caller's own."""
        changed = list(self.program.graph_signature.buffers_to_mutate.values())
        if changed:
            why = f"its forward changes '{changed[0]}' in place; compute a new tensor instead"
            raise UnsupportedOpError(f"{self.name}: {why}")

    def _read_or_refuse(self, node: fx.Node) -> object:
        """What stands for a node; one that cannot be read is noted, so that all of them are reported together."""
        try:
            return self._read(node)
        except RefusedOperatorError as error:
            self.refusals.append(refusal_of(node, str(error)))
        except FollowingError:
            pass
        return RefusedValue()

    def _read(self, node: fx.Node) -> object:
        arguments = [self.values.get(a) for a in node.all_input_nodes]
        key = operator_name(node)
        if node.target is operator.getitem:
            source, index = arguments[0], node.args[1]
            if isinstance(source, RefusedValue):
                return source
            assert isinstance(source, (tuple, list)) and isinstance(index, int)
            return source[index]
        if key in ALIASES:
            return arguments[0] if ALIASES[key] else OpaqueValue()
        if all(isinstance(a, (Tensor, int, float)) for a in arguments):
            return self._compute(node)
        if key not in HANDLERS:
            raise RefusedOperatorError
        return HANDLERS[key](NodeReader(node, self.values, self._add, self._fresh_name(node)))

    def _compute(self, node: fx.Node) -> object:
        """Arithmetic on constants, in float64 even where the network casts them to the dtype of the image."""
        args, kwargs = tree_map_only(fx.Node, self.values.__getitem__, (node.args, dict(node.kwargs)))
        if operator_name(node) == "aten._to_copy.default" and (kwargs.get("dtype") or torch.float64).is_floating_point:
            return _wide(args[0])
        assert callable(node.target)
        return tree_map_only(Tensor, _wide, node.target(*args, **kwargs))

    def _add(self, op: Op) -> str:
        if op.name in self.names:
            raise ExportError(f"{self.name}: two operators are named '{op.name}'")
        self.names.add(op.name)
        self.ops.append(op)
        return op.name

    def _fresh_name(self, node: fx.Node) -> str:
        kind = operator_name(node).split(".")[1] if "." in operator_name(node) else operator_name(node)
        path = module_path(node)
        own_module = kind == "convolution" and bool(path)
        stem = path if own_module else ".".join(part for part in (path, kind) if part)
        name, n = stem, 1
        while name in self.names | self.stems:
            n += 1
            name = f"{stem}_{n}"
        self.stems.add(name)  # a handler may name its operators `name.part_0` alone
        return name


def _constants(program: ExportedProgram) -> Mapping[str, Tensor]:
    signature = program.graph_signature
    stored = {**program.constants, **program.state_dict}
    names = signature.inputs_to_parameters | signature.inputs_to_buffers | signature.inputs_to_lifted_tensor_constants
    return {
        placeholder: _wide(tensor.detach())
        for placeholder, name in names.items()
        if isinstance(tensor := stored[name], Tensor)
    }


def _wide(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor
