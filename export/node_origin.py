"""Where a node of an exported program comes from: its operator, the module that calls it, and the line of code."""

from __future__ import annotations

import torch
from torch import fx

from edgesr.user_code import traced_at


def operator_name(node: fx.Node) -> str:
    """The operator as ATen names it, like `aten.relu.default`; a function of Python by its own name."""
    target = node.target
    return str(target) if isinstance(target, torch._ops.OpOverload) else getattr(target, "__name__", str(target))


def module_path(node: fx.Node) -> str:
    """The innermost module that calls the operator, like `body.1`; empty for the network's own forward."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [entry[0] for entry in stack.values() if isinstance(entry, tuple)]
    path = paths[-1] if paths else ""
    return "" if path.startswith("_empty_nn_module_stack") else str(path)


def source_line(node: fx.Node) -> str:
    """The line of the network's own code that led to the operator, like `net.py:12`; empty where it is not known."""
    return traced_at(node.meta.get("stack_trace") or "")
