"""Plans that do nothing, or contradict themselves, are refused."""

from dataclasses import replace
from typing import Any

import pytest

from edgesr.quant.learning.plan import DISTILLATION, RANGES, ROUNDING, FitPlan, Kind

REFUSED: tuple[tuple[dict[str, Any], str], ...] = (
    ({"steps": 0}, "steps and batch must be positive"),
    ({"batch": 0}, "steps and batch must be positive"),
    ({"rates": {}}, "something must move"),
    ({"label_share": 1.0}, "label_share and mean_decay lie in"),
    ({"label_share": -0.1}, "label_share and mean_decay lie in"),
    ({"mean_decay": 1.0}, "label_share and mean_decay lie in"),
    ({"rounded_share": 1.1}, "rounded_share 1.1 is no share"),
    ({"rounded_share": 0.5, "rates": {Kind.SCALES: 1e-3}}, "channel scales cannot move under rounded weights"),
)


@pytest.mark.parametrize(("fields", "reason"), REFUSED)
def test_refusals(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=f"plan 'wild': .*{reason}"):
        replace(FitPlan("wild", 5, {Kind.STEPS: 1e-3}), **fields)


def test_the_plans_that_ship_have_names_and_seeds_of_their_own() -> None:
    plans = (RANGES, DISTILLATION, *ROUNDING)
    assert len({plan.name for plan in plans}) == len({plan.seed for plan in plans}) == len(plans)
    assert [plan.rounded_share for plan in plans] == [0, 0, 0.25, 0.5]
