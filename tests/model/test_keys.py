import pytest
import torch

from edgesr.errors import CheckpointError
from edgesr.model.keys import first_few, require_shapes


@pytest.mark.parametrize(
    ("count", "text"), [(0, ""), (1, "k0"), (4, "k0, k1, k2, k3"), (5, "k0, k1, k2, k3 and 1 more")]
)
def test_first_few_shortens_and_counts(count: int, text: str) -> None:
    assert first_few(f"k{i}" for i in range(count)) == text


def test_matching_shapes_pass_in_any_order() -> None:
    require_shapes("net", {"b": torch.ones(2), "a": torch.ones(1, 3)}, {"a": (1, 3), "b": (2,)})


def test_every_kind_of_mismatch_is_in_the_message() -> None:
    with pytest.raises(CheckpointError) as caught:
        require_shapes("net", {"b": torch.ones(2), "c": torch.ones(1)}, {"a": (1, 3), "b": (3,)})
    assert str(caught.value) == (
        "not a net checkpoint: keys 1 missing (a), 1 unexpected (c), 1 misshapen (b (2,) instead of (3,)); "
        "use weights saved from this architecture"
    )
