"""The graph of NPU-native operators: single assignment, one image in, one image out, free of image size.

A tensor is named like the operator that makes it. Operators stand in an order in which each reads only what stands
before it. A graph is a value: folds return new graphs. It executes in torch on (N, C, H, W) tensors of any float dtype
and is differentiable in its input and, through `with_parameters`, in its weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property

from torch import Tensor

from edgesr.errors import ExportError
from edgesr.ops import Op, TensorSpec

Observer = Callable[[str, Tensor], Tensor]
"""Sees each tensor as it is made, by name, and returns what the graph goes on with."""


@dataclass(frozen=True, eq=False)
class Graph:
    """Operators from the tensor `input` to the tensor `output`.

    Raises `ExportError` when a name is assigned twice, read before it is made, an operator refuses its inputs, or the
    output does not depend on the image.
    """

    name: str
    input: TensorSpec
    ops: tuple[Op, ...]
    output: str

    def __post_init__(self) -> None:
        """Check single assignment, order and every operator's needs."""
        if self.output not in self.specs:
            raise ExportError(f"graph '{self.name}': output '{self.output}' is made by no operator")
        if self.specs[self.output].scale is None:
            raise ExportError(f"graph '{self.name}': output '{self.output}' is a constant, no image")

    @cached_property
    def specs(self) -> Mapping[str, TensorSpec]:
        """Every tensor's spec by name, the input first."""
        specs = {self.input.name: self.input}
        for op in self.ops:
            if op.name in specs:
                raise ExportError(f"graph '{self.name}': '{op.name}' is assigned twice")
            missing = [x for x in op.inputs if x not in specs]
            if missing:
                raise ExportError(f"graph '{self.name}': '{op.name}' reads {missing[0]!r} before it is made")
            specs[op.name] = op.infer(*(specs[x] for x in op.inputs))
        return specs

    @cached_property
    def consumers(self) -> Mapping[str, tuple[Op, ...]]:
        """Who reads each tensor, once for each operator."""
        readers: dict[str, tuple[Op, ...]] = {name: () for name in self.specs}
        for op in self.ops:
            for x in dict.fromkeys(op.inputs):
                readers[x] += (op,)
        return readers

    @cached_property
    def _by_name(self) -> Mapping[str, Op]:
        return {op.name: op for op in self.ops}

    def producer(self, name: str) -> Op | None:
        """The operator that makes the tensor, None for the graph's input."""
        return self._by_name.get(name)

    def sole_consumer(self, name: str) -> Op | None:
        """The only reader of a tensor that is not the graph's output; None when there is not exactly one."""
        readers = self.consumers[name]
        return readers[0] if len(readers) == 1 and name != self.output else None

    @property
    def scale(self) -> Fraction:
        """Output height over input height."""
        scale = self.specs[self.output].scale
        assert scale is not None  # __post_init__ refuses constant outputs
        return scale

    @property
    def size_multiple(self) -> int:
        """What height and width must be multiples of for every tensor to have a whole size."""
        return math.lcm(*(spec.scale.denominator for spec in self.specs.values() if spec.scale is not None))

    @property
    def values_per_input_pixel(self) -> Fraction:
        """How many values the largest tensor holds for one input position."""
        return max(spec.channels * spec.scale**2 for spec in self.specs.values() if spec.scale is not None)

    @property
    def live_values_per_input_pixel(self) -> Fraction:
        """How many values stand in memory at once, at worst, for one input position: each until it was last read."""
        last_use = {name: index for index, op in enumerate(self.ops) for name in op.inputs}
        last_use[self.output] = len(self.ops)
        values = {name: spec.channels * spec.scale**2 for name, spec in self.specs.items() if spec.scale is not None}
        live, most = {self.input.name: values[self.input.name]}, Fraction(0)
        for index, op in enumerate(self.ops):
            live[op.name] = values.get(op.name, Fraction(0))
            most = max(most, sum(live.values(), Fraction(0)))
            live = {name: n for name, n in live.items() if last_use.get(name, index) > index}
        return most

    def __iter__(self) -> Iterator[Op]:
        return iter(self.ops)

    def execute(self, x: Tensor, observe: Observer | None = None) -> Tensor:
        """The output for `x` of shape (N, C, H, W); `observe` may watch or change every tensor on its way."""
        last_use = {name: op.name for op in self.ops for name in op.inputs}
        values = {self.input.name: observe(self.input.name, x) if observe else x}
        for op in self.ops:
            inputs = [values[name].to(x) for name in op.inputs]
            y = op.evaluate(*inputs)
            values[op.name] = observe(op.name, y) if observe else y
            for name in set(op.inputs):
                if last_use[name] == op.name and name != self.output:
                    del values[name]
        return values[self.output]

    def trace(self, x: Tensor) -> dict[str, Tensor]:
        """Every tensor by name, the input included."""
        values: dict[str, Tensor] = {}

        def keep(name: str, tensor: Tensor) -> Tensor:
            values[name] = tensor
            return tensor

        self.execute(x, keep)
        return values

    def rewritten(self, changes: Mapping[str, Iterable[Op]], output: str | None = None) -> Graph:
        """The graph with each operator named in `changes` replaced by the given ones; unread operators are dropped."""
        self._require(changes)
        ops = [new for op in self.ops for new in changes.get(op.name, (op,))]
        return replace(self, ops=tuple(ops), output=output or self.output).pruned()

    def pruned(self) -> Graph:
        """The graph without operators that do not reach the output."""
        needed = {self.output}
        for op in reversed(self.ops):
            if op.name in needed:
                needed.update(op.inputs)
        kept = tuple(op for op in self.ops if op.name in needed)
        return self if len(kept) == len(self.ops) else replace(self, ops=kept)

    def without(self, name: str) -> Graph:
        """The graph with an operator removed, whose readers then read its first input."""
        source = self._by_name[name].inputs[0]
        ops = tuple(op.with_inputs({name: source}) for op in self.ops if op.name != name)
        return replace(self, ops=ops, output=source if self.output == name else self.output).pruned()

    def _require(self, names: Iterable[str]) -> None:
        """A change to an operator that is not there would be lost without a word."""
        for name in names:
            if name not in self._by_name:
                raise KeyError(f"graph '{self.name}' has no operator '{name}'")

    def parameters(self) -> dict[tuple[str, str], Tensor]:
        """Every parameter by (operator, field)."""
        return {(op.name, field): value for op in self.ops for field, value in op.parameters().items()}

    def with_parameters(self, parameters: Mapping[tuple[str, str], Tensor]) -> Graph:
        """The graph with some parameters exchanged."""
        changes: dict[str, dict[str, Tensor]] = {}
        for (name, field), value in parameters.items():
            changes.setdefault(name, {})[field] = value
        self._require(changes)
        ops = tuple(op.with_parameters(changes[op.name]) if op.name in changes else op for op in self.ops)
        return replace(self, ops=ops)

    def macs(self, height: int, width: int) -> int:
        """Multiply-accumulates for one image of the given size."""
        return int(self.macs_per_input_pixel() * height * width)

    def macs_per_input_pixel(self) -> Fraction:
        """Multiply-accumulates for one input position."""
        scales = ((op, self.specs[op.name].scale) for op in self.ops)
        return sum((op.macs_per_position() * scale**2 for op, scale in scales if scale is not None), Fraction(0))

    def parameter_count(self) -> int:
        """How many numbers the parameters hold."""
        return sum(value.numel() for value in self.parameters().values())
