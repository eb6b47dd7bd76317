import hashlib
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from edgesr.errors import CheckpointError
from edgesr.model.checkpoint import Format, load_state_dict, recognise_format, sha256

WEIGHTS = {"a.weight": torch.arange(6.0).reshape(2, 3), "b.bias": torch.tensor([0.5, -1.0])}


class Touch:
    """Pickles to a call that would create the file `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.path}",)


def assert_same(state: dict[str, Tensor], expected: dict[str, Tensor] = WEIGHTS) -> None:
    assert list(state) == list(expected)
    for key, value in state.items():
        assert value.dtype == torch.float32 and value.is_contiguous() and not value.requires_grad
        assert torch.equal(value, expected[key].float())


def write_torch(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


def write_bytes(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_every_format_is_recognised_by_content(tmp_path: Path) -> None:
    """The suffix lies in every case."""
    torch.save(WEIGHTS, tmp_path / "zip.safetensors")
    torch.save(WEIGHTS, tmp_path / "legacy.txt", _use_new_zipfile_serialization=False)
    save_file(WEIGHTS, tmp_path / "tensors.pth")
    expected = {
        "zip.safetensors": Format.TORCH_ZIP,
        "legacy.txt": Format.TORCH_LEGACY,
        "tensors.pth": Format.SAFETENSORS,
    }
    for name, kind in expected.items():
        assert recognise_format(tmp_path / name) is kind
        assert_same(load_state_dict(tmp_path / name))


OTHER = {"a.weight": torch.zeros(1)}


WRAPPED: list[dict[Any, Any]] = [
    {"params_ema": WEIGHTS, "params": OTHER},
    {"params": WEIGHTS, "state_dict": OTHER},
    {"state_dict": WEIGHTS, "model": OTHER, "epoch": 3},
    {"model": WEIGHTS, "optimizer": {"lr": torch.ones(1)}},
    {"model": {"state_dict": {"params_ema": WEIGHTS}}},
    {"state_dict": {f"module.{key}": value for key, value in WEIGHTS.items()}},
    {f"_orig_mod.{key}": value for key, value in WEIGHTS.items()},
    {f"module._orig_mod.{key}": value for key, value in WEIGHTS.items()},
    {f"_orig_mod.module.{key}": value for key, value in WEIGHTS.items()},
    {**WEIGHTS, "epoch": 7, "name": "net", "history": [1.0], 5: torch.zeros(1)},
    {key: nn.Parameter(value) for key, value in WEIGHTS.items()},
]


@pytest.mark.parametrize("content", WRAPPED)
def test_wrappers_prefixes_and_extras_come_off(tmp_path: Path, content: dict[Any, Any]) -> None:
    assert_same(load_state_dict(write_torch(tmp_path / "x.pth", content)))


def test_a_prefix_that_only_some_keys_have_stays(tmp_path: Path) -> None:
    content = {"module.a": torch.ones(1), "b": torch.ones(1)}
    assert list(load_state_dict(write_torch(tmp_path / "x.pth", content))) == ["module.a", "b"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_float_tensors_become_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    content = {key: value.to(dtype) for key, value in WEIGHTS.items()}
    assert_same(load_state_dict(write_torch(tmp_path / "x.pth", content)), content)


def test_views_become_contiguous(tmp_path: Path) -> None:
    content = {"a": torch.arange(6.0).reshape(2, 3).T}
    assert_same(load_state_dict(write_torch(tmp_path / "x.pth", content)), content)


def test_a_batch_norm_counter_is_no_integer_weight(tmp_path: Path) -> None:
    state = load_state_dict(write_torch(tmp_path / "x.pth", nn.BatchNorm2d(2).state_dict()))
    assert state["num_batches_tracked"].dtype == torch.int64


def test_sha256_is_that_of_the_bytes(tmp_path: Path) -> None:
    path = write_bytes(tmp_path / "x", b"weights")
    assert sha256(path) == hashlib.sha256(b"weights").hexdigest()
    with pytest.raises(CheckpointError, match="cannot be read"):
        sha256(tmp_path / "missing")


def make_folder(tmp_path: Path) -> Path:
    (tmp_path / "folder.pth").mkdir()
    return tmp_path / "folder.pth"


def make_pipe(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "pipe.pth")
    return tmp_path / "pipe.pth"


def make_truncated(tmp_path: Path, name: str, size: int) -> Path:
    whole = tmp_path / f"whole_{name}"
    content = {"a": torch.ones(4000)}
    if name.endswith("safetensors"):
        save_file(content, whole)
    else:
        torch.save(content, whole, _use_new_zipfile_serialization="legacy" not in name)
    return write_bytes(tmp_path / name, whole.read_bytes()[:size])


def make_zip(tmp_path: Path) -> Path:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("document.xml", "<p/>")
    return tmp_path / "x.zip"


def make_damaged(tmp_path: Path) -> Path:
    """A PyTorch archive whose pickle is noise."""
    with zipfile.ZipFile(tmp_path / "x.pth", "w") as archive:
        archive.writestr("x/data.pkl", b"\xff\x00noise")
        archive.writestr("x/version", "3\n")
    return tmp_path / "x.pth"


def make_torchscript(tmp_path: Path) -> Path:
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        for name in ("data.pkl", "constants.pkl", "code/__torch__.py"):
            archive.writestr(f"x/{name}", b"")
    return tmp_path / "x.pt"


def make_pickle(tmp_path: Path, protocol: int) -> Path:
    return write_bytes(tmp_path / "x.pth", pickle.dumps({"a": Touch(tmp_path / "ran")}, protocol))


def make_circle(tmp_path: Path) -> Path:
    content: dict[str, Any] = {}
    content["model"] = content
    return write_torch(tmp_path / "x.pth", content)


REFUSALS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (lambda p: p / "missing.pth", "no such weights file; check the path"),
    "a folder": (make_folder, "is a folder; name the weights file in it"),
    "a pipe": (make_pipe, "not a regular file"),
    "path through a file": (lambda p: write_bytes(p / "f", b"x") / "x.pth", "no such weights file"),
    "empty": (lambda p: write_bytes(p / "x.pth", b""), "is empty; copy or download it again"),
    "a few bytes": (lambda p: write_bytes(p / "x.pth", b"PK\x03"), "truncated to 3 bytes"),
    "text": (lambda p: write_bytes(p / "x.pth", b"<!DOCTYPE html><html>"), "neither a PyTorch nor a safetensors"),
    "zip, cut": (lambda p: make_truncated(p, "x.pth", 9000), "truncated or damaged PyTorch file"),
    "zip, cut early": (lambda p: make_truncated(p, "x.pth", 40), "truncated or damaged PyTorch file"),
    "legacy, cut": (lambda p: make_truncated(p, "legacy.pth", 9000), "truncated or damaged PyTorch"),
    "legacy, cut early": (lambda p: make_truncated(p, "legacy.pth", 40), "truncated or damaged PyTorch"),
    "safetensors, cut": (lambda p: make_truncated(p, "x.safetensors", 9000), "truncated or damaged safetensors file"),
    "safetensors, cut early": (lambda p: make_truncated(p, "x.safetensors", 20), "truncated or damaged safetensors"),
    "another zip": (make_zip, "not a PyTorch checkpoint"),
    "noise in a zip": (make_damaged, "truncated or damaged PyTorch file"),
    "TorchScript": (make_torchscript, "a TorchScript program, not weights"),
    "code": (lambda p: write_torch(p / "x.pth", {"a": Touch(p / "ran")}), r"holds code \(posix.system\)"),
    "code, plain pickle": (lambda p: make_pickle(p, 4), "its code is never run"),
    "code, old pickle": (lambda p: make_pickle(p, 2), r"holds code \(posix.system\)"),
    "a whole module": (lambda p: write_torch(p / "x.pth", nn.Linear(1, 1)), r"holds code \(torch.nn.modules.linear"),
    "a list": (lambda p: write_torch(p / "x.pth", [torch.ones(1)]), "holds a list, not a state dict"),
    "a tensor": (lambda p: write_torch(p / "x.pth", torch.ones(1)), "holds a Tensor, not a state dict"),
    "an empty dict": (lambda p: write_torch(p / "x.pth", {}), r"no tensors in it \(it holds nothing\)"),
    "no tensors": (lambda p: write_torch(p / "x.pth", {"epoch": 1, "gen": WEIGHTS}), r"it holds epoch, gen\)"),
    "itself": (make_circle, r"no tensors in it \(it holds model\)"),
    "NaN": (
        lambda p: write_torch(p / "x.pth", WEIGHTS | {"c": torch.tensor([1.0, float("nan"), float("inf")])}),
        "c holds 2 NaN or infinite of 3 values",
    ),
    "float32 overflow": (
        lambda p: write_torch(p / "x.pth", {"c": torch.tensor([1e300], dtype=torch.float64)}),
        "c holds 1 NaN or infinite of 1 values",
    ),
    "integers": (lambda p: write_torch(p / "x.pth", {"c": torch.ones(2, dtype=torch.int8)}), "c holds int8 values"),
    "booleans": (lambda p: write_torch(p / "x.pth", {"c": torch.ones(2) > 0}), "c holds bool values"),
    "complex": (lambda p: write_torch(p / "x.pth", {"c": torch.ones(2) * 1j}), "c holds complex64 values"),
    "sparse": (lambda p: write_torch(p / "x.pth", {"c": torch.eye(2).to_sparse()}), "c is not a dense tensor"),
    "meta": (lambda p: write_torch(p / "x.pth", {"c": torch.ones(2, device="meta")}), "c is not a dense tensor"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_unusable_files_are_refused_in_one_line(tmp_path: Path, case: str) -> None:
    make, message = REFUSALS[case]
    path = make(tmp_path)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_state_dict(path)
    assert "\n" not in str(caught.value) and str(caught.value).startswith(f"{path}: ")
    assert not (tmp_path / "ran").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads files of any mode")
def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    path = write_torch(tmp_path / "x.pth", WEIGHTS)
    path.chmod(0)
    with pytest.raises(CheckpointError, match="Permission denied"):
        load_state_dict(path)
