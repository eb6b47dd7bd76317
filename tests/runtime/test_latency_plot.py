import dataclasses
from xml.etree import ElementTree

import pytest

from edgesr.runtime.bench import Benchmark
from edgesr.runtime.bench_record import BenchRecord
from edgesr.runtime.instruction_counts import InstructionCounts
from edgesr.runtime.latency_plot import CEILING, HOT, SHADE, draw_record

SVG = "{http://www.w3.org/2000/svg}"
STEADY = Benchmark("a<b>.tflite", "litert", tuple(10.0 + i % 3 for i in range(60)), 5, (20, 20, 20))
RECORD = BenchRecord("host", (8, 12), 1, 60, 5, "2026-11-25T18:00:00+00:00", {"processor": "CPU & co"}, (STEADY,))


def drawn(*results: Benchmark | InstructionCounts, warnings: tuple[str, ...] = ()) -> ElementTree.Element:
    return ElementTree.fromstring(draw_record(dataclasses.replace(RECORD, results=results, warnings=warnings)))


def words(root: ElementTree.Element) -> list[str]:
    return [element.text or "" for element in root.iter(f"{SVG}text")]


def fills(root: ElementTree.Element, tag: str, attribute: str = "fill") -> list[str | None]:
    return [element.get(attribute) for element in root.iter(f"{SVG}{tag}")]


def test_every_run_is_a_dot_and_every_second_block_is_shaded() -> None:
    root = drawn(STEADY)
    assert len(list(root.iter(f"{SVG}circle"))) == 60 and fills(root, "rect").count(SHADE) == 1
    assert "median 11.00 ms" in words(root) and "a<b>.tflite, litert, 1 thread, 60 runs" in words(root)
    assert any("CPU & co" in text for text in words(root)) and HOT not in fills(root, "text")


def test_higher_samples_stand_higher() -> None:
    dots = [(float(c.get("cx") or 0), float(c.get("cy") or 0)) for c in drawn(STEADY).iter(f"{SVG}circle")]
    assert [x for x, _ in dots] == sorted(x for x, _ in dots)
    assert dots[0][1] > dots[1][1] > dots[2][1] and dots[3][1] == dots[0][1]


def test_samples_far_above_are_triangles_with_their_height_written() -> None:
    spikes = dataclasses.replace(STEADY, latencies_ms=(*STEADY.latencies_ms[:58], 11 * CEILING + 9, 333.0))
    root = drawn(spikes)
    assert fills(root, "path") == [HOT, HOT] and "up to 333" in words(root)
    assert len(list(root.iter(f"{SVG}circle"))) == 58


def test_throttling_is_drawn_and_named() -> None:
    hot = dataclasses.replace(STEADY, latencies_ms=(10.0,) * 30 + (13.0,) * 30, block_lengths=())
    root = drawn(hot)
    thick = [line for line in root.iter(f"{SVG}line") if line.get("stroke") == HOT]
    assert len(thick) == 2 and float(thick[0].get("y1") or 0) > float(thick[1].get("y1") or 0)
    assert "last third 1.30 x" in words(root)
    assert any(text.startswith("warning: ") and "throttling" in text for text in words(root))


def test_warnings_of_the_run_stand_below_all_and_inside() -> None:
    root = drawn(STEADY, STEADY, warnings=("the machine was not quiet", "hot"))
    ys = [float(t.get("y") or 0) for t in root.iter(f"{SVG}text") if (t.text or "").startswith("warning: ")]
    assert ys == sorted(ys) and len(ys) == 2 and ys[-1] < float(root.get("height") or 0)


def test_counts_are_no_milliseconds() -> None:
    counts = InstructionCounts("a", "runner", (64_000_000,) * 3)
    record = dataclasses.replace(RECORD, results=(counts,), emulated="cortex-a76 under qemu", device="emulated")
    root = ElementTree.fromstring(draw_record(record))
    assert "median 64,000,000" in words(root) and not any(" ms" in text for text in words(root))
    assert any("cortex-a76 under qemu" in text for text in words(root))


@pytest.mark.parametrize("ms", [1e-6, 0.03, 7.0, 1e5])
@pytest.mark.parametrize("n", [1, 2, 9, 1000])
def test_any_size_of_numbers_gives_a_few_marks_inside_the_picture(ms: float, n: int) -> None:
    root = drawn(dataclasses.replace(STEADY, latencies_ms=(ms,) * n, block_lengths=()))
    assert 2 <= sum(text.endswith(" ms") and not text.startswith("median") for text in words(root)) <= 12
    for element in root.iter():
        for name in ("x", "x1", "x2", "cx"):
            assert 0 <= float(element.get(name) or 0) <= 960
