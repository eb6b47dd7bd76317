"""From a torch module to a graph: torch.export's core-ATen program read through one table.

The program is exported with free height and width, so that a network whose arithmetic depends on the image size is
refused and not silently frozen. Arithmetic on constants alone is computed here and now. The captured graph is then
checked against the module in float64 at a size that the export has not seen.
"""

from __future__ import annotations

import copy
import operator
import warnings
from typing import TYPE_CHECKING

import torch
from torch import Tensor, fx
from torch.export import Dim, ExportedProgram
from torch.utils._pytree import tree_map_only

from edgesr.architecture import SRModel
from edgesr.errors import ExportError, UnsupportedOpError
from edgesr.export.aten import ALIASES, HANDLERS, NodeReader, OpaqueValue
from edgesr.graph import Graph
from edgesr.ops import Op, TensorSpec
from edgesr.span_gate import native_decompositions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

INPUT_NAME = "input"
EXAMPLE_SIZE = (24, 40)
CHECK_SIZE = (17, 29)
CHECK_TOLERANCE = 1e-9  # float64 rounding through tens of layers, relative to the largest output
KEPT_WHOLE = ("pixel_shuffle", "hardswish", "upsample_nearest2d")  # core ATen would take these apart


def capture(model: SRModel, in_channels: int = 3) -> Graph:
    """The graph of `model`, with float64 parameters.

    Raises `UnsupportedOpError`, listing every operator outside the vocabulary with its module path, and `ExportError`
    when torch.export cannot trace the module or the captured graph computes something else.
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
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's own deprecations, nothing about the network
            program = torch.export.export(model.module, (example,), dynamic_shapes=(sizes,))
            decomposed: ExportedProgram = program.run_decompositions(table)
            return decomposed
    except Exception as error:  # torch.export raises dozens of kinds; every one means: not traceable
        why = f"torch.export cannot trace its forward with free height and width: {_reason(error)}"
        raise ExportError(f"{model.name}: {why}") from error


def _reason(error: Exception) -> str:
    """The first line of an error of torch.export; of violated constraints the first one too."""
    lines = [line.strip(" -") for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    count = 2 if lines[0].startswith("Constraints violated") else 1
    return " ".join(lines[:count]).replace(' For more information, run with TORCH_LOGS="+dynamic".', "")


def _check(graph: Graph, model: SRModel, in_channels: int) -> None:
    height, width = (n * model.size_multiple for n in CHECK_SIZE)
    x = torch.rand(2, in_channels, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = x * model.value_range
    expected = _in_float64(model, x)
    if expected.shape[2:] != (model.scale * height, model.scale * width):
        made = f"{tuple(expected.shape[2:])} pixels of {(height, width)}"
        raise ExportError(f"{model.name}: its forward makes {made}, which is not the model's scale {model.scale}")
    with torch.no_grad():
        output = graph.execute(x)
    difference = (output - expected).abs().max().item() if output.shape == expected.shape else float("inf")
    if not difference <= CHECK_TOLERANCE * max(1.0, expected.abs().max().item()):
        raise ExportError(f"{model.name}: the captured graph differs from the module by {difference:.3g} in float64")


def _in_float64(model: SRModel, x: Tensor) -> Tensor:
    """What the module itself makes of `x`, tensors kept in plain attributes converted too."""
    module = copy.deepcopy(model.module).double()
    for part in module.modules():
        for name, value in vars(part).items():
            if isinstance(value, Tensor) and value.is_floating_point():
                setattr(part, name, value.double())
    try:
        with torch.no_grad():
            output: Tensor = module(x)
    except Exception as error:  # whatever the network's own code raises
        raise ExportError(
            f"{model.name}: its forward fails in float64, where it is checked: {_reason(error)}"
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
        self.names: set[str] = {INPUT_NAME}
        self.stems: set[str] = {INPUT_NAME}

    def build(self) -> Graph:
        """The graph of the whole program."""
        self._refuse_unknown()
        self._refuse_side_effects()
        tensors = _constants(self.program)
        output = ""
        for node in self.program.graph.nodes:
            if node.op == "placeholder":
                self.values[node] = tensors.get(node.name, INPUT_NAME)
            elif node.op == "call_function":
                self.values[node] = self._read(node)
            elif node.op == "output":
                output = self._only_output(node)
        return Graph(self.name, self.input, tuple(self.ops), output).pruned()

    def _only_output(self, node: fx.Node) -> str:
        outputs, structure = node.args[0], self.program.call_spec.out_spec
        assert isinstance(outputs, (tuple, list))
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
        signature = self.program.graph_signature
        changed = [*signature.buffers_to_mutate.values(), *signature.user_inputs_to_mutate.values()]
        if changed:
            why = f"its forward changes '{changed[0]}' in place; compute a new tensor instead"
            raise UnsupportedOpError(f"{self.name}: {why}")

    def _refuse_unknown(self) -> None:
        found: dict[str, list[str]] = {}
        live = _reads_input(self.program)
        for node in self.program.graph.nodes:
            if node in live and node.op == "call_function" and _key(node) not in HANDLERS | ALIASES:
                found.setdefault(_key(node), []).append(_module_path(node) or "forward")
        if found:
            places = {key: f"{', '.join(dict.fromkeys(paths))} ({len(paths)}x)" for key, paths in found.items()}
            listed = "; ".join(f"{key} at {where}" for key, where in places.items())
            raise UnsupportedOpError(
                f"{self.name}: outside the vocabulary of NPU-native operators: {listed}; replace them in the network "
                "by convolutions, elementwise arithmetic, ReLU/sigmoid, concat, pixel shuffle or nearest resize"
            )

    def _read(self, node: fx.Node) -> object:
        arguments = [self.values.get(a) for a in node.all_input_nodes]
        key = _key(node)
        if node.target is operator.getitem:
            source, index = arguments[0], node.args[1]
            assert isinstance(source, (tuple, list)) and isinstance(index, int)
            return source[index]
        if key in ALIASES:
            return arguments[0] if ALIASES[key] else OpaqueValue()
        if all(isinstance(a, (Tensor, int, float)) for a in arguments):
            return self._compute(node)
        return HANDLERS[key](NodeReader(node, self.values, self._add, self._fresh_name(node)))

    def _compute(self, node: fx.Node) -> object:
        """Arithmetic on constants, in float64 even where the network casts them to the dtype of the image."""
        args, kwargs = tree_map_only(fx.Node, self.values.__getitem__, (node.args, dict(node.kwargs)))
        if _key(node) == "aten._to_copy.default" and (kwargs.get("dtype") or torch.float64).is_floating_point:
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
        kind = _key(node).split(".")[1] if "." in _key(node) else _key(node)
        path = _module_path(node)
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


def _reads_input(program: ExportedProgram) -> set[fx.Node]:
    """The nodes whose value depends on the image."""
    constants = set(_constants(program))
    live: set[fx.Node] = set()
    for node in program.graph.nodes:
        if node.op == "placeholder":
            if node.name not in constants:
                live.add(node)
        elif any(source in live for source in node.all_input_nodes):
            live.add(node)
    return live


def _key(node: fx.Node) -> str:
    target = node.target
    return str(target) if isinstance(target, torch._ops.OpOverload) else getattr(target, "__name__", str(target))


def _module_path(node: fx.Node) -> str:
    stack = node.meta.get("nn_module_stack") or {}
    paths = [entry[0] for entry in stack.values() if isinstance(entry, tuple)]
    path = paths[-1] if paths else ""
    return "" if path.startswith("_empty_nn_module_stack") else str(path)
