import threading
import time

import pytest

from edgesr.android_bench.affinity import Affinity, big_cores, mask
from edgesr.android_bench.device_facts import Battery, Condition, Core
from edgesr.android_bench.energy import energy_per_run
from edgesr.android_bench.protocol import Protocol, prepare, too_hot, warmed
from edgesr.errors import DeviceError

COOL = Condition(0, {}, Battery(80, 30.0, 4000, 3_000_000, False))
HOT = Condition(3, {}, Battery())
PHONE = tuple(Core(n, khz) for n, khz in enumerate([2_000_000] * 4 + [2_800_000] * 3 + [3_300_000]))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that moves by sleeping alone."""
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", sleep)
    return now


@pytest.mark.parametrize(("runs", "blocks", "shares"), [(50, 5, (10,) * 5), (7, 3, (3, 2, 2)), (3, 3, (1, 1, 1))])
def test_blocks_share_the_runs(runs: int, blocks: int, shares: tuple[int, ...]) -> None:
    assert [own for _, own in Protocol(runs=runs, blocks=blocks).turns(1)] == list(shares)


@pytest.mark.parametrize(
    "asked", [{"runs": 0}, {"blocks": 0}, {"threads": 0}, {"warmups": -1}, {"runs": 2, "blocks": 3}]
)
def test_what_measures_nothing_is_refused(asked: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"at least 1|do not fill"):
        Protocol(**asked)  # type: ignore[arg-type]  # ints for every field here


@pytest.mark.parametrize(("threads", "cores"), [(1, (7,)), (2, (4, 5, 6, 7)), (8, tuple(range(8)))])
def test_the_fastest_clusters_are_taken(threads: int, cores: tuple[int, ...]) -> None:
    assert big_cores(PHONE, threads) == cores


def test_unknown_or_equal_clocks_choose_no_core() -> None:
    assert big_cores((*PHONE, Core(8, None)), 1) == () == big_cores([Core(0, 5), Core(1, 5)], 1)


def test_the_mask_is_tasksets() -> None:
    assert mask((4, 5, 6, 7)) == "f0"


def test_a_hot_device_is_waited_for(clock: list[float]) -> None:
    conditions = [HOT, HOT, COOL]
    start = prepare(lambda: conditions.pop(0), PHONE, Protocol())
    assert start.condition == COOL and start.waited_s == 10 and start.mask == "80" and start.warnings == ()


def test_a_device_that_stays_hot_is_refused(clock: list[float]) -> None:
    with pytest.raises(DeviceError, match=r"hot: thermal status 3 \(severe\) after 60 s.*--cool-down"):
        prepare(lambda: HOT, PHONE, Protocol(cool_down_s=60))
    assert clock[0] == 60


def test_a_wait_can_be_stopped() -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(DeviceError, match="interrupted"):
        prepare(lambda: HOT, PHONE, Protocol(), stop=stop)


def test_a_hot_battery_is_hot() -> None:
    assert too_hot(Condition(0, {}, Battery(temperature_c=41.0))) == "battery at 41.0 C"
    assert too_hot(Condition(None, {}, Battery())) is None


def test_heat_that_came_meanwhile_is_told() -> None:
    assert warmed(COOL, COOL) is None
    assert warmed(COOL, HOT) == "the device grew hot while it measured: thermal status 3 (severe) (before: 0 (none))"


def test_what_is_unknown_is_doubted() -> None:
    start = prepare(lambda: Condition(None, {}, Battery(level_percent=10)), (), Protocol())
    assert start.mask is None
    assert [any(word in warning for warning in start.warnings) for word in ("thermal", "10 %", "scheduler")] == [
        True
    ] * 3
    free = prepare(lambda: COOL, (), Protocol(affinity=Affinity.ALL))
    assert free.warnings == ()


def battery(charge_uah: int | None, plugged: bool | None = False) -> Battery:
    return Battery(80, 30.0, 4000, charge_uah, plugged)


def test_energy_by_the_charge_counter() -> None:
    readings = [(battery(3_000_000), battery(2_990_000)), (battery(2_989_000), battery(2_969_000))]
    # 30,000 uAh at 4 V are 30e-3 Ah * 3600 s * 4 V = 432 J, over 100 runs
    assert energy_per_run(readings, 100).millijoules == pytest.approx(4320)


@pytest.mark.parametrize(
    ("readings", "reason"),
    [
        ([], "no charge counter"),
        ([(battery(None), battery(None))], "no charge counter"),
        ([(battery(3_000_000, True), battery(2_000_000, True))], "plugged"),
        ([(battery(3_000_000, None), battery(2_000_000, None))], "plugged"),
        ([(battery(3_000_000), battery(3_000_000))], "moved by less"),
        ([(battery(3_000_000), battery(2_990_000))], "moved by less"),
    ],
)
def test_no_figure_without_a_sensor_that_can_give_it(readings: list[tuple[Battery, Battery]], reason: str) -> None:
    energy = energy_per_run(readings, 10)
    assert energy.millijoules is None and energy.reason is not None and reason in energy.reason
