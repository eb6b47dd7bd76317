"""Threads are set within a block alone, whatever leaves it."""

from __future__ import annotations

import pytest
import torch

from edgesr.threads import torch_threads


def test_threads_are_those_asked_for_within_alone() -> None:
    before = torch.get_num_threads()
    with torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before


def test_an_error_does_not_keep_them() -> None:
    before = torch.get_num_threads()
    with pytest.raises(ValueError, match="out"), torch_threads(before + 1):
        raise ValueError("out")
    assert torch.get_num_threads() == before
