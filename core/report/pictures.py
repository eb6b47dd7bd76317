"""Pictures within a page: a divider over two of them, details enlarged side by side, and the error map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from edgesr.report.crops import STEPS
from edgesr.report.html import Child, Html, element, paragraph
from edgesr.report.values import Plain, image_size

LARGE, ENLARGED = 2, 4
"""How many pixels of the screen a pixel of the piece, and of the detail, is at most."""
MAP_WIDTH = 320


def picture_parts(described: Sequence[Plain], label: str) -> list[Child]:
    """The pictures of one file, as `crops.describe_picture` gave them; `label` is what the file is called in them."""
    return [part for picture in described for part in _one(picture, label)]


def _one(picture: Plain, label: str) -> list[Child]:
    top, left, height, width = picture["piece"]
    where = f"{image_size((height, width))} pixels at row {top}, column {left} of {image_size(picture['size'])}"
    compared = element(
        "div",
        element("h4", "Compare"),
        _divider(_named(picture["pieces"], label), (height, width), f"{picture['name']}, {picture['runner']}"),
        paragraph(f"Where {label} differs most from FP32: {where}.", class_="pale"),
    )
    return [
        element("h3", f"{label}: {picture['name']}, {picture['runner']}"),
        element("div", compared, _error_map(picture, label), class_="pair"),
        _strip(picture, label),
    ]


def _named(pictures: Mapping[str, str], label: str) -> dict[str, str]:
    """The pictures by what a reader calls them."""
    return {label if name == "file" else name: _checked(uri) for name, uri in pictures.items()}


def _truth_last(pictures: Mapping[str, str]) -> dict[str, str]:
    """The file's picture beside that of FP32."""
    return {name: pictures[name] for name in sorted(pictures, key=lambda name: name == "HR")}


def _checked(uri: str) -> str:
    """A picture that lies within the page; raises ValueError for anything that would be loaded from elsewhere."""
    if not uri.startswith("data:image/"):
        raise ValueError("a picture is no data URI")
    return uri


def _divider(pictures: Mapping[str, str], size: tuple[int, int], name: str) -> Html:
    height, width = (side * LARGE for side in size)
    last = list(pictures)[-1]
    stacked = [
        element("figure", element("img", src=uri, width=width, height=height, alt=f"{shown} of {name}, a piece"),
                element("figcaption", shown), data_name=shown)
        for shown, uri in pictures.items()
    ]  # fmt: skip
    return element(
        "div",
        element("div", stacked, element("div", class_="divider"), class_="stack"),
        _controls([shown for shown in pictures if shown != last], last, name),
        class_="compare",
    )


def _controls(left: Sequence[str], right: str, name: str) -> Html:
    chosen = "FP32" if "FP32" in left else left[0]
    choices = [
        element(
            "label", element("input", type="radio", name=f"{right} {name}", value=shown, checked=shown == chosen), shown
        )
        for shown in left
    ]
    divider = element(
        "label", "Divider",
        element("input", type="range", min=0, max=100, step=1, value=50, aria_label=f"Divider over {name}, {right}"),
        class_="range",
    )  # fmt: skip
    choose = element("fieldset", element("legend", f"{right} beside"), choices)
    return element("div", choose, divider, class_="controls", hidden=True)


def _strip(picture: Plain, label: str) -> Html:
    _, _, height, width = picture["detail"]
    shown = [
        element("figure", element("img", src=uri, width=width * ENLARGED, height=height * ENLARGED,
                                  alt=f"{name}, a detail of {picture['name']}"), element("figcaption", name))
        for name, uri in _truth_last(_named(picture["details"], label)).items()
    ]  # fmt: skip
    title = element("h4", f"A detail of {image_size((height, width))} pixels, enlarged")
    return element("div", title, element("div", shown, class_="strip"))


def _error_map(picture: Plain, label: str) -> Html:
    height, width = picture["size"]
    drawn = element("img", src=_checked(picture["map"]), width=MAP_WIDTH, height=round(MAP_WIDTH * height / width),
                    alt=f"Map of the error of {label} on {picture['name']}")  # fmt: skip
    words = (
        f"{label} against FP32, the largest channel: {picture['mean_levels']:.2f} levels on average, at most "
        f"{picture['largest_levels']}."
    )
    return element("figure", element("h4", "Error map of the whole picture"), drawn, _legend(),
                   element("figcaption", words))  # fmt: skip


def _legend() -> Html:
    bounds = [levels for levels, _ in STEPS]
    names = [f"{a}" if b - a == 1 else f"{a} to {b - 1}" for a, b in pairwise(bounds)]
    squares = [
        element("li", element("svg", element("rect", width=16, height=16, fill=code), viewBox="0 0 16 16",
                              aria_hidden="true"), words)
        for (_, code), words in zip(STEPS, [*names, f"{bounds[-1]} and more"], strict=True)
    ]  # fmt: skip
    return element("ul", squares, element("li", "levels of 1/255"), class_="scale")
