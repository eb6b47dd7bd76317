"""How many bytes an eager network moves: every operator's tensors once, counted while it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch left it untyped
    """Adds up what each operator reads and writes; an operator whose output is a view of an input moves nothing."""

    def __init__(self, weights: frozenset[int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch left it untyped
        self.total: int = 0
        self._weights = weights

    def __torch_dispatch__(
        self, operator: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        output = operator(*args, **(kwargs or {}))
        read = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        written = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
        if not operator.is_view:
            moved = (t for t in (*read, *written) if t.data_ptr() not in self._weights)
            self.total += sum(t.numel() * t.element_size() for t in moved)
        return output


def bytes_moved(module: torch.nn.Module, call: Callable[[], object]) -> int:
    """Bytes that the operators of `call`, a run of `module`, read and write, weights left out.

    A count of the operators as PyTorch dispatches them: what a kernel reads twice, or caches save, is left out.
    """
    weights = frozenset(tensor.data_ptr() for tensor in (*module.parameters(), *module.buffers()))
    with torch.no_grad(), _Counter(weights) as counter:
        call()
    return int(counter.total)
