"""Ten networks as research code writes them, each with one difficulty: exported and proven, or refused in one line."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter
from torch import Tensor, nn

from edgesr.api import ExportRequest, ExportResult, export, verify_parity
from edgesr.errors import ExportError, NetworkError, UnsupportedOpError
from edgesr.model.reference import load_reference
from edgesr.model.user_network import MODULE_NAME
from edgesr.target import find_target

SIZE = (12, 16)
PREAMBLE = "import torch\nimport torch.nn.functional as F\nfrom torch import nn\n\n"

IN_PLACE = """
class Net(nn.Module):
    def __init__(self, width, upscale=2):
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.45, 0.44, 0.40]).view(1, 3, 1, 1))
        self.head = nn.Conv2d(3, width, 3, 1, 1)
        self.body = nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(width, width, (3, 1), padding=(1, 0)))
        self.tail = nn.Conv2d(width, 3 * upscale ** 2, 3, padding=2, dilation=2)
        self.up = nn.PixelShuffle(upscale)

    def forward(self, x):
        x -= self.mean
        f = self.head(x).mul_(0.5)
        f.add_(self.body(f.clone()), alpha=0.2).sub_(0.01)
        return self.up(self.tail(f)).add_(self.mean)
"""

BATCH_NORM = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Conv2d(3, 3, 3, 1, 1, bias=False), nn.BatchNorm2d(3), nn.PReLU(3)) for _ in range(2)
        )

    def forward(self, x):
        y = x
        for layer in self.layers:
            y = layer(y)
        return x + y
"""

FUNCTIONAL = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.randn(12, 3, 3, 3) / 5)
        self.scales = [0.25, 1 / 3]

    def forward(self, x):
        a, b, c = torch.chunk(F.conv2d(x, self.w * self.scales[1], padding=1), 3, dim=1)
        y = F.silu(a) * torch.sigmoid(b) - F.leaky_relu(c, 0.1) ** 2
        return torch.clamp(F.interpolate(y[:, :3] * self.scales[0], scale_factor=3, mode="nearest"), 0, 1)
"""

POOLING = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.down = nn.AvgPool2d(2)
        self.low = nn.Conv2d(1, 4, 3, padding=1)
        self.high = nn.Conv2d(1, 4, 5, padding=2)
        self.out = nn.Conv2d(8, 1, 1)

    def forward(self, x):
        low = F.interpolate(F.relu(self.low(self.down(x))), scale_factor=2)
        return x + self.out(torch.cat((low, torch.tanh(self.high(x))), dim=1))
"""

FOUR_CHANNELS = """
def block(n):
    return nn.Sequential(nn.Conv2d(n, n, 3, 1, 1, groups=n), nn.Conv2d(n, n, 1), nn.Hardswish())

class Net(nn.Module):
    def __init__(self, *, depth):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(4, 8, 3, 1, 1), *[block(8) for _ in range(depth)], nn.Conv2d(8, 64, 1))

    def forward(self, x):
        return F.pixel_shuffle(self.net(x), 4)
"""

ATTENTION = """
class Window(nn.Module):
    def forward(self, x):
        flat = x.flatten(2)
        return (torch.softmax(flat.transpose(1, 2) @ flat, -1) @ flat.transpose(1, 2)).transpose(1, 2).view_as(x)

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.c = nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect")
        self.attention = Window()

    def forward(self, x):
        y = F.gelu(self.c(x)) + self.attention(x)
        return F.interpolate(y, scale_factor=2, mode="bilinear") ** 3
"""

DICTIONARY = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.c = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        return {"sr": self.c(x), "features": x}
"""

BRANCHING = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.c = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        if x.mean() > 0.5:
            return self.c(x)
        return x
"""

CUDA = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.kernel = torch.ones(1, device="cuda:0")

    def forward(self, x):
        return x
"""

UNEVEN = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.c = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        return F.interpolate(self.c(x), scale_factor=(2, 1))
"""


@dataclass(frozen=True)
class Good:
    """A network that exports, with what export finds out of it."""

    source: str
    scale: int
    channels: int = 3
    init: dict[str, object] = field(default_factory=dict)


GOOD: dict[str, Good] = {
    "in-place arithmetic, a buffer, dilation": Good(IN_PLACE, 2, init={"width": 6}),
    "batch norm and PReLU": Good(BATCH_NORM, 1),
    "functional, chunk, computed weights, x3": Good(FUNCTIONAL, 3),
    "grayscale, pooling": Good(POOLING, 1, channels=1),
    "four channels, keyword argument, x4": Good(FOUR_CHANNELS, 4, channels=4, init={"depth": 2}),
}
REFUSED: dict[str, tuple[str, type[Exception], tuple[str, ...]]] = {
    "attention": (
        ATTENTION, UnsupportedOpError,
        (
            "aten.reflection_pad2d.default at c (1x) in net.py:", "reflect padding", "[refused by mediatek-neuropilot",
            "aten._softmax.default at attention (1x) in net.py:9", "aten.gelu.default at forward (1x) in net.py:",
            "aten.bmm.default at attention (2x)", "aten.upsample_bilinear2d.vec", "the power 3",
        ),
    ),
    "a dictionary": (DICTIONARY, NetworkError, ("returns a dict of 2, not one image", "return")),
    "dynamic control flow": (BRANCHING, ExportError, ("data-dependent", "(in net.py:12)")),
    "a GPU at construction": (CUDA, NetworkError, ("asks for a GPU (in net.py:9)", "on the CPU")),
    "an uneven scale": (UNEVEN, NetworkError, ("its scale is not to be deduced: it makes",)),
}  # fmt: skip

Write = Callable[..., ExportRequest]


@pytest.fixture
def request_of(tmp_path: Path, photos: Path) -> Write:
    """The request to export class `Net` of a source text, its weights saved beside."""

    def write(source: str, init: dict[str, object], module: nn.Module) -> ExportRequest:
        file, weights = tmp_path / "net.py", tmp_path / "w.pth"
        file.write_text(PREAMBLE + source)
        torch.save(module.state_dict() or {"unused": torch.ones(1)}, weights)
        targets = tuple(t for name in ("onnx-fp32", "tflite-fp32") if (t := find_target(name)))
        return ExportRequest(targets, tmp_path / "out", f"{file}:Net", weights, (SIZE,), calibration=photos, init=init)

    return write


def build(source: str, init: dict[str, object]) -> nn.Module:
    """The network, by Python itself, with statistics far from their start."""
    torch.manual_seed(0)
    names: dict[str, type[nn.Module]] = {}
    exec(compile(PREAMBLE + source, "direct", "exec"), names)
    module = names["Net"](**init).eval()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            assert part.running_mean is not None and part.running_var is not None
            nn.init.uniform_(part.running_mean, -0.2, 0.2)
            nn.init.uniform_(part.running_var, 0.5, 2)
    return module


def run_files(result: ExportResult, image: Tensor) -> list[np.ndarray]:
    """What each runtime itself makes of (1, C, H, W), without edgesr's runners."""
    folder = result.manifest.folder
    onnx_file, tflite_file = (folder / artifact.file for artifact in result.artifacts)
    session = onnxruntime.InferenceSession(onnx_file)
    by_onnx = session.run(None, {session.get_inputs()[0].name: image.numpy()})[0]
    interpreter = Interpreter(str(tflite_file))
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image.permute(0, 2, 3, 1).contiguous().numpy())
    interpreter.invoke()
    by_tflite = interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).transpose(0, 3, 1, 2)
    return [np.asarray(by_onnx), by_tflite]


@pytest.mark.parametrize("case", GOOD)
def test_research_code_exports(case: str, request_of: Write) -> None:
    good = GOOD[case]
    module = build(good.source, good.init)
    request = request_of(good.source, good.init, module)
    result = export(request)
    contract = result.artifacts[0].contract
    assert (contract.upscale, contract.channels) == (good.scale, good.channels)
    image = torch.rand(1, good.channels, *SIZE)
    with torch.no_grad():
        expected = module.double()(image.double())
    for output in run_files(result, image):
        assert np.abs(output - expected.numpy()).max() <= 5e-5
    if "BatchNorm" in good.source:
        assert "fuse-affine" in str(result.artifacts[0].facts["folds"])
    assert len(list(request.out.glob("reference/*.safetensors"))) >= 2
    for artifact in result.artifacts:
        reports = result.parity[artifact.file]
        assert max(row.max_abs for row in reports.rows) <= 5e-5, "an input changed in place must not spoil the images"


@pytest.mark.parametrize("case", REFUSED)
def test_research_code_is_refused_with_every_reason(case: str, request_of: Write) -> None:
    source, kind, reasons = REFUSED[case]
    if source is CUDA and torch.cuda.is_available():
        pytest.skip("there is a GPU here: the constructor gets what it asks for")
    module = nn.ModuleDict({"c": nn.Conv2d(3, 3, 3 if source is ATTENTION else 1)})
    request = request_of(source, {}, nn.Module() if source is CUDA else module)
    with pytest.raises(kind) as refusal:
        export(request)
    message = str(refusal.value)
    assert "\n" not in message and ("Net" in message or "net.py" in message)
    for reason in reasons:
        assert reason in message, message
    assert not (request.out / "manifest.json").exists()


def test_the_folder_is_verified_without_the_class(request_of: Write) -> None:
    """The reference is the captured graph: the file may be gone, and is not run where it is there."""
    request = request_of(FOUR_CHANNELS, {"depth": 1}, build(FOUR_CHANNELS, {"depth": 1}))
    result = export(request)
    (request.out.parent / "net.py").write_text("raise SystemExit('it ran')")
    sys.modules.pop(MODULE_NAME)
    report = verify_parity(request.out, ("onnxruntime",))
    assert report.rows and not report.failures
    assert MODULE_NAME not in sys.modules
    model = load_reference(request.out / result.artifacts[0].reference)
    assert (model.architecture, model.name, model.scale) == ("captured", "Net_x4", 4)
    assert "net.py:Net" in model.source and '{"depth": 1}' in model.source
