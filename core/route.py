"""How a network becomes files: by edgesr's own graph, or by converters that take any network.

The general route has no graph: nothing is folded, no operator is compared by itself, and a file holds one size. What
its files have in common with others is the manifest, the float64 reference, and the checks of the whole output.
"""

from __future__ import annotations

import enum

from edgesr.target import TARGETS, Precision, Target


class Route(enum.Enum):
    """The value is what --route and the manifest call it."""

    NATIVE = "native"
    GENERAL = "general"


GENERAL_PRECISIONS = (Precision.FP32, Precision.INT8)


def why_not_general(target: Target) -> str | None:
    """Why the general route does not write a target, None where it does."""
    if target.compiler is not None:
        return "what an NPU's compiler takes is edgesr's own files"
    if target.precision not in GENERAL_PRECISIONS:
        return f"its converters have no setting for {target.precision.value} that is proven here"
    return None


GENERAL_TARGETS = ", ".join(target.name for target in TARGETS if why_not_general(target) is None)
