from dataclasses import replace
from pathlib import Path

import pytest
import torch

from edgesr.architecture import SRModel
from edgesr.errors import CheckpointError
from edgesr.graph import Graph
from edgesr.model.captured import CAPTURED, in_graph_form
from edgesr.model.reference import load_reference, save_reference, serialize_reference
from edgesr.ops import Constant, Conv2d, DepthToSpace, Mul, TensorSpec


@pytest.fixture(name="graph")
def small_graph() -> Graph:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(12, 3, 3, 3, dtype=torch.float64, generator=generator)
    third = Constant(name="third", inputs=(), value=torch.tensor([1 / 3], dtype=torch.float64))
    ops = (
        third,
        Mul(name="m", inputs=("x", "third")),
        Conv2d(name="c", inputs=("m",), weight=weight, padding=(1, 1)),
        DepthToSpace(name="y", inputs=("c",), block=2),
    )
    return Graph("net", TensorSpec("x", 3), ops, "y")


@pytest.fixture(name="model")
def captured_model(graph: Graph) -> SRModel:
    config = {"in_channels": 3, "scale": 2}
    return in_graph_form(SRModel("net_x2", "mine", torch.nn.Identity(), config, 2, "w.pth", "0" * 64), graph)


def test_executes_the_graph_in_the_dtype_of_the_image(graph: Graph, model: SRModel) -> None:
    x = torch.rand(2, 3, 5, 7, dtype=torch.float64)
    assert torch.equal(model.module(x), graph.execute(x))
    assert model.module(x.float()).dtype == torch.float32
    rounded = model.module.to(torch.float16).to(torch.float64)(x)
    assert 0 < (rounded - graph.execute(x)).abs().max() < 1e-2


def test_the_reference_gives_back_every_bit(tmp_path: Path, graph: Graph, model: SRModel) -> None:
    save_reference(model, tmp_path / "r.safetensors")
    loaded = load_reference(tmp_path / "r.safetensors")
    assert replace(loaded, module=model.module) == model
    assert loaded.architecture == CAPTURED
    x = torch.rand(1, 3, 4, 4, dtype=torch.float64)
    assert torch.equal(loaded.module(x), graph.execute(x))
    assert serialize_reference(model) == serialize_reference(loaded)


def test_a_contradicting_or_foreign_file_is_refused(tmp_path: Path, model: SRModel) -> None:
    path = tmp_path / "r.safetensors"
    save_reference(replace(model, scale=3), path)
    with pytest.raises(CheckpointError, match="its metadata contradicts its graph; export again"):
        load_reference(path)
    content = serialize_reference(model).replace(b"DepthToSpace", b"DepthToTimes")
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged reference metadata"):
        load_reference(path)
    path.write_bytes(content[:-40])
    with pytest.raises(CheckpointError):
        load_reference(path)
