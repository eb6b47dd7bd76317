"""The plot is sound SVG, needs nothing else, and says that it is an estimate."""

import xml.etree.ElementTree as ElementTree

from edgesr.ethos_u import find_ethos_u
from edgesr.export.npu.estimate_plot import BARS, COLOURS, draw_estimate
from edgesr.export.npu.vela_report import read_report

SVG = "{http://www.w3.org/2000/svg}"


def test_a_bar_for_each_layer_with_cycles(vela_texts: tuple[str, str]) -> None:
    summary, layers = vela_texts
    layers = layers.replace('"a, b"', "<script>alert(1)</script> & a name that is longer than its column")
    estimate = read_report(summary, layers, find_ethos_u("ethos-u85-1024"), 4096, "Vela 5.2.0")
    text = draw_estimate(estimate, "SPANV2 <x4>")
    root = ElementTree.fromstring(text)
    assert root.tag == f"{SVG}svg"
    bars = [r for r in root.iter(f"{SVG}rect") if r.get("x") == "260"]
    assert [float(bar.get("width", "")) for bar in bars] == [BARS, round(BARS / 3, 1)]
    assert [bar.get("fill") for bar in bars] == [COLOURS["compute"], COLOURS["DRAM"]]
    words = [element.text or "" for element in root.iter(f"{SVG}text")]
    assert words[0] == "SPANV2 <x4>: cycles by layer, an estimate"
    assert estimate.label in words and "bound by DRAM" in words and "bound by SRAM" not in words
    assert any(word.startswith("100 (25.0%)") for word in words)
    assert "<script" not in text and "href" not in text and "url(" not in text


def test_a_network_that_the_npu_takes_nothing_of(vela_texts: tuple[str, str]) -> None:
    summary, layers = vela_texts
    estimate = read_report(
        summary.replace(",400\n", ",0\n"), layers.splitlines()[0] + "\n", find_ethos_u("ethos-u85-256"), 1, "Vela"
    )
    assert ElementTree.fromstring(draw_estimate(estimate, "nothing")).tag == f"{SVG}svg"
