"""Patches: what they hold, what the truth of each is, and the same seed the same bytes."""

from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch

from edgesr.graph import Graph
from edgesr.ops import DepthToSpace
from edgesr.quant.learning.patches import Mixture, Patches, make_patches, mirrored_to
from edgesr.quant.photographs import LabelledImage, labelled

Images = tuple[np.ndarray, ...]
SIDE = 12


def made(graph: Graph, images: Images, mixture: Mixture, seed: int = 0, side: int = SIDE) -> Patches:
    return make_patches(graph, labelled(images, 2), images, mixture, np.random.default_rng(seed), side)


def taught(graph: Graph, patches: Patches) -> torch.Tensor:
    return graph.execute(patches.inputs.float() / 255).clamp(0, 1)


def test_shapes_and_types(net: Graph, photographs: Images) -> None:
    patches = made(net, photographs, Mixture(50))
    assert len(patches) == 50
    for tensor, side, dtype in (
        (patches.inputs, SIDE, torch.uint8),
        (patches.targets, 2 * SIDE, torch.float16),
        (patches.labels, 2 * SIDE, torch.uint8),
    ):
        assert (tensor.shape, tensor.dtype) == ((50, 3, side, side), dtype)


def test_targets_are_what_the_float_network_makes_of_the_inputs(net: Graph, photographs: Images) -> None:
    patches = made(net, photographs, Mixture(40))
    # float16 in 0..1: half of 2^-11
    assert (patches.targets.float() - taught(net, patches)).abs().max() <= 2**-12 + 1e-5


@pytest.mark.parametrize(
    ("mixture", "pairs"),
    [
        (Mixture(50), 42),  # all but a fifth of the 40 that are not hard
        (Mixture(50, 0, 0), 50),
        (Mixture(50, 1, 0), 50),
        (Mixture(50, 0, 1), 0),
        (Mixture(50, 0.5, 0.5), 38),
        (Mixture(1), 1),
    ],
)
def test_the_mixture_says_how_many_have_a_truth(mixture: Mixture, pairs: int, net: Graph, photographs: Images) -> None:
    """The others' label is what the float network answers."""
    patches = made(net, photographs, mixture)
    answers = (patches.targets.float() * 255).round().byte()
    own = [not torch.equal(label, answer) for label, answer in zip(patches.labels, answers, strict=True)]
    assert own == [False] * (mixture.count - pairs) + [True] * pairs


def test_the_truth_lies_on_its_input(net: Graph) -> None:
    """A pair whose truth is its input enlarged: patch by patch too, however they are turned."""
    lr = np.random.default_rng(1).integers(0, 256, (20, 31, 3), dtype=np.uint8)
    pair = LabelledImage(lr, lr.repeat(2, 0).repeat(2, 1))
    mixture = Mixture(40, 0, 0)
    patches = make_patches(net, [pair], [lr], mixture, np.random.default_rng(0), SIDE)
    enlarged = patches.inputs.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert torch.equal(patches.labels, enlarged)
    assert len({patch.numpy().tobytes() for patch in patches.inputs}) > 35, "places and turns must vary"


def test_patches_come_turned_and_mirrored(net: Graph) -> None:
    """An image of one patch: all eight symmetries of it, and nothing else."""
    image = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    found = make_patches(net, [], [image], Mixture(80, 0), np.random.default_rng(0), SIDE).inputs
    turned = [np.rot90(image, k) for k in range(4)]
    symmetries = {t.transpose(2, 0, 1).tobytes() for plain in turned for t in (plain, plain[:, ::-1])}
    assert {patch.numpy().tobytes() for patch in found} == symmetries


def test_the_same_seed_gives_the_same_bytes(net: Graph, photographs: Images) -> None:
    first, again, other = (made(net, photographs, Mixture(30), seed) for seed in (3, 3, 4))
    for name in ("inputs", "targets", "labels"):
        assert torch.equal(getattr(first, name), getattr(again, name))
    assert not torch.equal(first.inputs, other.inputs)


def test_pairs_smaller_than_a_patch_are_left_out(net: Graph, photographs: Images) -> None:
    """A 40x48 photograph is an input of 20x24: enough for a patch of 20, not of 21."""
    for side, labels in ((20, True), (21, False)):
        patches = made(net, photographs, Mixture(8, 0, 0), side=side)
        answers = (patches.targets.float() * 255).round().byte()
        assert torch.equal(patches.labels, answers) != labels


@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (5, 3), (SIDE - 1, SIDE - 1)])
def test_images_smaller_than_a_patch_are_continued_by_their_mirror_image(shape: tuple[int, int], net: Graph) -> None:
    image = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    patches = made(net, (image,), Mixture(9))
    assert patches.inputs.shape == (9, 3, SIDE, SIDE)
    plain = {tuple(colour) for colour in patches.inputs[:7].permute(0, 2, 3, 1).reshape(-1, 3).tolist()}
    assert plain <= {tuple(colour) for colour in image.reshape(-1, 3).tolist()}


def test_mirroring_leaves_large_images_alone(photographs: Images) -> None:
    assert np.array_equal(mirrored_to(photographs[0], 40), photographs[0])
    assert mirrored_to(np.arange(6, dtype=np.uint8).reshape(2, 1, 3), 3)[:, :, 0].tolist() == [
        [0] * 3,
        [3] * 3,
        [3] * 3,
    ]


def test_the_images_stay_as_they_are(net: Graph, photographs: Images) -> None:
    before = [image.copy() for image in photographs]
    made(net, photographs, Mixture(20))
    assert all(np.array_equal(a, b) for a, b in zip(before, photographs, strict=True))


@pytest.mark.parametrize(("count", "size", "expected"), [(16, 4, 4), (18, 4, 4), (3, 8, 3), (1, 8, 1)])
def test_each_patch_comes_once_before_any_comes_again(count: int, size: int, expected: int, patches: Patches) -> None:
    few = replace(patches, inputs=torch.zeros(count, 3, 4, 4))
    rounds = count // expected
    batches = list(islice(few.batches(size, torch.Generator().manual_seed(0)), 3 * rounds))
    assert {len(batch) for batch in batches} == {expected}
    for start in range(0, 3 * rounds, rounds):
        seen = torch.cat(batches[start : start + rounds]).tolist()
        assert len(set(seen)) == len(seen) and set(seen) <= set(range(count))


def test_the_order_of_batches_is_that_of_the_seed(patches: Patches) -> None:
    orders = [torch.cat(list(islice(patches.batches(4, torch.Generator().manual_seed(s)), 8))) for s in (0, 0, 1)]
    assert torch.equal(orders[0], orders[1]) and not torch.equal(orders[0], orders[2])
    assert not torch.equal(orders[0][:16], orders[0][16:]), "each round has its own order"


@pytest.mark.parametrize(
    "fields", [{"count": 0}, {"hard_share": 1.5}, {"plain_share": -0.1}, {"hard_share": float("nan")}]
)
def test_mixtures_of_nothing_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"count must be positive, and shares lie in 0\.\.1"):
        Mixture(**fields)


def test_more_patches_than_the_teacher_takes_at_once(build: Any, photographs: Images) -> None:
    graph = build.graph(build.conv("a", "input", 3, 12), DepthToSpace(name="out", inputs=("a",), block=2))
    patches = made(graph, photographs, Mixture(70))
    assert (patches.targets.float() - taught(graph, patches)).abs().max() <= 2**-12 + 1e-5
