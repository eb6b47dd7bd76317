"""Reports in headless Chromium: silent, alone, within the screen, readable in both schemes, and usable by keyboard."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

KINDS = ("export", "parity", "quality", "audit", "bench", "joined")
WIDTHS, SCHEMES = (390, 1280), ("light", "dark")

CONTRAST = """(() => {
  document.querySelectorAll("details").forEach((part) => { part.open = true; });
  const channel = (value) => {
    const share = value / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  };
  const luminance = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const parse = (text) => {
    const parts = text.match(/[\\d.]+/g).map(Number);
    return parts.length === 3 ? [...parts, 1] : parts;
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3]));
  const background = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      layers.push(colour);
      if (colour[3] === 1) break;
    }
    return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255]);
  };
  const found = [];
  let seen = 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const box = element.getBoundingClientRect();
    if (!walker.currentNode.data.trim() || !element.checkVisibility() || box.width <= 1) continue;
    if (["SCRIPT", "STYLE", "title"].includes(element.tagName)) continue;
    seen += 1;
    const style = getComputedStyle(element);
    const below = background(element);
    const colour = over(parse(element instanceof SVGElement ? style.fill : style.color), below);
    const [a, b] = [luminance(colour), luminance(below)].sort((x, y) => y - x);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < (large ? 3 : 4.5)) found.push([walker.currentNode.data.trim().slice(0, 40), ratio.toFixed(2)]);
  }
  return { seen, found };
})()"""

OVERFLOW = """(() => {
  document.querySelectorAll("details").forEach((part) => { part.open = true; });
  const width = document.documentElement.clientWidth;
  const wide = [...document.querySelectorAll("body *")].filter((element) => {
    const box = element.getBoundingClientRect();
    return box.width > 1 && box.right > width + 1 && !element.closest(".scroll, pre, .skip");
  });
  return [document.documentElement.scrollWidth - width, wide.slice(0, 5).map((e) => e.outerHTML.slice(0, 90))];
})()"""


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_is_silent_alone_within_the_screen_and_readable(browser: Any, reports: Any, kind: str) -> None:
    for width in WIDTHS:
        for scheme in SCHEMES:
            tab = browser.open(reports.pages[kind], width, scheme=scheme)
            dark = tab.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
            assert dark == (scheme == "dark")
            assert tab.evaluate(OVERFLOW) == [0, []], (width, scheme)
            contrast = tab.evaluate(CONTRAST)
            assert contrast["seen"] > 40 and contrast["found"] == [], (width, scheme)
            assert (tab.complaints(), tab.requests()) == ([], [])
            tab.close()


STATE = """(() => {
  const box = document.querySelector(".compare");
  const shown = [...box.querySelectorAll(".stack figure")].filter((figure) => !figure.hidden);
  const range = box.querySelector("input[type=range]");
  return [range.value, shown.map((figure) => figure.dataset.name), shown[0].style.clipPath, range.ariaValueText];
})()"""


def test_the_divider_moves_by_the_keyboard_alone(browser: Any, reports: Any) -> None:
    tab = browser.open(reports.pages["quality"], 390)
    assert tab.evaluate(STATE)[:2] == ["50", ["FP32", "spanv2_x2-int8.tflite"]]
    for _ in range(60):
        tab.press("Tab")
        if tab.evaluate("document.activeElement.type") == "range":
            break
    else:
        pytest.fail("the divider is not reached by Tab")
    assert tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    for key, value in (("ArrowRight", "51"), ("ArrowLeft", "50"), ("ArrowLeft", "49")):
        tab.press(key)
        assert tab.evaluate(STATE)[0] == value
    value, _, clip, spoken = tab.evaluate(STATE)
    assert clip == "inset(0px 51% 0px 0px)" and spoken.startswith("49 % FP32, the rest spanv2_x2-int8.tflite")
    tab.evaluate("document.querySelector('.compare input[type=radio]:checked').focus()")
    tab.press("ArrowRight")
    assert tab.evaluate(STATE)[1] == ["HR", "spanv2_x2-int8.tflite"]
    assert tab.complaints() == []
    tab.close()


def test_without_its_script_a_page_shows_all_pictures(browser: Any, reports: Any) -> None:
    tab = browser.open(reports.pages["quality"], 390, script=False)
    tab.command("Emulation.setScriptExecutionDisabled", value=False)
    boxes = "[...document.querySelectorAll('.compare figure')].filter((figure) => figure.checkVisibility()).length"
    assert tab.evaluate(boxes) == tab.evaluate("document.querySelectorAll('.compare figure').length") >= 4
    assert tab.evaluate("document.querySelector('.controls').checkVisibility()") is False
    tab.close()


def test_the_checks_see_what_they_must_catch(browser: Any, tmp_path: Path) -> None:
    page = tmp_path / "bad page.html"
    page.write_text(
        "<!DOCTYPE html><html><body><p style='color:#999;background:#fff'>too pale to read</p>"
        "<div style='width:2000px'>wide</div><img src='http://127.0.0.1:9/x.png'>"
        "<script>console.error('no'); undefined_function()</script></body></html>"
    )
    tab = browser.open(page, 390)
    assert tab.evaluate(CONTRAST)["found"] == [["too pale to read", "2.85"]]
    assert tab.evaluate(OVERFLOW)[0] > 1000 and tab.evaluate(OVERFLOW)[1]
    assert len(tab.complaints()) >= 2 and tab.requests() == ["http://127.0.0.1:9/x.png"]
    tab.close()
