import dataclasses
import math
from xml.etree import ElementTree

import pytest

from edgesr.errors import EdgeSRError
from edgesr.runtime.bench import Benchmark
from edgesr.runtime.complexity import Complexity
from edgesr.runtime.quality import ImageQuality, QualityReport
from edgesr.runtime.score_plot import COLOURS, draw_scores
from edgesr.runtime.score_report import ScoredModel, ScoreReport

SVG = "{http://www.w3.org/2000/svg}"


def scored(label: str, psnr_db: float, ms: float | None, macs: int = 9_830_000_000) -> ScoredModel:
    quality = QualityReport((ImageQuality("a.png", psnr_db, psnr_db + 2, 0.9),), "LR", "HR", 4, 4)
    timing = None if ms is None else Benchmark(label, "torch-float32", (ms,) * 50, 5)
    return ScoredModel(label, "span_x4", "", 4, Complexity(151_000, macs, 4_000_000, 22, 3_000_000), quality, timing)


def report(*models: ScoredModel, baseline: str | None = None) -> ScoreReport:
    return ScoreReport(models, baseline, (256, 256), 1, "2026-11-26T18:00:00+00:00", {"processor": "CPU & co"})


def marks(root: ElementTree.Element, colour: str) -> list[tuple[float, float]]:
    """Where the dots of one network stand, the last in the legend."""
    dots = [circle for circle in root.iter(f"{SVG}circle") if circle.get("fill") == colour]
    return [(float(dot.get("cx") or 0), float(dot.get("cy") or 0)) for dot in dots]


def words(root: ElementTree.Element) -> list[str]:
    return [element.text or "" for element in root.iter(f"{SVG}text")]


def test_better_stands_higher_and_cheaper_stands_further_left() -> None:
    better, cheaper = scored("better<", 30.0, 300), scored("cheaper", 29.9, 200, macs=9_000_000_000)
    root = ElementTree.fromstring(draw_scores(report(better, cheaper)))
    first, second = marks(root, COLOURS[0]), marks(root, COLOURS[1])
    assert len(first) == len(second) == 4
    assert all(a[1] < b[1] for a, b in zip(first[:3], second[:3], strict=True))
    assert [a[0] > b[0] for a, b in zip(first[:3], second[:3], strict=True)] == [True, True, False]
    assert {"runtime, ms", "FLOPs, G", "parameters, M", "better<", "cheaper"} <= set(words(root))


def test_the_baseline_is_a_square_and_scores_stand_in_the_legend() -> None:
    root = ElementTree.fromstring(draw_scores(report(scored("a", 30, 150), scored("b", 30, 300), baseline="b")))
    assert [rect.get("fill") for rect in root.iter(f"{SVG}rect")] == ["#ffffff"] + [COLOURS[1]] * 4
    score = 0.8 * math.e + 0.2 * math.e**2
    assert {f"a: score {score:.3f}", "b: score 7.389 (the baseline)"} <= set(words(root))


@pytest.mark.parametrize("count", [1, 2, 11])
def test_without_runs_there_is_no_panel_of_runtimes_and_all_lies_inside(count: int) -> None:
    root = ElementTree.fromstring(draw_scores(report(*(scored(f"m{i}", 30.0, None) for i in range(count)))))
    assert "runtime, ms" not in words(root) and any("no run was timed" in text for text in words(root))
    height, width = float(root.get("height") or 0), float(root.get("width") or 0)
    for element in root.iter():
        assert 0 <= float(element.get("cx") or element.get("x") or 0) <= width
        assert 0 <= float(element.get("cy") or element.get("y") or 0) <= height


@pytest.mark.parametrize("psnr_db", [None, math.inf])
def test_no_psnr_to_draw_is_refused(psnr_db: float | None) -> None:
    bad = scored("perfect", psnr_db or 30.0, 100)
    bad = dataclasses.replace(bad, quality=None) if psnr_db is None else bad
    with pytest.raises(EdgeSRError, match="perfect has no finite PSNR to draw; "):
        draw_scores(report(scored("a", 30.0, 100), bad))
