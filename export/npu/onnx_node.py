"""An ONNX node as the reader hands it on: its attributes by name, its tensors, and its small constants."""

from __future__ import annotations

from dataclasses import dataclass

import onnx
from onnx import helper

from edgesr.export.npu.file_operator import FileTensor


@dataclass(frozen=True)
class ReadNode:
    """A node with what belongs to it: an activation's kind, and the integers that it reads and makes in QDQ."""

    parts: tuple[onnx.NodeProto, ...]
    activation: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Node:
    """One node; `constants` holds the content of small constants by input position, None for the others."""

    proto: onnx.NodeProto
    inputs: tuple[FileTensor | None, ...]
    outputs: tuple[FileTensor, ...]
    constants: tuple[tuple[float, ...] | None, ...]

    def number(self, name: str, default: float) -> float:
        """A numeric attribute."""
        value = self._value(name)
        return float(value) if isinstance(value, int | float) else default

    def numbers(self, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
        """An attribute that lists whole numbers."""
        value = self._value(name)
        return tuple(int(x) for x in value) if isinstance(value, list | tuple) else default

    def text(self, name: str, default: str) -> str:
        """A text attribute."""
        value = self._value(name)
        return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else default

    def _value(self, name: str) -> object:
        for attribute in self.proto.attribute:
            if attribute.name == name:
                return helper.get_attribute_value(attribute)
        return None

    def constant(self, position: int) -> tuple[float, ...] | None:
        """The content of a small constant input."""
        return self.constants[position] if position < len(self.constants) else None

    def shape(self, position: int) -> tuple[int, ...]:
        """The shape of an input, empty where there is none."""
        tensor = self.inputs[position] if position < len(self.inputs) else None
        return () if tensor is None else tensor.shape

    @property
    def is_image_convolution(self) -> bool:
        """Whether it convolves along two axes."""
        return len(self.shape(1)) == 4

    @property
    def is_depthwise(self) -> bool:
        """Whether each input channel is a group of its own; one channel in all is dense."""
        weight, groups = self.shape(1), int(self.number("group", 1))
        return len(weight) == 4 and groups > 1 and weight[1] == 1
