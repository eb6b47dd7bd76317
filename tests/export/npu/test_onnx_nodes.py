from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from edgesr.errors import ArtifactError
from edgesr.export.npu.onnx_nodes import is_compiled, nodes_of, read_onnx, with_names


def model(*nodes: onnx.NodeProto, functions: tuple[onnx.FunctionProto, ...] = ()) -> onnx.ModelProto:
    edges = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("x", "y")]
    graph = helper.make_graph(list(nodes), "test", edges[:1], edges[1:])
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    return helper.make_model(graph, opset_imports=imports, functions=list(functions), ir_version=8)


def relu(source: str, output: str, name: str = "") -> onnx.NodeProto:
    return helper.make_node("Relu", [source], [output], name=name)


def test_every_node_gets_a_name_of_its_own() -> None:
    found = model(relu("x", "a", "r"), relu("a", "b", "r"), relu("b", "c"), relu("c", "d", "c"), relu("d", "y", "r"))
    named = with_names(found)
    names = [node.name for node in named.graph.node]
    assert names == ["r", "b", "c", "d", "y"] and len(set(names)) == len(names)
    assert [node.name for node in found.graph.node] == ["r", "r", "", "c", "r"], "the model itself is left alone"
    assert [node.first_output for node in nodes_of(named)] == ["a", "b", "c", "d", "y"]


def test_functions_are_inlined(tmp_path: Path) -> None:
    body = [relu("p", "q"), relu("q", "r")]
    function = helper.make_function("own", "Twice", ["p"], ["r"], body, [helper.make_opsetid("", 17)])
    path = tmp_path / "f.onnx"
    onnx.save(model(helper.make_node("Twice", ["x"], ["y"], domain="own"), functions=(function,)), path)
    assert [node.op_type for node in read_onnx(path).graph.node] == ["Relu", "Relu"]


def test_what_is_no_onnx_file(tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    for content in (b"", b"PK\x03\x04 not onnx", b"\xff" * 100):
        path.write_bytes(content)
        with pytest.raises(ArtifactError, match=r"x\.onnx is no whole ONNX file \(.*\); give one, or export again$"):
            read_onnx(path)
    with pytest.raises(ArtifactError, match="is no whole ONNX file"):
        read_onnx(tmp_path / "absent.onnx")


def test_wrappers_are_recognised() -> None:
    assert is_compiled(model(helper.make_node("EPContext", ["x"], ["y"], domain="com.microsoft")))
    assert not is_compiled(model(relu("x", "y")))
