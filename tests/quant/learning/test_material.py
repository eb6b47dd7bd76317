"""Material: nothing that is chosen on is learned from, and every network gets inputs that it takes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from edgesr.graph import Graph
from edgesr.ops import Add, DepthToSpace
from edgesr.quant.learning import material
from edgesr.quant.learning.material import Material, gather
from edgesr.quant.learning.patches import Mixture
from edgesr.quant.photographs import LabelledImage, hold_out
from edgesr.quant.selection import Closeness, Faithfulness

Images = tuple[np.ndarray, ...]
FEW = Mixture(24)


def flat(levels: range, side: int = 80) -> Images:
    """Images of one red each, so that every piece of one shows where it is from."""
    images = [np.random.default_rng(level).integers(0, 256, (side, side, 3), dtype=np.uint8) for level in levels]
    for level, image in zip(levels, images, strict=True):
        image[..., 0] = level
    return tuple(images)


def reds(image: np.ndarray | torch.Tensor) -> set[int]:
    return set(np.unique(np.asarray(image)).tolist())


def of_plain(found: Material) -> tuple[set[int], set[int]]:
    """The reds of plain inputs that are learned from, and of those that are chosen on; hard images apart."""
    hard = round(FEW.count * FEW.hard_share)
    learned = [x[0] for x in found.patches.inputs[:-hard]] + [x[..., 0] for x in found.starting]
    learned += [x[..., 0] for x in found.rounding[: -material.ROUNDING_HARD_IMAGES]]
    assert isinstance(found.judge, Closeness)
    count = len(found.judge.inputs)
    plain = found.judge.inputs[: count - max(1, count // 4)]
    chosen = [(x[0, 0] * 255).round().int() for x in plain]
    return set().union(*map(reds, learned)), set().union(*map(reds, chosen))


@pytest.mark.parametrize("count", [2, 3, 5, 12])
@pytest.mark.parametrize("side", [80, 40])
def test_no_image_is_both_learned_from_and_chosen_on(count: int, side: int, net: Graph) -> None:
    images = flat(range(10, 10 + count), side)
    learned, chosen = of_plain(gather(net, images, FEW, 0))
    held = {int(image[0, 0, 0]) for image in hold_out(images)[1]}
    assert chosen == held
    assert learned and not learned & held
    assert learned | held == {int(image[0, 0, 0]) for image in images}


def test_hard_images_are_made_of_the_same_two_halves(net: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    made_of: list[set[int]] = []

    def listening(sources: Any, count: int, side: int, scale: int, generator: object) -> list[LabelledImage]:
        made_of.append(set().union(*(reds(image[..., 0]) for image in sources)))
        black = (np.zeros((n, n, 3), np.uint8) for n in (side, side * scale))
        return [LabelledImage(*black)] * count

    monkeypatch.setattr(material, "hard_images", listening)
    monkeypatch.setattr("edgesr.quant.learning.patches.hard_images", listening)
    gather(net, flat(range(10, 20)), FEW, 0)
    held = {14, 19}
    learned = set(range(10, 20)) - held
    assert made_of == [learned, learned, held]


def test_one_image_is_all(net: Graph) -> None:
    learned, chosen = of_plain(gather(net, flat(range(10, 11)), FEW, 0))
    assert learned == chosen == {10}


def judged(found: Material) -> list[torch.Tensor]:
    judge = found.judge
    assert isinstance(judge, Closeness | Faithfulness)
    return judge.inputs if isinstance(judge, Closeness) else [x for pair in judge.pairs for x in pair]


def same(a: Material, b: Material) -> bool:
    tensors = [(x.patches.inputs, x.patches.targets, x.patches.labels, *judged(x)) for x in (a, b)]
    arrays = [(*x.starting, *x.rounding) for x in (a, b)]
    return all(torch.equal(p, q) for p, q in zip(*tensors, strict=True)) and all(
        np.array_equal(p, q) for p, q in zip(*arrays, strict=True)
    )


def test_the_same_seed_gives_the_same_bytes(net: Graph, photographs: Images) -> None:
    first, again, other = (gather(net, photographs, FEW, seed) for seed in (0, 0, 1))
    assert same(first, again) and not same(first, other)


def shrinking(b: Any) -> Graph:
    graph: Graph = b.graph(b.conv("a", "input", 3, 4, stride=(2, 2)), b.conv("out", "a", 4, 3))
    return graph


def by_three_halves(b: Any) -> Graph:
    graph: Graph = b.graph(b.conv("a", "input", 3, 27, stride=(2, 2)), DepthToSpace(name="out", inputs=("a",), block=3))
    return graph


def in_multiples_of_four(b: Any) -> Graph:
    graph: Graph = b.graph(
        b.conv("a", "input", 3, 16, kernel=4, stride=(4, 4), padding=(0, 0)), b.conv("b", "a", 16, 192, kernel=1),
        DepthToSpace(name="out", inputs=("b",), block=8),
    )  # fmt: skip
    return graph


def in_multiples_of_three(b: Any) -> Graph:
    graph: Graph = b.graph(
        b.conv("a", "input", 3, 27, stride=(3, 3)), DepthToSpace(name="d", inputs=("a",), block=3),
        Add(name="s", inputs=("d", "input")), b.conv("out", "s", 3, 3),
    )  # fmt: skip
    return graph


NETWORKS = (shrinking, by_three_halves, in_multiples_of_four, in_multiples_of_three)


@pytest.mark.parametrize("make", NETWORKS)
@pytest.mark.parametrize("shape", [(1, 1), (3, 50), (41, 67), (150, 130)])
def test_every_network_gets_inputs_that_it_takes(
    make: Callable[[Any], Graph], shape: tuple[int, int], build: Any
) -> None:
    graph = make(build)
    images = [np.random.default_rng(i).integers(0, 256, (*shape, 3), dtype=np.uint8) for i in range(3)]
    found = gather(graph, images, FEW, 0)
    sides = [n for x in (*found.starting, *found.rounding) for n in x.shape[:2]]
    sides += [n for x in (found.patches.inputs, *judged(found)) for n in x.shape[2:]]
    assert min(sides) > 0 and not any(n % graph.size_multiple for n in sides)
    assert found.patches.labels.shape == found.patches.targets.shape
    assert len(found.patches) == FEW.count and found.starting


def test_a_scale_that_is_no_whole_number_has_no_labels(build: Any, photographs: Images) -> None:
    for make in (shrinking, by_three_halves):
        patches = gather(make(build), photographs, FEW, 0).patches
        assert torch.equal(patches.labels, (patches.targets.float() * 255).round().byte())


def test_large_photographs_are_seen_reduced(net: Graph) -> None:
    """Of four fifths of the images that a student starts on; the others are as they are."""
    found = gather(net, flat(range(10, 40), side=100), FEW, 0)
    assert sorted(x.shape[0] for x in found.starting) == [50] * 24 + [100] * 6


def test_it_is_bounded(net: Graph) -> None:
    found = gather(net, flat(range(256), side=70), FEW, 0)
    assert len(found.starting) == material.STARTING_IMAGES
    assert len(found.rounding) == material.ROUNDING_IMAGES + material.ROUNDING_HARD_IMAGES
    assert len(judged(found)) == material.CHOOSING_IMAGES * 4 // 3
    assert max(n for x in found.rounding for n in x.shape[:2]) <= material.ROUNDING_SIDE


def test_the_truth_is_learned_from_and_judged_by_where_the_network_undoes_the_reduction(
    net: Graph, photographs: Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = [np.tile(image, (2, 2, 1)) for image in photographs]
    for undoes in (False, True):
        monkeypatch.setattr(material, "undoes_reduction", lambda graph, pairs, undoes=undoes: undoes)
        found = gather(net, large, FEW, 0)
        answers = (found.patches.targets.float() * 255).round().byte()
        known = [not torch.equal(a, b) for a, b in zip(found.patches.labels, answers, strict=True)]
        assert sum(known) == (FEW.count - round(0.8 * FEW.count * FEW.plain_share) if undoes else 0)
        assert isinstance(found.judge, Faithfulness if undoes else Closeness)


def test_the_truth_of_images_smaller_than_a_patch_is_not_asked_for(net: Graph, photographs: Images) -> None:
    """40x48 photographs are inputs of 20x24 pixels: mostly border."""
    assert isinstance(gather(net, photographs, FEW, 0).judge, Closeness)
