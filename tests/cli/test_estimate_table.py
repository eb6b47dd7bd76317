"""Tables of estimates: every line of them is labelled."""

import dataclasses

import pytest

from edgesr.cli.estimate_table import print_comparison, print_estimate
from edgesr.export.npu.vela_report import LayerEstimate, NpuEstimate

CONV = LayerEstimate("conv", "Conv2D", 1_500_000, 1.5, 7_000, 0.25, "DRAM", 10, 20, 2048)
RELU = LayerEstimate("conv", "Relu", 0, 0.0, 0, 0.0, "fused", 0, 0, 0)
ADD = LayerEstimate("sum", "Add", 500_000, 0.5, 0, 0.0, "compute", 10, 20, 1024)
ESTIMATE = NpuEstimate(
    "ethos-u85-1024", "Vela 5.2.0", "a system", 1000, 4096, 2_000_000, 7_000, 1 << 20, 3 << 20, 2048, (CONV, RELU, ADD)
)


def test_layers_and_the_whole(capsys: pytest.CaptureFixture[str]) -> None:
    print_estimate(ESTIMATE)
    header, _, conv, add, total, label = capsys.readouterr().out.splitlines()
    assert header.split()[:3] == ["layer", "operator", "cycles"] and "est. ms" in header
    assert conv.split() == ["conv", "Conv2D", "1,500,000", "1.500", "75.0%", "7,000", "25%", "DRAM"]
    assert add.split() == ["sum", "Add", "500,000", "0.500", "25.0%", "0", "0%", "compute"]
    assert total.startswith("estimate: 2,000,000 cycles, 2.00 ms;")
    assert "1.0 MiB SRAM, 3.0 MiB off-chip" in total and "2 of 4 KiB" in total
    assert label == ESTIMATE.label and label.startswith("estimate by Vela 5.2.0")


def test_two_files_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    slow = dataclasses.replace(ESTIMATE, cycles=50_000_000)
    print_comparison({"folded": ESTIMATE, "unfolded": slow})
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split()[:3] == ["folded", "2.00", "1.0"]
    assert lines[3].split()[:3] == ["unfolded", "50.00", "25.0"]
    assert lines[4:] == [ESTIMATE.label]
