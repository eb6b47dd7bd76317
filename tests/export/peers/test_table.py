import tomllib
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement

from edgesr.architecture import SRModel
from edgesr.errors import MissingBackendError
from edgesr.export.peers.onnxruntime import OnnxRuntime
from edgesr.export.peers.peer import float_batch, float_contract, install_line, tool_of
from edgesr.export.peers.table import PEERS, find_peer, near_peers
from edgesr.runtime.runners import FILE_RUNNERS
from edgesr.target import Layout

PROJECT = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]


def test_peers_are_found_by_their_own_names() -> None:
    assert [peer.name for peer in PEERS] == ["litert-torch", "onnxruntime", "aimet"]
    assert all(find_peer(peer.name) is peer for peer in PEERS)
    assert find_peer("tensorrt") is None


@pytest.mark.parametrize(
    ("name", "near"), [("onnx", "onnxruntime"), ("litert", "litert-torch"), ("aimet-onnx", "aimet")]
)
def test_near_names_are_offered(name: str, near: str) -> None:
    assert near_peers(name)[0] == near


def test_a_name_like_no_other_has_none_near() -> None:
    assert near_peers("qqq") == []


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_extras_bring_what_a_peer_needs(peer: OnnxRuntime) -> None:
    lines = PROJECT["optional-dependencies"][peer.extra] if peer.extra else PROJECT["dependencies"]
    assert set(peer.distributions) <= {Requirement(line).name for line in lines}
    assert peer.runner in FILE_RUNNERS and peer.settings


def test_tools_are_named_with_their_versions() -> None:
    name, version = tool_of(OnnxRuntime()).split()
    assert name == "onnxruntime" and version[0].isdigit()


def test_a_missing_one_comes_with_the_line_that_installs_it() -> None:
    peer = OnnxRuntime()
    peer.distributions, peer.extra = ("onnxruntime", "no-such-distribution"), "gone"
    with pytest.raises(
        MissingBackendError, match=r'^no-such-distribution is not installed; run pip install "edgesr\[g'
    ):
        tool_of(peer)
    peer.extra = None
    assert install_line(peer) == "pip install edgesr"


def test_images_become_floats_of_the_networks_range(gentle_model: SRModel) -> None:
    image = np.array([[[0, 51, 255]] * 2] * 4, np.uint8)
    nhwc, nchw = float_batch(image, gentle_model, Layout.NHWC), float_batch(image, gentle_model, Layout.NCHW)
    assert nhwc.shape == (1, 4, 2, 3) and nchw.shape == (1, 3, 4, 2) and nchw.flags.c_contiguous
    assert nhwc[0, 0, 0] == pytest.approx([0, 0.2, 1]) and nchw[0, :, 0, 0] == pytest.approx([0, 0.2, 1])


def test_contracts_hold_one_size_or_any(gentle_model: SRModel) -> None:
    one, free = (float_contract(gentle_model, Layout.NHWC, size) for size in ((4, 6), None))
    assert one.accepts(4, 6) is None and one.accepts(6, 4) is not None
    assert free.accepts(6, 4) is None and free.upscale == 2
