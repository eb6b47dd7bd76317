import json
import math

import pytest

from edgesr.runtime.bench import Benchmark
from edgesr.runtime.complexity import Complexity
from edgesr.runtime.score_report import ScoredModel, ScoreReport


def scored(label: str, ms: float | None = None) -> ScoredModel:
    timing = None if ms is None else Benchmark(label, "torch-float32", (ms,) * 50, 5)
    return ScoredModel(
        label, "span_x4", "", 4, Complexity(151_000, 9_830_000_000, 41_000_000, 22, 7_000_000), timing=timing
    )


def report(*models: ScoredModel, baseline: str | None = None, loads: tuple[str, ...] = ()) -> ScoreReport:
    return ScoreReport(models, baseline, (256, 256), 1, "now", {}, load_warnings=loads)


def test_ratios_and_scores_are_to_the_baseline() -> None:
    fast, span = scored("fast", 100), scored("span", 200)
    found = report(fast, span, baseline="span")
    score = found.score(fast)
    assert found.runtime_ratio(fast) == 0.5 and score is not None
    assert score.final == pytest.approx(0.8 * math.e + 0.2 * math.e**2)
    assert found.runtime_ratio(span) == 1 and found.warnings == ()


@pytest.mark.parametrize(("ms", "baseline"), [(None, "a"), (100.0, None)])
def test_without_runs_or_a_baseline_there_is_no_score(ms: float | None, baseline: str | None) -> None:
    found = report(scored("a", ms), baseline=baseline)
    assert found.score(found.models[0]) is None and found.runtime_ratio(found.models[0]) is None
    (plain,) = found.to_json()["models"]  # type: ignore[misc]  # a list, which the test is about
    assert (plain["score"], plain["quality"]) == (None, None)


def test_an_infinite_score_is_valid_json() -> None:
    found = report(scored("slow", 1e6), scored("span", 1), baseline="span")
    plain = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert plain["models"][0]["score"]["final"] == "inf" and plain["models"][1]["score"]["flops"] == math.exp(2)


def test_warnings_of_the_runs_and_of_the_machine() -> None:
    hasty = ScoredModel("a", "n", "", 4, Complexity(1, 1, 1, 1, 1), timing=Benchmark("a", "t", (1.0,), 0))
    assert report(hasty, loads=("busy",)).warnings == (*hasty.timing.warnings(), "busy") if hasty.timing else False


def test_unclear_reports_are_refused() -> None:
    with pytest.raises(ValueError, match="two of one label"):
        report(scored("a"), scored("a"))
    with pytest.raises(ValueError, match="no networks"):
        report()
    with pytest.raises(ValueError, match="none of"):
        report(scored("a"), baseline="b")
