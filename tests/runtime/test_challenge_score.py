import math

import pytest

from edgesr.runtime.challenge_score import Cost, challenge_score

SPAN = Cost(5.59, 9.83, 0.151)
"""The baseline of NTIRE 2026: milliseconds on an RTX A6000, G, M."""


def test_the_baseline_scores_as_the_challenge_prints_it() -> None:
    score = challenge_score(SPAN, SPAN)
    assert [f"{x:.4f}" for x in (score.runtime, score.flops, score.parameters, score.final)] == ["7.3891"] * 4


def test_each_ratio_goes_into_its_own_exponential_with_its_own_weight() -> None:
    score = challenge_score(Cost(5.59 / 2, 9.83 * 2, 0.151 / 4), SPAN)
    assert score.runtime == pytest.approx(math.e)
    assert score.flops == pytest.approx(math.exp(4))
    assert score.parameters == pytest.approx(math.exp(0.5))
    assert score.final == pytest.approx(0.8 * math.e + 0.1 * math.exp(4) + 0.1 * math.exp(0.5))


def test_what_costs_nothing_scores_one_and_what_costs_a_thousand_times_is_infinite() -> None:
    assert challenge_score(Cost(0, 0, 0), SPAN).final == pytest.approx(1)
    assert challenge_score(Cost(5590, 9.83, 0.151), SPAN).final == math.inf


@pytest.mark.parametrize("bad", [math.nan, math.inf, -1.0])
def test_no_cost_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="no number"):
        Cost(1, bad, 1)


def test_a_baseline_that_costs_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="costs nothing"):
        challenge_score(SPAN, Cost(1, 1, 0))
