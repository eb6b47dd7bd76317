"""One self-contained page: what it is, what is proven and what is wrong first, then sections.

Style sheet, script and pictures lie within the file. Its policy forbids every connection, and every style and script
but the two that it holds, by their hashes.
"""

from __future__ import annotations

import base64
import enum
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from edgesr.report.html import Child, Html, element, join

FOLDER = Path(__file__).parent


class State(enum.Enum):
    """How a reader should take something; never told by colour alone."""

    GOOD = "good"
    DOUBTFUL = "doubtful"
    BAD = "bad"
    OPEN = "open"

    @property
    def mark(self) -> str:
        """The sign that stands beside the words."""
        return {"good": "\N{CHECK MARK}", "doubtful": "!", "bad": "\N{BALLOT X}", "open": "?"}[self.value]

    @property
    def word(self) -> str:
        """What a screen reader says of it."""
        return {"good": "good", "doubtful": "take note", "bad": "failed", "open": "not known"}[self.value]


@dataclass(frozen=True)
class Verdict:
    """One sentence that a reader who reads nothing else should know."""

    state: State
    words: Child


@dataclass(frozen=True)
class Tile:
    """A figure on the first screen: what it is, its value with the unit, and a word on how to take it."""

    label: str
    value: str
    note: str = ""
    state: State = State.OPEN


@dataclass(frozen=True)
class Section:
    """A part of the page under a heading, which the table of contents leads to."""

    title: str
    body: tuple[Child, ...]

    @property
    def anchor(self) -> str:
        """Its id within the page."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


@dataclass(frozen=True)
class Page:
    """What a report says, in the order of reading. `kind` is what was done, `about` on what, when and where."""

    kind: str
    title: str
    about: str
    verdicts: tuple[Verdict, ...]
    tiles: tuple[Tile, ...] = ()
    sections: tuple[Section, ...] = field(default=())


def badge(state: State, words: str) -> Html:
    """A word with its state's sign and colour."""
    return element("span", element("span", state.mark, class_="mark", aria_hidden="true"), words,
                   class_=f"badge {state.value}")  # fmt: skip


def section(title: str, *body: Child) -> Section:
    """A section of these parts."""
    return Section(title, body)


def render(page: Page) -> str:
    """The whole file's text."""
    style, script = _asset("page.css"), _asset("page.js")
    policy = (
        "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src '{_digest(style)}'; script-src '{_digest(script)}'"
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="generator", content="edgesr"),
        element("title", f"{page.title} \N{MIDDLE DOT} edgesr {page.kind}"),
        element("style", Html(style)),
    )
    body = element("body", _skip_link(), _head(page), element("main", _contents(page.sections), _sections(page),
                   id="content", tabindex=-1), _foot(), element("script", Html(script)))  # fmt: skip
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def _skip_link() -> Html:
    return element("a", "Skip to the details", href="#content", class_="skip")


def _head(page: Page) -> Html:
    verdicts = [
        element("li", element("span", verdict.state.mark, class_="mark", aria_hidden="true"),
                element("span", element("span", f"{verdict.state.word}: ", class_="unseen"), verdict.words),
                class_=verdict.state.value)
        for verdict in page.verdicts
    ]  # fmt: skip
    return element(
        "header",
        element("p", f"edgesr {page.kind}", class_="kind"),
        element("h1", page.title),
        element("p", page.about, class_="about"),
        element("ul", verdicts, class_="verdicts"),
        element("dl", [_tile(tile) for tile in page.tiles], class_="tiles") if page.tiles else None,
    )


def _tile(tile: Tile) -> Html:
    return element("div", element("dt", tile.label), element("dd", tile.value, class_="value"),
                   element("dd", tile.note, class_="note") if tile.note else None,
                   class_=f"tile {tile.state.value}")  # fmt: skip


def _contents(sections: Sequence[Section]) -> Html:
    if len(sections) < 2:
        return Html("")
    links = [element("li", element("a", part.title, href=f"#{part.anchor}")) for part in sections]
    return element("nav", element("ul", links), aria_label="On this page")


def _sections(page: Page) -> Html:
    return join(
        element("section", element("h2", part.title, id=part.anchor), *part.body, aria_labelledby=part.anchor)
        for part in page.sections
    )


def _foot() -> Html:
    return element("footer", element("p", "Made by edgesr. This file holds all that it shows and connects to nothing."))


@cache
def _asset(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
