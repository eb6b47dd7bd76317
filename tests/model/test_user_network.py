"""Whatever is wrong with a user's file, class, arguments or weights ends in one line that names it."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from edgesr.errors import CheckpointError, EdgeSRError, NetworkError
from edgesr.model.user_network import load_user_network
from edgesr.user_code import UserClass

HEADER = "import torch\nfrom torch import nn\n"
NET = """
class Net(nn.Module):
    def __init__(self, n, upscale=2):
        super().__init__()
        self.c = nn.Sequential(nn.Conv2d(3, n, 3, 1, 1), nn.BatchNorm2d(n), nn.Conv2d(n, 3 * upscale**2, 1))
        self.u = nn.PixelShuffle(upscale)
    def forward(self, x):
        return self.u(self.c(x))
class Other(nn.Module):
    pass
def make():
    pass
"""


def net(body: str, forward: str = "return x") -> str:
    lines = ("    def __init__(self):", "        super().__init__()", f"        {body}", "    def forward(self, x):")
    return "\n".join(("class Net(nn.Module):", *lines, f"        {forward}\n"))


@pytest.fixture(name="weights")
def saved_weights(tmp_path: Path) -> Path:
    names: dict[str, type[nn.Module]] = {}
    exec(HEADER + NET, names)
    state = {f"module.{key}": value for key, value in names["Net"](4).state_dict().items() if "tracked" not in key}
    torch.save({"params_ema": state}, tmp_path / "w.pth")
    return tmp_path / "w.pth"


def test_finds_out_what_the_class_takes_and_makes(tmp_path: Path, weights: Path) -> None:
    file = tmp_path / "net.py"
    file.write_text(HEADER + NET)
    model = load_user_network(UserClass(file, "Net"), {"n": 4}, weights)
    assert (model.name, model.scale, model.size_multiple, model.config["in_channels"]) == ("Net_x2", 2, 1, 3)
    assert not model.module.training and not any(p.requires_grad for p in model.module.parameters())
    assert model.source == f'{weights}, weights of {file}:Net {{"n": 4}}'


def test_may_import_its_neighbours_and_need_even_sizes(tmp_path: Path) -> None:
    (tmp_path / "neighbour_of_mine.py").write_text("FACTOR = 2\n")
    source = ("from neighbour_of_mine import FACTOR\n" + HEADER + net("self.c = nn.Conv2d(12, 3, 1)")).replace(
        "return x",
        "return nn.functional.interpolate(self.c(nn.functional.pixel_unshuffle(x, FACTOR)), scale_factor=4.0)",
    )
    (tmp_path / "net.py").write_text(source)
    torch.save({"c.weight": torch.rand(3, 12, 1, 1), "c.bias": torch.rand(3)}, tmp_path / "w.pth")
    model = load_user_network(UserClass(tmp_path / "net.py", "Net"), {}, tmp_path / "w.pth")
    assert (model.scale, model.size_multiple) == (2, 2)


BAD: dict[str, tuple[str, dict[str, object], str]] = {
    "no file": ("", {}, "no such file; check the path before the colon"),
    "fails at import": (HEADER + "\n1 / 0\n", {}, r"fails when it is imported: ZeroDivisionError: .* \(in net.py:4\)"),
    "exits at import": ("import sys\nsys.exit(3)\n", {}, r"SystemExit: it exits \(3\)"),
    "no Python": ("class Net(:\n", {}, "SyntaxError"),
    "a missing package": ("import no_such_package_here\n", {}, r"No module named .* \(in net.py:1\); install it"),
    "another class": (HEADER + NET.replace("Net", "Mine"), {}, "Net is not in it; choose from Mine, Other"),
    "no class": ("x = 1\n", {}, "Net is not in it; it defines no nn.Module"),
    "a function": (
        HEADER + NET.replace("Net", "A").replace("make", "Net"), {}, "Net is no nn.Module; choose from A, Other"
    ),
    "an argument left out": (HEADER + NET, {}, r"""needs n; give them by --init, like --init '{"n": 0}'"""),
    "an unknown argument": (HEADER + NET, {"n": 4, "depth": 3}, "has no argument depth; it takes n, upscale"),
    "an impossible argument": (HEADER + NET, {"n": -4}, r"its constructor fails with --init .* \(in net.py:7\)"),
    "a file at construction": (
        HEADER + net("open('/no/such.npy')"), {}, r"needs the file /no/such.npy \(in net.py:6\)"
    ),
    "what cannot be copied": (
        HEADER + net("self.g = (i for i in [])"), {}, "its constructor fails: TypeError: cannot pickle 'generator'"
    ),
    "other weights": (HEADER + NET, {"n": 5}, "misshapen .* and the arguments it was trained with in --init"),
    "a tuple": (HEADER + net("", "return x, x"), {}, "returns a tuple of 2, not one image; add a class"),
    "None": (HEADER + net("", "pass"), {}, "returns a NoneType, not one image"),
    "its own failure": (HEADER + net("", "return self.nothing(x)"), {}, r"forward fails on .* \(in net.py:8\)"),
    "another count of channels": (HEADER + net("", "return torch.cat([x, x], 1)"), {}, "same number of channels"),
    "x1.5": (HEADER + net("", "return nn.functional.interpolate(x, scale_factor=1.5)"), {}, "not to be deduced"),
    "smaller": (HEADER + net("", "return x[:, :, ::2, ::2]"), {}, "not to be deduced"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_refuses_in_one_line(case: str, tmp_path: Path, weights: Path) -> None:
    source, init, message = BAD[case]
    file = tmp_path / "net.py"
    if source:
        file.write_text(source)
    if "super()" in source and "Conv2d" not in source:  # a network without weights of its own
        (tmp_path / "empty.pth").unlink(missing_ok=True)
        file.write_text(
            source.replace("super().__init__()", "super().__init__(); self.w = nn.Parameter(torch.ones(1))")
        )
        weights = tmp_path / "empty.pth"
        torch.save({"w": torch.ones(1)}, weights)
    with pytest.raises((NetworkError, CheckpointError), match=message) as refusal:
        load_user_network(UserClass(file, "Net"), init, weights)
    assert isinstance(refusal.value, EdgeSRError) and "\n" not in str(refusal.value)


def test_a_prefix_that_the_class_itself_has_is_kept(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(HEADER + net("self.module = nn.Conv2d(1, 1, 1)", "return self.module(x)"))
    torch.save({"module.weight": torch.ones(1, 1, 1, 1), "module.bias": torch.ones(1)}, tmp_path / "w.pth")
    model = load_user_network(UserClass(tmp_path / "net.py", "Net"), {}, tmp_path / "w.pth")
    assert (model.config["in_channels"], model.scale) == (1, 1)


def test_tensors_in_plain_attributes_follow_the_module(tmp_path: Path) -> None:
    """Computed from weights and kept outside the state dict, as research code does it."""
    body = "self.c = nn.Conv2d(3, 3, 1); self.rate = self.c.weight.mean() * 0 + 2; self.mean = torch.ones(1, 3, 1, 1)"
    (tmp_path / "net.py").write_text(HEADER + net(body, "return self.c(x - self.mean) * self.rate"))
    torch.save({"c.weight": torch.ones(3, 3, 1, 1), "c.bias": torch.ones(3)}, tmp_path / "w.pth")
    module = load_user_network(UserClass(tmp_path / "net.py", "Net"), {}, tmp_path / "w.pth").module
    output = copy.deepcopy(module).double()(torch.ones(1, 3, 2, 2, dtype=torch.float64))
    assert output.dtype == torch.float64 and bool((output == 2).all())
