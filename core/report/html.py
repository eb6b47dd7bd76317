"""Markup from Python values: every text is escaped on its way in, and only `Html` passes as it is.

No attribute carries style: the page's policy (see page) allows the one style sheet and the one script alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape

VOID = frozenset({"img", "input", "meta", "br", "hr", "link", "rect", "line", "circle", "polyline", "path"})
LONG = 44
"""Signs from which on a table's cell breaks its text into lines."""
UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


Child = str | int | None | Iterable["Child"]


def element(tag: str, *children: Child, **attributes: str | float | bool | None) -> Html:
    """One element; `class_` is the attribute class, `aria_label` is aria-label; None and False leave one out."""
    given = "".join(_attribute(name, value) for name, value in attributes.items())
    if tag in VOID:
        return Html(f"<{tag}{given}>" if tag in ("img", "input", "meta", "br", "hr", "link") else f"<{tag}{given}/>")
    return Html(f"<{tag}{given}>{''.join(_text(child) for child in children)}</{tag}>")


def join(parts: Iterable[Child]) -> Html:
    """Parts one after the other."""
    return Html("".join(_text(part) for part in parts))


def _attribute(name: str, value: str | float | bool | None) -> str:
    if value is None or value is False:
        return ""
    shown = name.rstrip("_").replace("_", "-")
    return f" {shown}" if value is True else f' {shown}="{escape(_printable(str(value)))}"'


def _text(child: Child) -> str:
    if isinstance(child, Html):
        return child
    if child is None:
        return ""
    if isinstance(child, str | int):
        return escape(_printable(str(child)))
    return "".join(_text(part) for part in child)


def _printable(text: str) -> str:
    """Without characters that HTML forbids, whatever a file name or a model's holds."""
    return UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def table(caption: str, header: Sequence[str], rows: Iterable[Sequence[Child]], numeric: Sequence[int] = ()) -> Html:
    """A table in a box of its own that scrolls sideways; the first cell of a row is its heading.

    Columns in `numeric` are right-aligned.
    """
    head = element(
        "tr",
        [element("th", cell, scope="col", class_="num" if i in numeric else None) for i, cell in enumerate(header)],
    )
    body = [element("tr", [_cell(i, cell, i in numeric) for i, cell in enumerate(row)]) for row in rows]
    whole = element("table", element("caption", caption), element("thead", head), element("tbody", body))
    return element("div", whole, class_="scroll", tabindex=0, role="region", aria_label=caption)


def _cell(column: int, content: Child, is_number: bool) -> Html:
    text = _text(content)
    shown = re.sub(r"<[^>]*>", "", text)
    style = "num" if is_number else "long" if len(shown) > LONG else None
    if column == 0:
        return element("th", Html(text), scope="row", class_=style)
    return element("td", Html(text), class_=style)


def facts(pairs: Iterable[tuple[str, Child]]) -> Html:
    """Names and values as a description list, long ones in lines of their own; values that are None are left out."""
    shown = [
        element("div", element("dt", name), element("dd", value), class_="whole" if _is_long(value) else None)
        for name, value in pairs
        if value not in (None, "")
    ]
    return element("dl", shown, class_="facts")


def _is_long(value: Child) -> bool:
    return isinstance(value, str) and len(re.sub(r"<[^>]*>", "", value)) > LONG


def paragraph(*children: Child, class_: str | None = None) -> Html:
    """A paragraph."""
    return element("p", *children, class_=class_)


def code(text: str) -> Html:
    """A command or a name, in fixed width."""
    return element("code", text)


def fold_away(summary: str, *children: Child) -> Html:
    """What is shown on a click, or with Enter; printed open."""
    return element("details", element("summary", summary), *children)


def bullet_list(items: Iterable[Child]) -> Html:
    """An unordered list; nothing where there are no items."""
    shown = [element("li", item) for item in items]
    return element("ul", shown) if shown else Html("")
