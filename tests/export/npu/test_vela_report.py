"""Vela's CSV files read, and refused where they are no report."""

import json

import pytest

from edgesr.errors import ExportError
from edgesr.ethos_u import find_ethos_u
from edgesr.export.npu.vela_report import NpuEstimate, read_report

U85 = find_ethos_u("ethos-u85-1024")


def read(texts: tuple[str, str]) -> NpuEstimate:
    return read_report(*texts, U85, 4096, "Vela 5.2.0")


def test_a_report(vela_texts: tuple[str, str]) -> None:
    estimate = read(vela_texts)
    assert (estimate.cycles, estimate.macs, estimate.sram_traffic_bytes) == (400, 4000, 777)
    assert estimate.off_chip_traffic_bytes == 543 and estimate.peak_sram_bytes == 2048
    assert estimate.milliseconds == pytest.approx(400 / 1e9 * 1e3)
    conv, relu, add = estimate.layers
    assert (conv.name, conv.operator, conv.cycles, conv.macs, conv.bound_by) == ("conv", "Conv2D", 300, 4000, "compute")
    assert conv.utilisation == pytest.approx(0.405) and conv.milliseconds == pytest.approx(3e-4)
    assert (relu.operator, relu.bound_by, relu.cycles, relu.utilisation) == ("Relu", "fused", 0, 0)
    assert (add.name, add.bound_by, add.off_chip_cycles, add.sram_cycles) == ('"a, b"', "DRAM", 100, 10)
    assert estimate.busiest is conv and estimate.left_out == 1


def test_every_figure_says_that_it_is_an_estimate(vela_texts: tuple[str, str]) -> None:
    estimate = read(vela_texts)
    for part in (
        "estimate",
        "Vela 5.2.0",
        "ethos-u85-1024",
        U85.system.name,
        "no measurement",
        "1 on the CPU left out",
    ):
        assert part in estimate.label
    written = json.loads(json.dumps(estimate.as_json()))
    assert written["estimate"] is True and written["estimated_cycles"] == 400 and len(written["layers"]) == 3


@pytest.mark.parametrize("texts", [("", None), ("nonsense\n1\n", None), (None, ""), (None, "<html>\nnot found\n")])
def test_no_report_at_all(texts: tuple[str | None, str | None], vela_texts: tuple[str, str]) -> None:
    summary, layers = (given if given is not None else good for given, good in zip(texts, vela_texts, strict=True))
    with pytest.raises(ExportError, match=r"^Vela 5\.2\.0 wrote a report that cannot be read"):
        read((summary, layers))


@pytest.mark.parametrize(
    ("good", "bad", "message"),
    [
        ("1000000000.0", "500e6", "its clock is 500e6 Hz, not 1000 MHz"),
        ("777", "nan", "nan is no amount"),
        ("777", "-1", "-1 is no amount"),
        ("Conv2D,Conv2D,NPU,2048", "Conv2D", "cannot be read"),
        (",300,75,", ",301,75,", "reports 400 cycles and layers that need 401"),
    ],
)
def test_a_report_with_an_error(good: str, bad: str, message: str, vela_texts: tuple[str, str]) -> None:
    summary, layers = (text.replace(good, bad) for text in vela_texts)
    assert (summary, layers) != vela_texts
    with pytest.raises(ExportError, match=message):
        read((summary, layers))
