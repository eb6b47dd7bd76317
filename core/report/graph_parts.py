"""The graph before and after folding: how many operators of each kind, and each in its place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from edgesr.report.html import Child, Html, element, fold_away, table
from edgesr.report.page import State, badge
from edgesr.report.values import NONE, Plain, count

CONVOLUTIONS = frozenset({"Conv2d", "DepthwiseConv2d"})
MOVEMENTS = frozenset({"DepthToSpace", "Slice", "Concat", "ResizeNearest", "Requantize"})
ACTIVATIONS = frozenset({"Relu", "Relu6", "LeakyRelu", "Sigmoid", "Tanh", "HardSwish", "Clip"})
FAMILIES = {"convolution": CONVOLUTIONS, "movement": MOVEMENTS, "activation": ACTIVATIONS}
SHOWN_NAMES = 6


def fold_table(folds: Sequence[Plain]) -> Html:
    """What each fold changed, and how exact it is."""
    rows = [
        (fold["fold"], _exactness(str(fold["exactness"])), str(len(fold["changed"])), _changed(fold["changed"]))
        for fold in folds
    ]
    return table("Folds, in the order in which they ran", ("Fold", "Exactness", "Changed", "Operators"), rows, (2,))


def _exactness(words: str) -> Html:
    return badge(State.GOOD if words.startswith("exact, border included") else State.DOUBTFUL, words)


def _changed(names: Sequence[object]) -> str:
    more = ", \N{HORIZONTAL ELLIPSIS}" if len(names) > SHOWN_NAMES else ""
    return f"{', '.join(map(str, names[:SHOWN_NAMES]))}{more}"


def graph_parts(graphs: Plain) -> list[Child]:
    """Counts by kind, and both graphs as a row of operators, `graphs` as `api.report_details` describes them."""
    before, after = graphs["captured"], graphs["folded"]
    counted = [Counter(op["kind"] for op in graph) for graph in (before, after)]
    kinds = sorted(set(counted[0]) | set(counted[1]))
    rows = [
        (kind, *(str(found[kind]) if found[kind] else NONE for found in counted), _change(*(f[kind] for f in counted)))
        for kind in kinds
    ]
    rows.append(("All", str(len(before)), str(len(after)), _change(len(before), len(after))))
    return [
        table("Operators by kind", ("Kind", "As captured", "After folding", "Change"), rows, (1, 2, 3)),
        fold_away(f"As captured: {count(len(before), 'operator')}", _flow(before)),
        fold_away(f"After folding: {count(len(after), 'operator')}", _flow(after)),
    ]


def _change(before: int, after: int) -> str:
    return NONE if before == after else f"{after - before:+d}"


def _flow(operators: Sequence[Plain]) -> Html:
    """The operators in their order; what does not read the one before it says what it reads."""
    items, last = [], None
    for op in operators:
        reads = "" if list(op["inputs"]) == [last] or last is None else f" from {', '.join(op['inputs'])}"
        words = element("span", f" {op['detail']} ({op['name']}{reads})")
        items.append(element("li", op["kind"], words, class_=_family(op["kind"])))
        last = op["name"]
    return element("ol", items, class_="flow")


def _family(kind: str) -> str:
    return next((name for name, kinds in FAMILIES.items() if kind in kinds), "elementwise")
