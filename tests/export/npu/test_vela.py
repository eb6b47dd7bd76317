"""Arm's compiler itself: what it takes, what it leaves, and the times that it estimates for SPANV2."""

import configparser
import dataclasses
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from edgesr.errors import ArtifactError, ExportError
from edgesr.ethos_u import ETHOS_U, MemoryMode, find_ethos_u
from edgesr.export.folds.depthwise_before_concat import DepthwiseBeforeConcat
from edgesr.export.folds.gate_form import GateForm
from edgesr.export.folds.host_shuffle import without_shuffle
from edgesr.export.npu.ethos_u import EthosCompiled, compile_ethos_u, place_on_ethos_u
from edgesr.export.npu.placement import Place
from edgesr.export.npu.tflite_listing import list_operators
from edgesr.export.npu.unfolded import emit_unfolded
from edgesr.export.pipeline import NATIVE_FOLDS, run_folds
from edgesr.export.tflite import emit_tflite
from edgesr.graph import Graph
from edgesr.ops import DepthwiseConv2d
from edgesr.quantized import QuantizedGraph
from edgesr.target import IODtype, Precision

pytestmark = [
    pytest.mark.emulator,
    pytest.mark.skipif(
        importlib.util.find_spec("ethosu") is None, reason='Vela is not installed: pip install "edgesr[ethos-u]"'
    ),
]
U85 = find_ethos_u("ethos-u85-1024")
LIMITS_MS = {(128, 128): 4.2, (270, 480): 40.0}
UNFOLDED_MS = {(128, 128): 86.7, (270, 480): 2601.0}
WHOLE_SRAM = 1 << 25


def compiled(
    network: QuantizedGraph, size: tuple[int, int], folder: Path, name: str = "ethos-u85-1024"
) -> EthosCompiled:
    content = emit_tflite(without_shuffle(network), Precision.INT8, IODtype.INT8, [size], {})
    return compile_ethos_u(content, find_ethos_u(name), folder)


def test_the_table_says_what_velas_own_file_says() -> None:
    spec = importlib.util.find_spec("ethosu")
    assert spec is not None and spec.submodule_search_locations is not None
    path = Path(next(iter(spec.submodule_search_locations))) / "config_files" / "Arm" / "vela.ini"
    text, config = path.read_text(), configparser.ConfigParser()
    config.read(path)
    for accelerator in ETHOS_U:
        section = config[f"System_Config.{accelerator.system.name}"]
        assert float(section["core_clock"]) == accelerator.system.clock_mhz * 1e6
        comment = text[: text.index(f"[{section.name}]")].rstrip().splitlines()[-1]
        assert comment.endswith(accelerator.system.memories)
        assert f"Memory_Mode.{accelerator.memory_mode.value}" in config


@pytest.mark.parametrize("name", [accelerator.name for accelerator in ETHOS_U])
def test_every_accelerator_takes_the_whole_network(name: str, small_network: QuantizedGraph, tmp_path: Path) -> None:
    result = compiled(small_network, (32, 48), tmp_path, name).require_whole()
    assert result.placement.is_whole and result.placement.partitions == 1
    assert len(result.placement.operators) == len(small_network.graph.ops) - 1
    assert result.estimate.cycles > 0 and 0 < result.estimate.peak_sram_bytes <= result.estimate.arena_bytes
    assert [op.kind for op in list_operators(result.content, "compiled")] == ["ethos-u"]
    assert result.estimate.macs == pytest.approx(small_network.graph.macs(32, 48), rel=0.1)


@pytest.mark.parametrize("size", LIMITS_MS)
def test_official_spanv2_within_its_time(
    size: tuple[int, int], official_network: QuantizedGraph, tmp_path: Path
) -> None:
    result = compiled(official_network, size, tmp_path).require_whole()
    folded = result.estimate
    print(f"{size}: {folded.milliseconds:.2f} ms, an {folded.label}")
    assert folded.milliseconds <= LIMITS_MS[size] and folded.arena_bytes == 2 << 20
    unfolded = compile_ethos_u(emit_unfolded(official_network, size), U85, tmp_path).require_whole().estimate
    print(f"{size} unfolded: {unfolded.milliseconds:.2f} ms, an {unfolded.label}")
    assert unfolded.milliseconds > 100 * folded.milliseconds


@pytest.mark.parametrize("size", LIMITS_MS)
def test_a_join_taken_apart_saves_more_than_the_gate_from_f2_costs(
    size: tuple[int, int], official_spanv2: Graph, official_network: QuantizedGraph,
    quantize_by_range: Callable[..., QuantizedGraph], tmp_path: Path,
) -> None:  # fmt: skip
    gate = GateForm(past=frozenset({"block_5.c3.conv"}))
    graph, _ = run_folds(official_spanv2, (*NATIVE_FOLDS, DepthwiseBeforeConcat(), gate))
    assert graph.macs_per_input_pixel() > official_network.graph.macs_per_input_pixel()
    network = quantize_by_range(graph, [torch.rand(1, 3, 32, 32, dtype=torch.float64)], True)
    apart = compiled(network, size, tmp_path).require_whole().estimate
    joined = compiled(official_network, size, tmp_path).require_whole().estimate
    print(f"{size}: {apart.milliseconds:.2f} ms apart, {joined.milliseconds:.2f} ms joined, {apart.label}")
    assert apart.milliseconds < joined.milliseconds


@pytest.mark.parametrize("size", UNFOLDED_MS)
def test_the_unfolded_network_with_all_its_memory_on_chip(
    size: tuple[int, int], official_network: QuantizedGraph, tmp_path: Path
) -> None:
    """The figures once measured for it left it as much SRAM as it wanted, 26 MiB at 270x480."""
    shared = dataclasses.replace(U85, memory_mode=MemoryMode.SHARED_SRAM)
    content = emit_unfolded(official_network, size)
    estimate = compile_ethos_u(content, shared, tmp_path, arena_cache_bytes=WHOLE_SRAM).estimate
    assert estimate.milliseconds == pytest.approx(UNFOLDED_MS[size], rel=0.005)
    assert estimate.peak_sram_bytes > 2 << 20


def test_depth_to_space_stays_on_the_cpu(native_file: bytes, tmp_path: Path) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(native_file)
    placement = place_on_ethos_u(path, U85, tmp_path)
    (left,) = [op for op in placement.operators if op.place is Place.CPU]
    assert (left.kind, left.reason) == ("DEPTH_TO_SPACE", "Unsupported opType")
    assert placement.partitions == 1
    result = compile_ethos_u(native_file, U85, tmp_path)
    assert result.estimate.left_out == 1 and "1 on the CPU left out" in result.estimate.label
    with pytest.raises(ExportError, match=r"DEPTH_TO_SPACE 'pixel_shuffle' would run on the CPU.*shuffle on the host"):
        result.require_whole()


def test_a_float_file_has_nothing_on_the_npu(small_spanv2_file: bytes, tmp_path: Path) -> None:
    path = tmp_path / "float.tflite"
    path.write_bytes(small_spanv2_file)
    placement = place_on_ethos_u(path, U85, tmp_path)
    assert placement.partitions == 0 and placement.count(Place.NPU) == 0
    conv = placement.operators[0]
    assert "unsupported DataType Float32" in conv.reason and conv.remedy == "quantize the network: --target tflite-int8"


@pytest.fixture
def small_spanv2_file(small_network: QuantizedGraph) -> bytes:
    return emit_tflite(small_network.dequantized, Precision.FP32, IODtype.FLOAT32, [(32, 32)], {})


def test_the_depthwise_conv_near_that_vela_does_not_survive(official_network: QuantizedGraph, tmp_path: Path) -> None:
    """As converters leave it: 3 channels, multiplier 16; 48 dense rows have but one channel that is not zero."""
    network = without_shuffle(official_network)
    dense = network.graph.producer("conv_near")
    assert dense is not None
    rows = network.weights["conv_near"]
    values = rows.values.amax(1, keepdim=True) + rows.values.amin(1, keepdim=True)
    weight: Any = official_network.dequantized_op("conv_near")
    depthwise = DepthwiseConv2d(
        name="conv_near", inputs=dense.inputs, weight=weight.weight[:, :1], channels=3, padding=(1, 1)
    )
    ops = tuple(depthwise if op.name == "conv_near" else op for op in network.graph)
    graph: Graph = dataclasses.replace(network.graph, ops=ops)
    weights = {**network.weights, "conv_near": dataclasses.replace(rows, values=values)}
    broken = dataclasses.replace(network, graph=graph, weights=weights)
    content = emit_tflite(broken, Precision.INT8, IODtype.INT8, [(128, 128)], {})
    with pytest.raises(ExportError, match=r"DEPTHWISE_CONV_2D \('conv_near'.*densify-grouped-conv does"):
        compile_ethos_u(content, U85, tmp_path)
    path = tmp_path / "net.tflite"
    path.write_bytes(content)
    left = {op.name for op in place_on_ethos_u(path, U85, tmp_path).operators if op.place is Place.CPU}
    assert "conv_near" in left and "block_1.c1.conv" not in left


def test_too_large_for_an_npu_without_dram(small_network: QuantizedGraph, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"KiB of SRAM on ethos-u55-128, the arena has 2048 KiB \(most at"):
        compiled(small_network, (512, 512), tmp_path, "ethos-u55-128")


def test_a_compiled_file_is_not_compiled_again(small_network: QuantizedGraph, tmp_path: Path) -> None:
    content = compiled(small_network, (32, 32), tmp_path).content
    with pytest.raises(ArtifactError, match="already compiled for an Ethos-U; give the file that it was compiled from"):
        compile_ethos_u(content, U85, tmp_path)


def test_a_file_whose_weights_are_cut_off(bare_file: bytes, tmp_path: Path) -> None:
    """Its operators can still be listed; Vela itself dies on it."""
    path = tmp_path / "cut.tflite"
    for keep in (0.99, 0.9, 0.8):
        path.write_bytes(bare_file[: int(keep * len(bare_file))])
        with pytest.raises((ArtifactError, ExportError), match=r"cut\.tflite"):
            place_on_ethos_u(path, U85, tmp_path)


def test_several_sizes_are_placed_one_by_one(
    small_network: QuantizedGraph, emit: Callable[..., bytes], tmp_path: Path
) -> None:
    path = tmp_path / "two.tflite"
    path.write_bytes(emit(without_shuffle(small_network), (16, 16), (32, 24)))
    placement = place_on_ethos_u(path, U85, tmp_path)
    assert placement.is_whole and placement.partitions == 2
    assert len(placement.operators) == 2 * (len(small_network.graph.ops) - 1)
