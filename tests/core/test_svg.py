from xml.etree import ElementTree

import pytest

from edgesr.svg import document, line, round_step, round_ticks, text


def test_a_document_is_well_formed_and_words_are_escaped() -> None:
    root = ElementTree.fromstring(document(30, 20, [text(1, 2, "a < b & c", ""), line(0, 1, 2, 3, 'stroke="red"')]))
    assert (root.get("width"), root.get("viewBox")) == ("30", "0 0 30 20")
    assert [element.text for element in root if element.tag.endswith("text")] == ["a < b & c"]


@pytest.mark.parametrize(("step", "wanted"), [(1, 1), (1.1, 2), (3, 5), (7, 10), (9.7, 10), (0.03, 0.05), (240, 500)])
def test_round_steps(step: float, wanted: float) -> None:
    assert round_step(step) == pytest.approx(wanted)


def test_ticks_lie_within_and_are_round() -> None:
    assert round_ticks(29.77, 30.09, 4) == pytest.approx([29.8, 29.9, 30.0])
    assert round_ticks(0, 10, 5) == [0, 2, 4, 6, 8, 10]
