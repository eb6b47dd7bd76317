"""Learning falls, repeats bit for bit, goes on where it was interrupted, and says where it diverged."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from edgesr.errors import ExportError
from edgesr.graph import Graph
from edgesr.progress import silent
from edgesr.quant.learning import fit as fit_module
from edgesr.quant.learning.fit import DivergedError, fit
from edgesr.quant.learning.patches import Patches
from edgesr.quant.learning.plan import FitPlan, Kind
from edgesr.quant.learning.saved import SavedFit
from edgesr.quant.learning.student import Parameters, Student
from edgesr.quantized import QuantParams
from edgesr.threads import torch_threads

RATES = {Kind.SCALES: 1e-2, Kind.STEPS: 2e-2, Kind.ZEROS: 0.5, Kind.BIASES: 1e-2, Kind.WEIGHTS: 1e-2}
PLAN = FitPlan("learning", 12, RATES, label_share=0.1, batch=4, mean_decay=0.8)


def same(a: Parameters, b: Parameters) -> bool:
    """Bit for bit."""
    return all(torch.equal(p, q) for kind in Kind for p, q in zip(a[kind], b[kind], strict=True))


def learn(student: Student, patches: Patches, plan: FitPlan = PLAN, folder: Path | None = None) -> Parameters:
    return fit(student, student.start, patches, plan, silent, folder)


def loss(student: Student, parameters: Parameters, patches: Patches) -> float:
    with torch.no_grad():
        output = student.execute(patches.inputs.float() / 255, parameters)
    return (output - patches.targets.float()).square().mean().item()


def with_white_labels(patches: Patches) -> Patches:
    return replace(patches, labels=torch.full_like(patches.labels, 255))


def with_bad_ranges(net: Graph, ranges: dict[str, QuantParams], factor: float) -> Student:
    wrong = {name: replace(ranges[name], scale=ranges[name].scale * factor) for name in ("f", "s", "g", "h")}
    return Student(net, ranges | wrong)


@pytest.mark.parametrize(("factor", "gain"), [(0.4, 3), (5.0, 2)])
@pytest.mark.parametrize("moving", [{Kind.STEPS: 0.15}, {Kind.STEPS: 0.15, Kind.SCALES: 1e-2, Kind.BIASES: 1e-2}])
def test_the_loss_falls_from_bad_ranges(
    factor: float, gain: float, moving: dict[Kind, float], net: Graph, ranges: dict[str, QuantParams], patches: Patches
) -> None:
    """Ranges that cut off, and ranges of which few steps are used."""
    student = with_bad_ranges(net, ranges, factor)
    found = learn(student, patches, FitPlan("learning", 50, moving, batch=8, mean_decay=0.8))
    before, after = loss(student, student.start, patches), loss(student, found, patches)
    print(f"ranges x {factor}: {before:.2e} -> {after:.2e}")
    assert after < before / gain
    assert loss(student, student.start, patches) == before, "where it starts from must stay as it is"


def test_only_what_the_plan_moves_moves(student: Student, patches: Patches) -> None:
    found = learn(student, patches, replace(PLAN, rates={Kind.BIASES: 1e-2, Kind.STEPS: 1e-2}))
    moved = {
        kind
        for kind in Kind
        if not all(torch.equal(p, q) for p, q in zip(found[kind], student.start[kind], strict=True))
    }
    assert moved == {Kind.BIASES, Kind.STEPS}
    assert not any(p.requires_grad for values in found.values() for p in values)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6])
def test_the_truth_counts_with_its_share(share: float, student: Student, patches: Patches) -> None:
    """Labels that say white: the least loss lies between the network's answer and white, that far."""
    plan = FitPlan("learning", 60, {Kind.BIASES: 8.0}, label_share=share, mean_decay=0.8)
    found = learn(student, with_white_labels(patches), plan)
    with torch.no_grad():
        output = student.execute(patches.inputs.float() / 255, found).mean().item()
    answer = patches.targets.float().mean().item()
    # a few steps of the output; without the network's share 1 - w, the least lies 0.05 higher or lower
    assert output == pytest.approx((1 - share) * answer + share, abs=0.02)


def test_every_patch_of_a_batch_counts_alike(student: Student, patches: Patches) -> None:
    """Three patches in shards of two and one: whichever is alone, the step is the same."""
    three = Patches(patches.inputs[:3], patches.targets[:3], with_white_labels(patches).labels[:3])
    plan = FitPlan("learning", 3, {Kind.BIASES: 1.0}, label_share=0.5, batch=3)
    found = [learn(student, three, replace(plan, seed=seed))[Kind.BIASES] for seed in range(4)]
    alone = {int(next(three.batches(3, torch.Generator().manual_seed(seed)))[2]) for seed in range(4)}
    assert len(alone) > 1, "the last one must differ, or this test proves nothing"
    for other in found[1:]:
        assert max((p - q).abs().max().item() for p, q in zip(found[0], other, strict=True)) < 1e-4


def test_the_result_is_the_mean_of_the_way(student: Student, patches: Patches) -> None:
    """After one step: nine tenths of the way to it, which Adam makes as long as the rate, here 1/50 of it."""
    plan = FitPlan("learning", 1, {Kind.BIASES: 1.0}, label_share=0.9)
    lengths = torch.cat([p.abs() for p in learn(student, with_white_labels(patches), plan)[Kind.BIASES]])
    # Adam's 1e-8 beside gradients of 1e-4 and, for some, less
    assert lengths.median().item() == pytest.approx(0.9 / 50, rel=1e-3)
    assert lengths.max() <= 0.9 / 50 * (1 + 1e-5)


def test_it_repeats_bit_for_bit(student: Student, patches: Patches) -> None:
    first = learn(student, patches)
    assert same(first, learn(student, patches))
    assert not same(first, learn(student, patches, replace(PLAN, seed=1)))


class OneCore:
    """A pool without threads: one task after the other."""

    def __init__(self, workers: int) -> None:
        assert workers == fit_module.SHARDS

    def __enter__(self) -> "OneCore":
        return self

    def __exit__(self, *args: object) -> None:
        pass

    @staticmethod
    def map(function: Callable[[Any], Any], tasks: Iterable[Any]) -> Iterator[Any]:
        return map(function, tasks)


def test_the_number_of_cores_changes_no_bit(
    student: Student, patches: Patches, monkeypatch: pytest.MonkeyPatch
) -> None:
    with torch_threads(1):
        parallel = learn(student, patches)
        monkeypatch.setattr(fit_module, "ThreadPoolExecutor", OneCore)
        assert same(parallel, learn(student, patches))
        monkeypatch.setattr(fit_module, "SHARDS", 1)
        assert not same(parallel, learn(student, patches)), "sums in another order must show, or this proves nothing"


def test_fewer_patches_than_a_batch(net: Graph, ranges: dict[str, QuantParams], patches: Patches) -> None:
    """A batch of one cannot be halved, and the loss is the same mean."""
    few = replace(patches, inputs=patches.inputs[:1], targets=patches.targets[:1], labels=patches.labels[:1])
    bad = with_bad_ranges(net, ranges, 0.4)
    found = learn(bad, few, replace(PLAN, rates={Kind.STEPS: 0.6}, label_share=0))
    assert loss(bad, found, few) < loss(bad, bad.start, few) / 1.5


class Interrupt:
    """A progress that interrupts at one step, and remembers which steps it saw."""

    def __init__(self, at: int | None = None) -> None:
        self.at = at
        self.seen: list[int] = []

    def __call__(self, stage: str, done: int, total: int) -> None:
        self.seen.append(done)
        if done == self.at:
            raise KeyboardInterrupt


def interrupted(student: Student, patches: Patches, folder: Path, at: int = 7) -> Path:
    """A fit that was interrupted, and its only file."""
    with pytest.raises(KeyboardInterrupt, match=rf"the same command goes on from step {at} of 12"):
        fit(student, student.start, patches, PLAN, Interrupt(at), folder)
    (path,) = folder.iterdir()
    return path


@pytest.mark.parametrize("at", [0, 1, 7, 12])
def test_an_interrupted_fit_goes_on_as_if_nothing_had_been(
    at: int, student: Student, patches: Patches, tmp_path: Path
) -> None:
    interrupted(student, patches, tmp_path, at)
    going_on = Interrupt()
    found = fit(student, student.start, patches, PLAN, going_on, tmp_path)
    assert going_on.seen == list(range(at, 13))
    assert same(found, learn(student, patches))


def test_it_may_be_interrupted_again_and_again(student: Student, patches: Patches, tmp_path: Path) -> None:
    for at in (3, 5, 11):
        interrupted(student, patches, tmp_path, at)
    assert same(learn(student, patches, folder=tmp_path), learn(student, patches))


def test_a_finished_fit_is_not_learned_again(student: Student, patches: Patches, tmp_path: Path) -> None:
    first = learn(student, patches, folder=tmp_path)
    again = Interrupt()
    assert same(fit(student, student.start, patches, PLAN, again, tmp_path), first)
    assert again.seen == [PLAN.steps]


def test_an_interrupt_in_the_middle_of_a_step_leaves_no_half_state(
    student: Student, patches: Patches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parameters that have moved while their mean has not."""
    with monkeypatch.context() as patch:

        def interrupting(*args: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(torch, "_foreach_lerp_", interrupting)
        with pytest.raises(KeyboardInterrupt):
            learn(student, patches, folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_interrupt_in_the_middle_of_a_step_goes_on_from_what_was_saved_before(
    student: Student, patches: Patches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit_module, "SAVE_EVERY_S", -1.0)
    steps, original = iter(range(PLAN.steps)), torch._foreach_lerp_

    def interrupting(*args: Any) -> None:
        if next(steps) == 3:
            raise KeyboardInterrupt
        original(*args)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "_foreach_lerp_", interrupting)
        with pytest.raises(KeyboardInterrupt, match="the same command goes on from step 3 of 12"):
            learn(student, patches, folder=tmp_path)
    going_on = Interrupt()
    found = fit(student, student.start, patches, PLAN, going_on, tmp_path)
    assert going_on.seen == list(range(3, 13))
    assert same(found, learn(student, patches))


def test_an_interrupt_in_the_first_step_after_going_on_names_the_step_that_was_gone_on_from(
    student: Student, patches: Patches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(student, patches, tmp_path, at=5)

    def interrupting(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "_foreach_lerp_", interrupting)
    with pytest.raises(KeyboardInterrupt, match="the same command goes on from step 5 of 12"):
        learn(student, patches, folder=tmp_path)


def test_the_state_is_saved_every_half_minute(
    student: Student, patches: Patches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is killed cannot save any more."""
    clock = iter(range(0, 100_000, 14))
    monkeypatch.setattr(fit_module, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    states: list[int] = []
    original = SavedFit.write

    def listening(self: Any, tensors: Any) -> None:
        states.append(int(tensors["step"]))
        original(self, tensors)

    monkeypatch.setattr(SavedFit, "write", listening)
    learn(student, patches, folder=tmp_path)
    assert states[-1] == PLAN.steps and states[0] == 3 and len(states) in range(4, 7)


def other_student(student: Student) -> Student:
    changed = student.activations | {"f": replace(student.activations["f"], scale=0.1)}
    return Student(student.graph, changed)


def other_weights(student: Student) -> Student:
    graph = student.graph
    return Student(
        graph.with_parameters({("h", "weight"): graph.parameters()["h", "weight"] * 1.01}), student.activations
    )


def other_inputs(patches: Patches) -> Patches:
    return replace(patches, inputs=patches.inputs.flip(0))


def other_labels(patches: Patches) -> Patches:
    return replace(patches, labels=patches.labels.flip(0))


@pytest.mark.parametrize("change", [other_student, other_weights])
def test_the_state_of_another_student_is_not_taken(
    change: Callable[[Student], Student], student: Student, patches: Patches, tmp_path: Path
) -> None:
    interrupted(student, patches, tmp_path)
    assert starts_anew(change(student), patches, PLAN, tmp_path)


@pytest.mark.parametrize("change", [other_inputs, other_labels])
def test_the_state_of_other_patches_is_not_taken(
    change: Callable[[Patches], Patches], student: Student, patches: Patches, tmp_path: Path
) -> None:
    interrupted(student, patches, tmp_path)
    assert starts_anew(student, change(patches), PLAN, tmp_path)


@pytest.mark.parametrize(
    "fields", [{"seed": 1}, {"steps": 13}, {"rates": {**RATES, Kind.STEPS: 1e-3}}, {"label_share": 0.2}, {"batch": 3}]
)
def test_the_state_of_another_plan_is_not_taken(
    fields: dict[str, Any], student: Student, patches: Patches, tmp_path: Path
) -> None:
    interrupted(student, patches, tmp_path)
    assert starts_anew(student, patches, replace(PLAN, **fields), tmp_path)


def starts_anew(student: Student, patches: Patches, plan: FitPlan, folder: Path) -> bool:
    listening = Interrupt()
    fit(student, student.start, patches, plan, listening, folder)
    return listening.seen[0] == 0


def test_the_state_from_another_start_is_not_taken(
    student: Student, patches: Patches, tmp_path: Path, moved: Callable[[Student], Parameters]
) -> None:
    interrupted(student, patches, tmp_path)
    listening = Interrupt()
    fit(student, moved(student), patches, PLAN, listening, tmp_path)
    assert listening.seen[0] == 0


@pytest.mark.parametrize("share", [0.001, 0.999])
def test_a_truncated_state_is_no_state(share: float, student: Student, patches: Patches, tmp_path: Path) -> None:
    path = interrupted(student, patches, tmp_path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    assert starts_anew(student, patches, PLAN, tmp_path)
    assert not starts_anew(student, patches, PLAN, tmp_path), "a whole state must be found, or this proves nothing"


def test_a_folder_that_cannot_be_written_is_named(student: Student, patches: Patches, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ExportError, match=r"\Acannot write [^\n]*file[^\n]*\Z"):
        learn(student, patches, folder=tmp_path / "file" / "state")


def test_targets_that_are_no_numbers_are_noticed_at_once(student: Student, patches: Patches) -> None:
    targets = patches.targets.clone()
    targets[:, 0, 0, 0] = float("nan")
    with pytest.raises(DivergedError, match=r"\Alearning diverged at step 0 of 12\Z"):
        learn(student, replace(patches, targets=targets))


def test_an_output_that_is_no_number_is_noticed_though_its_clip_hides_the_gradients(
    student: Student, patches: Patches
) -> None:
    """Behind the first convolution all gradients are zero, and zeros are numbers."""
    weights = [p.clone() for p in student.start[Kind.WEIGHTS]]
    weights[0] += float("nan")
    start = student.start | {Kind.WEIGHTS: weights}
    with pytest.raises(DivergedError, match="at step 0 of 12"):
        fit(student, start, patches, replace(PLAN, rates={Kind.BIASES: 1e-3}), silent)


@pytest.mark.parametrize("kind", [Kind.SCALES, Kind.STEPS])
def test_absurd_rates_diverge(kind: Kind, student: Student, patches: Patches, tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match=r"learning diverged at step \d+ of 12"):
        learn(student, patches, replace(PLAN, rates={kind: 1e30}), tmp_path)
    assert not list(tmp_path.iterdir()), "a state of no numbers must not be gone on from"


@pytest.mark.parametrize("rate", [1e4, 1e30])
def test_a_last_step_that_leaves_no_usable_numbers_is_noticed(rate: float, student: Student, patches: Patches) -> None:
    """No later step would: the exponential of a step may be zero or infinite where its logarithm is a number."""
    with pytest.raises(DivergedError, match=r"\Alearning diverged at its last step, 1\Z"):
        learn(student, patches, FitPlan("learning", 1, {Kind.STEPS: rate}))
