"""Shared by every package's tests: one graph for each operator of the vocabulary, the simplest quantization, and one
small network exported once.

A test that asks for `operator_case` runs once for each of `OPERATOR_CASES`; one that asks for `integer_case`, once for
each of those that INT8 files can hold.
"""

import dataclasses
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edgesr.android_bench import workspace
from edgesr.android_bench.adb import Adb
from edgesr.android_bench.adb_device import AdbDevice
from edgesr.architecture import SRModel
from edgesr.graph import Graph
from edgesr.model.spanv2 import SPANV2
from edgesr.ops import (
    Activation,
    Add,
    Clip,
    Concat,
    Constant,
    Conv2d,
    Convolution,
    DepthToSpace,
    DepthwiseConv2d,
    HardSwish,
    LeakyRelu,
    MaxPool,
    Mul,
    Op,
    Relu,
    Relu6,
    ResizeNearest,
    ShuffleOrder,
    Sigmoid,
    Slice,
    Sub,
    Tanh,
    TensorSpec,
)
from edgesr.quantized import IMAGE_GRID, QuantizedGraph, QuantizedWeight, QuantParams

SHARED = Path(os.environ.get("EDGESR_SHARED", Path(__file__).parents[2] / "shared"))
CHANNELS = 4
ODD, EVEN = (7, 9), (8, 10)
SIGMOID_GRID = QuantParams(1 / 256, -128)
LONGEST_FIRST = (
    "device",
    "tests/quant/test_official_quality.py",
    "tests/runtime/cuda/test_offline_compile.py",
    "tests/runtime/cuda/test_interpreted_kernels.py",
    "tests/runtime/test_noise.py",
    "tests/cli/test_process.py",
)
"""What would keep one core busy at the end while the others wait."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What runs in one process where tests run side by side: a file's tests, and those of the one adb server."""
    groups = {}
    for item in items:
        group = "device" if item.get_closest_marker("device") else item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group(group))
        groups[item] = LONGEST_FIRST.index(group) if group in LONGEST_FIRST else len(LONGEST_FIRST)
    items.sort(key=groups.__getitem__)


def quantized_by_range(
    graph: Graph, images: Sequence[Tensor], image_edges: bool = False, fixed: Mapping[str, QuantParams] | None = None
) -> QuantizedGraph:
    """Ranges from the images' extremes, weights and biases rounded to nearest; operators that move values share a grid.

    `image_edges` puts input and output on the image's grid; `fixed` gives the grids of some tensors.
    """
    with torch.no_grad():
        traces = [graph.trace(image) for image in images]
    group = {name: name for name in graph.specs}
    for op in graph:
        if isinstance(op, (Concat, DepthToSpace, MaxPool, ResizeNearest, Slice)):
            tied = {group[x] for x in (op.name, *op.inputs)}
            group = {name: op.name if g in tied else g for name, g in group.items()}
    edges = {group[graph.input.name], group[graph.output]} if image_edges else set()
    grids = {}
    for g in set(group.values()):
        values = torch.cat([trace[x].flatten() for trace in traces for x in group if group[x] == g])
        grids[g] = IMAGE_GRID if g in edges else QuantParams.from_range(values.min().item(), values.max().item())
    activations = {name: grids[g] for name, g in group.items()} | dict(fixed or {})
    convolutions = [op for op in graph if isinstance(op, Convolution)]
    weights = {op.name: _rounded(op, activations[op.inputs[0]].scale) for op in convolutions}
    return QuantizedGraph(graph, activations, weights)


def _rounded(op: Convolution, input_scale: float) -> QuantizedWeight:
    scales = (op.weight.abs().flatten(1).amax(1) / 127).float().double()
    bias = torch.zeros(len(scales)) if op.bias is None else op.bias
    values = torch.round(op.weight / scales[:, None, None, None])
    return QuantizedWeight(values.to(torch.int8), scales, torch.round(bias / (scales * input_scale)).to(torch.int32))


@pytest.fixture(scope="session")
def quantize_by_range() -> Callable[..., QuantizedGraph]:
    return quantized_by_range


@pytest.fixture(scope="session")
def with_range() -> Callable[[QuantizedGraph, set[str], float], QuantizedGraph]:
    """`with_range(network, {"conv"}, 0.5)`: the same integers' worth of steps for half of the tensors' range."""

    def narrowed(network: QuantizedGraph, tensors: set[str], factor: float) -> QuantizedGraph:
        changed = {name: dataclasses.replace(network.activations[name], scale=network.activations[name].scale * factor)
                   for name in tensors}  # fmt: skip
        activations = {**network.activations, **changed}
        weights = {
            name: dataclasses.replace(
                w, bias=(w.bias / (activations[x].scale / network.activations[x].scale)).round().int()
            )
            for name, w in network.weights.items()
            for x in network.dequantized_op(name).inputs
        }
        return dataclasses.replace(network, activations=activations, weights=weights)

    return narrowed


@pytest.fixture(scope="session")
def gentle_model() -> SRModel:
    """SPANV2 with 8 channels, 2 blocks and scale 2 that answers images with images: it starts at nearest-neighbour.

    Features are as large as in a trained network, every weight is its own, and the gates have biases.
    """
    generator = torch.Generator().manual_seed(0)
    module = SPANV2(channels=8, blocks=2, scale=2)
    for name, weight in module.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(weight, mean=0.3, std=0.3, generator=generator)
        elif name.startswith("block"):
            nn.init.kaiming_normal_(weight, generator=generator)
        elif name == "pointwise_conv.weight":
            weight.data = torch.eye(12, 20)[..., None, None] + 0.04 * torch.randn(weight.shape, generator=generator)
        else:
            weight.data += 0.04 * torch.randn(weight.shape, generator=generator)
    return SRModel("gentle", "spanv2", module.eval().requires_grad_(False), {}, 2, "test", "")


@dataclass(frozen=True, eq=False)
class OperatorCase:
    """One operator, with what it needs around it, from `x` (N, 4, H, W) to `y`; `size` is an input size it takes."""

    name: str
    ops: tuple[Op, ...]
    size: tuple[int, int] = ODD
    multiple: int = 1
    fixed_size: bool = False
    grids: Mapping[str, QuantParams] = field(default_factory=dict)

    @cached_property
    def graph(self) -> Graph:
        return Graph(self.name, TensorSpec("x", CHANNELS), self.ops, "y")

    @cached_property
    def quantized(self) -> QuantizedGraph:
        """With ranges that cut some values off, so that saturation is seen too."""
        return quantized_by_range(self.graph, [0.9 * self.image()], fixed=self.grids)

    def quantize_with_image_edges(self) -> QuantizedGraph:
        """For values in [0, 1], as a file with an integer image wants it."""
        return quantized_by_range(self.graph, [self.image().clamp(0, 1)], image_edges=True)

    def image(self, size: tuple[int, int] | None = None, batch: int = 1) -> Tensor:
        """Values around zero, beyond 6 and -6 some of them."""
        generator = torch.Generator().manual_seed(7)
        return 2.5 * torch.randn(batch, CHANNELS, *(size or self.size), generator=generator, dtype=torch.float64)

    def integers(self, size: tuple[int, int] | None = None, batch: int = 1) -> tuple[Tensor, Tensor]:
        """Integer inputs, and what exact integer arithmetic makes of them operator by operator."""
        values = self.trace_integers(size, batch)
        return values["x"], values["y"]

    def trace_integers(self, size: tuple[int, int] | None = None, batch: int = 1) -> dict[str, Tensor]:
        """Every tensor of the quantized graph in exact integer arithmetic."""
        values = {"x": self.quantized.input.quantize(self.image(size, batch))}
        for op in self.ops:
            if isinstance(op, Constant):
                values[op.name] = self.quantized.activations[op.name].quantize(op.value.reshape(1, -1, 1, 1))
            else:
                values[op.name] = self.quantized.evaluate_integers(op, *(values[name] for name in op.inputs))
        return values

    def __str__(self) -> str:
        return self.name


RANDOM = torch.Generator().manual_seed(0)
SAME = (1, 1)


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=RANDOM, dtype=torch.float64)


def conv(outputs: int, kernel: int | tuple[int, int], bias: bool = True, **fields: Any) -> Conv2d:
    sides = (kernel, kernel) if isinstance(kernel, int) else kernel
    fields = {"name": "y", "inputs": ("x",)} | fields
    return Conv2d(weight=normal(outputs, CHANNELS, *sides) / 4, bias=normal(outputs) if bias else None, **fields)


def depthwise(multiplier: int, kernel: int, bias: bool = True, **fields: Any) -> DepthwiseConv2d:
    rows = CHANNELS * multiplier
    weight, offsets = normal(rows, 1, kernel, kernel) / 2, normal(rows) if bias else None
    return DepthwiseConv2d(name="y", inputs=("x",), weight=weight, bias=offsets, channels=CHANNELS, **fields)


def unary(kind: type[Op], **fields: Any) -> tuple[Op, ...]:
    return (kind(name="y", inputs=("x",), **fields),)


def on_halves(op: Op) -> tuple[Op, ...]:
    """An operator that reads `p`, the first two channels, and `q`, the last two."""
    return (Slice(name="p", inputs=("x",), start=0, stop=2), Slice(name="q", inputs=("x",), start=2, stop=4), op)


def on_one_channel(kind: type[Op]) -> tuple[Op, ...]:
    return (Slice(name="p", inputs=("x",), start=1, stop=2), kind(name="y", inputs=("x", "p")))


def on_constants(kind: type[Op], count: int, first: bool = False) -> tuple[Op, ...]:
    constant = Constant(name="c", inputs=(), value=normal(count))
    return (constant, kind(name="y", inputs=("c", "x") if first else ("x", "c")))


CONVOLUTIONS = (
    OperatorCase("conv", (conv(5, 3, padding=SAME),)),
    OperatorCase("conv-of-one-pixel", (conv(5, 3, padding=SAME),), size=(1, 1)),
    OperatorCase("conv-without-bias", (conv(5, 3, bias=False, padding=SAME),)),
    OperatorCase("conv-1x1", (conv(5, 1),)),
    OperatorCase("conv-5x3", (conv(5, (5, 3), padding=(2, 1)),)),
    OperatorCase("conv-unpadded", (conv(5, 3),)),
    OperatorCase("conv-unpadded-first", (conv(4, 3, name="m"), conv(5, 3, inputs=("m",), padding=(2, 2)))),
    OperatorCase("conv-padded-unevenly", (conv(5, 3, padding=(2, 1)),)),
    OperatorCase("conv-even-kernel", (conv(5, 2, padding=SAME),)),
    OperatorCase("conv-stride-2", (conv(5, 3, padding=SAME, stride=(2, 2)),), EVEN, multiple=2),
    OperatorCase("conv-2x2-stride-2", (conv(5, 2, stride=(2, 2)),), EVEN, multiple=2),
    OperatorCase("conv-4x4-stride-2", (conv(5, 4, padding=SAME, stride=(2, 2)),), EVEN, multiple=2),
    OperatorCase("conv-dilated", (conv(5, 3, padding=(2, 3), dilation=(2, 3)),)),
    OperatorCase("conv-relu", (conv(5, 3, padding=SAME, activation=Activation.RELU),)),
    OperatorCase("conv-relu6", (conv(5, 3, padding=SAME, activation=Activation.RELU6),)),
    OperatorCase("depthwise", (depthwise(1, 3, padding=SAME),)),
    OperatorCase("depthwise-without-bias", (depthwise(1, 3, bias=False, padding=SAME),)),
    OperatorCase("depthwise-multiplier-3", (depthwise(3, 5, padding=(2, 2), activation=Activation.RELU6),)),
    OperatorCase("depthwise-stride-2", (depthwise(1, 3, padding=SAME, stride=(2, 2)),), EVEN, multiple=2),
    OperatorCase("depthwise-dilated", (depthwise(2, 3, padding=(2, 2), dilation=(2, 2)),)),
)
OTHERS = (
    OperatorCase("concat", on_halves(Concat(name="y", inputs=("q", "x", "p")))),
    OperatorCase("relu", unary(Relu)),
    OperatorCase("relu6", unary(Relu6)),
    OperatorCase("leaky-relu", unary(LeakyRelu, slope=0.1)),
    OperatorCase("sigmoid", unary(Sigmoid), grids={"y": SIGMOID_GRID}),
    OperatorCase("tanh", unary(Tanh)),
    OperatorCase("hard-swish", unary(HardSwish)),
    OperatorCase("clip", unary(Clip, low=-0.5, high=0.7)),
    OperatorCase("clip-below", unary(Clip, low=-0.5, high=float("inf"))),
    OperatorCase("clip-above", unary(Clip, low=float("-inf"), high=0.5)),
    OperatorCase("depth-to-space", unary(DepthToSpace, block=2, order=ShuffleOrder.DCR)),
    OperatorCase("resize-nearest", unary(ResizeNearest, factor=3), fixed_size=True),
    OperatorCase("max-pool", unary(MaxPool, window=2), EVEN, multiple=2),
    OperatorCase("slice", unary(Slice, start=1, stop=3)),
)
BINARIES = tuple(
    OperatorCase(f"{kind.__name__.lower()}-{name}", ops)
    for kind in (Add, Sub, Mul)
    for name, ops in {
        **{a.value: on_halves(kind(name="y", inputs=("p", "q"), activation=a)) for a in Activation},
        "constants": on_constants(kind, CHANNELS),
        "constants-first": on_constants(kind, CHANNELS, first=True),
        "scalar": on_constants(kind, 1),
        "one-channel": on_one_channel(kind),
    }.items()
)
OPERATOR_CASES = CONVOLUTIONS + OTHERS + BINARIES


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    integer_cases = tuple(case for case in OPERATOR_CASES if not any(isinstance(op, Clip) for op in case.ops))
    for name, cases in (("operator_case", OPERATOR_CASES), ("integer_case", integer_cases)):
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, cases, ids=str)


@pytest.fixture(scope="session")
def operator_cases() -> Mapping[str, OperatorCase]:
    return {case.name: case for case in OPERATOR_CASES}


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Torch's threads wait for each other longer than small tensors take: hundreds of times on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def small_checkpoint(gentle_model: SRModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SPANV2 x2 with 8 channels and 2 blocks, as a user would have it."""
    path = tmp_path_factory.mktemp("weights") / "small.pth"
    torch.save(gentle_model.module.state_dict(), path)
    return path


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pieces of photographs, 40x48: enough pixels to calibrate on."""
    from edgesr.images import load_rgb, save_png
    from edgesr.quant.builtin import builtin_calibration_paths

    folder = tmp_path_factory.mktemp("photos")
    for path in builtin_calibration_paths()[:9:3]:
        save_png(folder / path.name, load_rgb(path)[20:60, 16:64])
    return folder


@pytest.fixture(scope="session")
def exported_once(small_checkpoint: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The `ExportResult` of the small network to every target; tests leave its folder as it is."""
    from edgesr.api import ExportRequest, export
    from edgesr.target import TARGETS

    out = tmp_path_factory.mktemp("exported")
    return export(ExportRequest(targets=TARGETS, out=out, weights=small_checkpoint, calibration=photos))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with the official checkpoint and the images."""
    official = SHARED / "checkpoints" / "spanv2_x4_official.pth"
    if not official.exists():
        pytest.skip(f"the official checkpoint is not at {official}; set EDGESR_SHARED")
    return SHARED


@pytest.fixture(scope="session")
def emulator() -> Any:
    """The class `EmulatedDevice`, for tests marked `device`; `make emulator-deps` installs what it needs.

    Without that a test skips, and fails where EDGESR_REQUIRE_EMULATOR is set: there it was meant to run.
    """
    from edgesr.android_bench.emulated.device import EmulatedDevice
    from edgesr.android_bench.emulated.requirements import INSTALL_LINE, missing

    if absent := missing():
        reason = f"the emulated device lacks {', '.join(absent)}; run {INSTALL_LINE}"
        (pytest.fail if os.environ.get("EDGESR_REQUIRE_EMULATOR") else pytest.skip)(reason)
    return EmulatedDevice


@pytest.fixture
def exported(exported_once: Any, tmp_path: Path) -> Path:
    """A folder of its own with every target of the small network, to do with as a test likes."""
    return Path(shutil.copytree(exported_once.manifest.folder, tmp_path / "exported"))


@pytest.fixture
def lr_and_hr(photos: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Folders of photographs and their 2x2 means, of two sizes: 12x20 once, then 16x20."""
    from edgesr.images import load_rgb, save_png

    for index, path in enumerate(sorted(photos.iterdir())):
        hr = load_rgb(path)[: 32 if index else 24, :40]
        lr = hr.reshape(hr.shape[0] // 2, 2, 20, 2, 3).mean(axis=(1, 3)).round().astype(hr.dtype)
        save_png(tmp_path / "measured" / "HR" / path.name, hr)
        save_png(tmp_path / "measured" / "LR" / f"{path.stem}x2.png", lr)
    return tmp_path / "measured" / "LR", tmp_path / "measured" / "HR"


@pytest.fixture(scope="session")
def foreign_tflite() -> bytes:
    """A float network that edgesr did not make: SiLU, LEAKY_RELU, RESIZE_BILINEAR x3, and a shuffle of rank 6."""
    return foreign_network("float32")


@pytest.fixture(scope="session")
def foreign_int8_tflite() -> bytes:
    """The same in 8-bit integers."""
    return foreign_network("int8")


def foreign_network(dtype: str) -> bytes:
    import numpy as np
    from ai_edge_litert import schema_py_generated as schema

    from edgesr.export.tflite_builder import ModelBuilder, Quantization

    code, options = schema.BuiltinOperator, schema.BuiltinOptions
    model = ModelBuilder("foreign")
    graph = model.subgraph("main")
    version = 2 if dtype == "int8" else 1

    def tensor(name: str, *shape: int) -> int:
        grid = Quantization((1 / 256,), (-128,)) if name == "logistic" else Quantization((1 / 64,), (0,))
        return graph.tensor(name, shape, dtype, grid if dtype == "int8" else None)

    image, logistic, silu = (tensor(name, 1, 8, 8, 12) for name in ("image", "logistic", "silu"))
    leaky, resized = tensor("leaky", 1, 8, 8, 12), tensor("resized", 1, 24, 24, 12)
    split, turned = tensor("split", 1, 24, 24, 3, 2, 2), tensor("turned", 1, 24, 2, 24, 2, 3)
    output = tensor("output", 1, 48, 48, 3)
    size = graph.constant("size", np.array([24, 24], np.int32))
    axes = graph.constant("axes", np.array([0, 1, 4, 2, 5, 3], np.int32))
    slope, half = schema.LeakyReluOptionsT(), schema.ResizeBilinearOptionsT()
    slope.alpha, half.halfPixelCenters = 0.1, True
    graph.operator(code.LOGISTIC, version, [image], [logistic])
    graph.operator(code.MUL, version, [image, logistic], [silu], schema.MulOptionsT(), options.MulOptions)
    graph.operator(code.LEAKY_RELU, version, [silu], [leaky], slope, options.LeakyReluOptions)
    graph.operator(code.RESIZE_BILINEAR, 3, [leaky, size], [resized], half, options.ResizeBilinearOptions)
    graph.operator(code.RESHAPE, 1, [resized], [split], schema.ReshapeOptionsT(), options.ReshapeOptions)
    graph.operator(
        code.TRANSPOSE, version, [split, axes], [turned], schema.TransposeOptionsT(), options.TransposeOptions
    )
    graph.operator(code.RESHAPE, 1, [turned], [output], schema.ReshapeOptionsT(), options.ReshapeOptions)
    graph.finish([image], [output])
    return model.serialize()


LOCAL_ADB = r"""#!/bin/sh
# Stands in for adb: shell lines run here, push and pull copy files. Its settings are the files beside it.
own="$0.d"
printf '%s\n' "$*" >> "$own/calls"
[ "$1" = -s ] && shift 2
command=$1; shift
if [ -f "$own/fail-$command" ]; then
  cat "$own/fail-$command" >&2
  exit "$(cat "$own/code-$command")"
fi
case $command in
  start-server) ;;
  devices) printf '* daemon started successfully\nList of devices attached\n'; cat "$own/devices"; echo ;;
  features | get-state) cat "$own/$command" ;;
  push | pull) cp "$1" "$2" ;;
  shell)
    if grep -q shell_v2 "$own/features"; then exec sh -c "$1"; fi
    sh -c "$1" 2>&1
    exit 0 ;;
esac
"""


class LocalAdb:
    """The stand-in and its settings."""

    def __init__(self, folder: Path) -> None:
        self.binary = folder / "adb"
        self.binary.write_text(LOCAL_ADB)
        self.binary.chmod(0o755)
        self._settings = folder / "adb.d"
        self._settings.mkdir()
        self.set(
            devices=["PHONE1   device usb:1-1 product:pa3q model:SM_S938B device:pa3q transport_id:1"],
            features=["shell_v2", "cmd", "stat_v2"],
            state="device",
        )

    def set(
        self, devices: list[str] | None = None, features: list[str] | None = None, state: str | None = None
    ) -> None:
        """Change settings."""
        changes = {"devices": devices, "features": features, "get-state": None if state is None else [state]}
        for name, lines in changes.items():
            if lines is not None:
                (self._settings / name).write_text("".join(f"{line}\n" for line in lines))

    def fail(self, command: str, stderr: str, code: int = 1) -> None:
        """Let a command fail from now on."""
        (self._settings / f"fail-{command}").write_text(f"{stderr}\n")
        (self._settings / f"code-{command}").write_text(str(code))

    def calls(self, command: str) -> list[str]:
        """The command lines so far that hold a command."""
        lines = (self._settings / "calls").read_text().splitlines()
        return [line for line in lines if command in line.split()[:3]]

    @property
    def adb(self) -> Adb:
        return Adb(self.binary)

    @property
    def device(self) -> AdbDevice:
        return AdbDevice(self.adb, "PHONE1")


@pytest.fixture
def local_adb(tmp_path: Path) -> LocalAdb:
    folder = tmp_path / "adb-folder"
    folder.mkdir()
    return LocalAdb(folder)


@pytest.fixture
def work_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The work folder of the stand-in's device: a folder of this machine."""
    folder = tmp_path / "device" / "edgesr"
    folder.parent.mkdir()
    monkeypatch.setattr(workspace, "WORK_FOLDER", str(folder))
    monkeypatch.setattr(workspace, "PID_FILE", str(folder / "pid"))
    monkeypatch.setattr(workspace, "LOCK", str(folder / "lock"))
    return folder


@pytest.fixture(autouse=True)
def _no_serial_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANDROID_SERIAL", raising=False)
