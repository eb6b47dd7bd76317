import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgesr.api import bench, host_block, host_block_child
from edgesr.api.host_block import Block, BlockPlan, measure_block_apart, merge_blocks
from edgesr.api.host_subjects import EAGER, HostSpec
from edgesr.artifact import Manifest
from edgesr.errors import ArtifactError, DeviceError, EdgeSRError
from edgesr.runtime.bench import Benchmark, turn_orders
from edgesr.runtime.bench_compare import Measure, compare_records
from edgesr.runtime.idleness import OthersLoad
from edgesr.runtime.json_fields import Fields
from edgesr.runtime.output_parity import OutputParity

FILE = "spanv2_x2-fp32.onnx"
PARITY = OutputParity("eager", 10, 40, False, 0.5, 0.001, "", 60.0)


@pytest.fixture
def plan(exported_once: Any) -> BlockPlan:
    artifact = exported_once.manifest.find(FILE)
    return BlockPlan((HostSpec(artifact, EAGER, 1), HostSpec(artifact, "onnxruntime", 1)), (0, 0), (8, 12), 2, 1)


def block(*ms: float, init_ms: float = 5.0, off: float = 0.001, others: OthersLoad | None = None) -> Block:
    parity = dataclasses.replace(PARITY, max_difference=off)
    return Block((Benchmark("a", "r", ms, 1, init_ms=init_ms, sha256="ab" * 32, parity=parity),), others)


def as_json(value: object) -> Fields:
    return Fields(json.loads(json.dumps(value)))


def test_a_plan_and_a_block_survive_the_pipe(plan: BlockPlan, exported_once: Any) -> None:
    assert BlockPlan.from_json(as_json(plan.to_json()), exported_once.manifest) == plan
    for one in (block(1.0, 2.0), block(1.0, others=OthersLoad(0.5, 0.25))):
        assert Block.from_json(as_json(one.to_json())) == one


def test_several_processes_are_one_record_that_can_be_compared(exported_once: Any) -> None:
    reports: list[tuple[str, int, int]] = []
    path = exported_once.manifest.folder / FILE
    first, second = (
        bench(path, (8, 12), 5, 1, progress=lambda *report: reports.append(report), memory=False, blocks=4)
        for _ in range(2)
    )
    assert [result.block_lengths for result in first.results if isinstance(result, Benchmark)] == [(2, 1, 1, 1)] * 2
    assert first.results[1].parity is not None and "others" in first.environment
    done = [done for stage, done, total in reports if (stage, total) == ("benchmark", 9)]
    assert sorted(set(done)) == list(range(10)) and done[: len(done) // 2] == sorted(done[: len(done) // 2])
    (row,) = compare_records(first, second).rows
    assert row.measure is Measure.RATIO and row.smallest < 1000


def test_blocks_go_on_in_the_order_of_turns(monkeypatch: pytest.MonkeyPatch, exported_once: Any) -> None:
    plans: list[BlockPlan] = []

    def measure(manifest: Manifest, plan: BlockPlan, progress: Any) -> Block:
        plans.append(plan)
        (result,) = block(*(1.0,) * plan.runs).results
        return Block((result, result), None)

    monkeypatch.setattr("edgesr.api.benchmarking.measure_block_apart", measure)
    record = bench(exported_once.manifest.folder / FILE, (8, 12), runs=3, warmups=2, memory=False)
    assert [(plan.runs, plan.first_turn) for plan in plans] == [(1, 0), (1, 3), (1, 6)], "no more blocks than runs"
    assert record.runs == 3 and turn_orders(2) == [(0, 1), (1, 0)]


def test_blocks_become_one() -> None:
    parts = [
        block(3.0, 4.0, init_ms=9.0, others=OthersLoad(0.1, 0.0)),
        block(5.0, init_ms=4.0, off=0.5, others=OthersLoad(0.3, 0.2)),
        block(6.0, init_ms=5.0, off=0.25, others=OthersLoad(0.2, 0.1)),
    ]
    found = merge_blocks(parts)
    (result,) = found.results
    assert result.latencies_ms == (3.0, 4.0, 5.0, 6.0) and result.block_lengths == (2, 1, 1)
    assert result.init_ms == 5.0 and result.parity is not None and result.parity.max_difference == 0.5
    assert found.others is not None
    assert (found.others.busy_cores, found.others.stolen_cores) == pytest.approx((0.2, 0.1))
    assert merge_blocks(parts[:1]) is parts[0] and parts[0].results[0].block_lengths == ()
    assert merge_blocks([parts[0], block(1.0)]).others is None, "one that does not know, and none knows"


def test_a_process_that_fails_leaves_its_log(
    fake_python: Callable[[str], None], plan: BlockPlan, tmp_path: Path
) -> None:
    for script, kept in [
        ("echo why it failed >&2; echo benchmark 1; exit 7", "why it failed\n"),
        ("cat > /dev/null; echo '[]'; exit 7", "[]\n"),
        ("echo benchmark many; exit 7", "benchmark many\n"),
        ("echo '{\"results\": [{}]}'; exit 7", '{"results": [{}]}\n'),
    ]:
        fake_python(script)
        with pytest.raises(DeviceError, match=r"of the benchmark failed \(exit code 7\), log in .*; time one file"):
            measure_block_apart(Manifest(tmp_path), plan)
        (log,) = tmp_path.glob("edgesr-bench-*.log")
        assert log.read_text() == kept
        log.unlink()


def test_a_file_that_changed_since_is_refused_in_the_parent_s_words(
    exported: Path, plan: BlockPlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_block.tempfile, "tempdir", str(tmp_path))
    (exported / FILE).write_bytes(b"other")
    with pytest.raises(ArtifactError, match="was changed after its export"):
        measure_block_apart(Manifest(exported), plan)
    assert list(tmp_path.glob("edgesr-bench-*.log")) == []


def test_an_unknown_failure_is_still_ours() -> None:
    with pytest.raises(EdgeSRError, match="what"):
        host_block._read_answer(json.dumps({"error": "what", "kind": "annotations"}))


def test_the_child_answers_a_plan_with_a_block(
    plan: BlockPlan, exported_once: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    said = host_block_child.answer(exported_once.manifest.folder, json.dumps(plan.to_json()))
    found = Block.from_json(as_json(said))
    assert [result.runner for result in found.results] == [EAGER, "onnxruntime"]
    assert capsys.readouterr().out.split("\n")[:2] == ["benchmark 0", "benchmark 1"]
    refusal = host_block_child.answer(exported_once.manifest.folder / "none", json.dumps(plan.to_json()))
    assert refusal["kind"] == "ArtifactError"


def test_an_interrupt_ends_the_process(fake_python: Callable[[str], None], plan: BlockPlan, tmp_path: Path) -> None:
    fake_python(f"cat > /dev/null; echo $$ > {tmp_path}/pid; echo benchmark 1; exec sleep 60")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        measure_block_apart(Manifest(tmp_path), plan, interrupt)
    pid = int((tmp_path / "pid").read_text())
    assert time.monotonic() - started < 30 and not Path(f"/proc/{pid}").exists()
