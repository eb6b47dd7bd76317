"""Every architecture of the registry to every target of `TARGETS`: proven, and of native operators alone.

Narrow networks on seeded random weights under the released key names, at a size that is no square and, for
LiteDenoiseNet, no multiple. `export` itself refuses a file that fails the gates of its precision; what is left to see
here is that it was checked, and what operators the file holds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from edgesr.api import ExportRequest, ExportResult, export
from edgesr.api.audited_files import READERS
from edgesr.artifact import Artifact
from edgesr.export.npu.file_operator import FileOperator
from edgesr.model.registry import ARCHITECTURES, find_architecture
from edgesr.target import Layout, Target, find_target

TARGETS = ("tflite-fp32", "onnx-fp32", "tflite-int8", "onnx-int8")
"""The matrix's other axis."""
SIZE = (24, 20)


@dataclass(frozen=True)
class Case:
    """A narrow network, and the kinds of operators that its equations need besides convolutions, ADD and MUL."""

    architecture: str
    config: dict[str, int]
    kinds: frozenset[str]


def case(architecture: str, kinds: str, **config: int) -> Case:
    return Case(architecture, {"in_channels": 3, "scale": 2, **config}, frozenset(kinds.split()))


GATE = "LOGISTIC SUB"
TAIL = "CONCATENATION DEPTH_TO_SPACE"
CASES = [
    case("spanv2", f"DEPTHWISE_CONV_2D RELU {TAIL}", channels=4, blocks=2),
    case("span", f"{GATE} {TAIL}", channels=6, blocks=2),
    case("pkdsr", f"{GATE} {TAIL}", channels=6, blocks=2, tail=5, scale=3),
    case("pds", f"{GATE} {TAIL}", channels=4, blocks=2, tail=7),
    case("disp", "LOGISTIC DEPTH_TO_SPACE", channels=6, blocks=2, extra=1, scale=3),
    case("dscf", f"{GATE} {TAIL}", channels=5, blocks=3),
    case("errn2", f"{GATE} LEAKY_RELU DEPTH_TO_SPACE", channels=5, blocks=2),
    case("rfdn_span", f"{GATE} LEAKY_RELU {TAIL}", channels=6, blocks=2, distilled=3),
    case(
        "lite_denoise", "RELU PAD RESIZE_NEAREST_NEIGHBOR CONCATENATION MINIMUM MAXIMUM RELU_0_TO_1", width=2, scale=1
    ),
]
COMMON = {"CONV_2D", "ADD", "MUL"}


def save_random_weights(its: Case, path: Path) -> Path:
    """Weights that keep the size of what they read, more or less."""
    generator = torch.Generator().manual_seed(0)
    state = {
        key: torch.randn(value.shape, generator=generator) / (8 if value.ndim == 1 else 1.4 * value[0].numel() ** 0.5)
        for key, value in find_architecture(its.architecture).build(its.config).state_dict().items()
    }
    torch.save(state, path)
    return path


def targets() -> tuple[Target, ...]:
    return tuple(target for name in TARGETS if (target := find_target(name)) is not None)


def foreign_kinds(operators: Sequence[FileOperator], its: Case) -> set[str]:
    """What a file holds besides what its network needs; TRANSPOSE, RESHAPE, SPLIT and custom operators among it."""
    return {op.kind for op in operators if op.is_custom or op.table_kind not in COMMON | its.kinds}


def between_the_edges(artifact: Artifact, folder: Path) -> list[FileOperator]:
    """The file's operators; an ONNX file whose image is NHWC has one Transpose at each end, which are left out."""
    path = folder / artifact.file
    operators = list(READERS[path.suffix](path).operators)
    if path.suffix == ".onnx" and artifact.contract.layout is Layout.NHWC:
        assert [op.kind for op in (operators[0], operators[-1])] == ["Transpose", "Transpose"]
        return operators[1:-1]
    return operators


@pytest.fixture(scope="module", params=CASES, ids=lambda its: its.architecture)
def exported(
    request: pytest.FixtureRequest, photos: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Case, ExportResult]]:
    its: Case = request.param
    folder = tmp_path_factory.mktemp(its.architecture)
    weights = save_random_weights(its, folder / "weights.pth")
    wanted = ExportRequest(targets(), folder / "out", weights=weights, sizes=(SIZE,), calibration=photos)
    yield its, export(wanted)


@pytest.mark.parametrize("target", TARGETS)
def test_exports_proven_and_of_native_operators(exported: tuple[Case, ExportResult], target: str) -> None:
    its, result = exported
    artifact = next(artifact for artifact in result.artifacts if artifact.target == target)
    multiple = find_architecture(its.architecture).size_multiple
    assert artifact.file.startswith(f"{its.architecture}_x{its.config['scale']}-")
    assert artifact.contract.sizes == (SIZE if multiple == 1 else (32, 32),)
    report = result.parity[artifact.file]
    assert not report.failures and report.operators
    assert artifact.find_target().runners[0] in {row.runner for row in report.rows}
    operators = between_the_edges(artifact, result.manifest.folder)
    assert foreign_kinds(operators, its) == set()
    kinds = [op.table_kind for op in operators]
    if its.config["scale"] > 1:
        assert kinds.index("DEPTH_TO_SPACE") == len(kinds) - 1, "one shuffle, at the end"
    assert kinds.count("CONV_2D") > its.config.get("blocks", 4)


def test_every_architecture_is_here() -> None:
    assert [its.architecture for its in CASES] == [architecture.name for architecture in ARCHITECTURES]
    assert len(targets()) == len(TARGETS)


def test_what_is_not_native_is_seen(foreign_tflite: bytes, tmp_path: Path) -> None:
    path = tmp_path / "foreign.tflite"
    path.write_bytes(foreign_tflite)
    errn2 = next(its for its in CASES if its.architecture == "errn2")
    assert foreign_kinds(READERS[".tflite"](path).operators, errn2) == {"RESIZE_BILINEAR", "RESHAPE", "TRANSPOSE"}
