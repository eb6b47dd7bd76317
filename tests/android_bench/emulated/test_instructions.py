from pathlib import Path

import pytest

from edgesr.android_bench.emulated.instructions import read_counts
from edgesr.errors import DeviceError


def test_counts_are_between_the_markers_of_each_run(tmp_path: Path) -> None:
    path = tmp_path / "counts"
    path.write_text("10 0 1000\n10 1 1500\n11 0 90\n10 2 1600\n11 1 95\n10 3 2600\n")
    assert read_counts(path) == (500, 5, 1000)
    assert read_counts(path) == ()


def test_a_run_that_was_cut_off_counts_for_nothing(tmp_path: Path) -> None:
    path = tmp_path / "counts"
    path.write_text("10 0 1000\n10 1 1500\n10 2 1600\n")
    assert read_counts(path) == (500,)


@pytest.mark.parametrize("line", ["10 1 1500", "10 zero 5", "10 0", "\x00"])
def test_nonsense_is_told(line: str, tmp_path: Path) -> None:
    (tmp_path / "counts").write_text(f"{line}\n")
    with pytest.raises(DeviceError, match=r"the instruction plugin wrote .* which makes no sense"):
        read_counts(tmp_path / "counts")
