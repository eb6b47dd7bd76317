"""A saved state comes back as it was, or not at all."""

from pathlib import Path

import pytest
import torch

from edgesr.quant.learning.saved import SavedFit

TENSORS = {"step": torch.tensor(3), "scalar": torch.tensor(0.1), "turned": torch.arange(6.0).reshape(2, 3).T}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    saved = SavedFit(tmp_path / "made", "0123")
    assert saved.read() is None
    saved.write(TENSORS)
    found = saved.read()
    assert found is not None and found.keys() == TENSORS.keys()
    assert all(torch.equal(found[name], value) and found[name].dtype == value.dtype for name, value in TENSORS.items())
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["fit-0123.safetensors"]


def test_writing_replaces_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = SavedFit(tmp_path, "0123")
    saved.write(TENSORS)

    def interrupted(self: Path, content: bytes) -> int:
        with self.open("wb") as file:
            file.write(content[:9])
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        saved.write({"step": torch.tensor(4)})
    found = saved.read()
    assert found is not None and int(found["step"]) == 3
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("content", [b"", b"\0", b"\xff" * 64, b"\x10\0\0\0\0\0\0\0{not json at all", b"PK\x03\x04zip"])
def test_what_is_no_state_is_none(content: bytes, tmp_path: Path) -> None:
    saved = SavedFit(tmp_path, "0123")
    saved.path.write_bytes(content)
    assert saved.read() is None


def test_a_folder_in_its_place_is_none(tmp_path: Path) -> None:
    saved = SavedFit(tmp_path, "0123")
    saved.path.mkdir()
    assert saved.read() is None
