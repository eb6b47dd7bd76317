import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgesr.errors import CheckpointError
from edgesr.model.reparameterization import merge_branches


class TrainingConv(nn.Module):
    """The branches as they are trained: one zero around the image first, then a chain without padding, and a skip."""

    def __init__(self, in_channels: int, out_channels: int, gain: int, bias: bool) -> None:
        super().__init__()
        self.sk = nn.Conv2d(in_channels, out_channels, 1, bias=bias)
        self.conv = nn.Sequential(
            nn.Conv2d(in_channels, in_channels * gain, 1, bias=bias),
            nn.Conv2d(in_channels * gain, out_channels * gain, 3, bias=bias),
            nn.Conv2d(out_channels * gain, out_channels, 1, bias=bias),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(F.pad(x, (1, 1, 1, 1))) + self.sk(x)
        return out


def training_state(prefix: str, module: TrainingConv) -> dict[str, Tensor]:
    return {f"{prefix}.{key}": value for key, value in module.state_dict().items()}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("size", [(7, 5), (1, 1), (2, 3)])
def test_the_merged_convolution_is_exact_to_the_border(size: tuple[int, int], bias: bool) -> None:
    torch.manual_seed(0)
    module = TrainingConv(3, 5, 2, bias)
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    merged = merge_branches(training_state("block_1.c1_r", module))
    assert set(merged) == {"block_1.c1_r.eval_conv.weight", "block_1.c1_r.eval_conv.bias"}
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        expected = module.double()(x)
    weight, b = (merged[f"block_1.c1_r.eval_conv.{kind}"].double() for kind in ("weight", "bias"))
    difference = (F.conv2d(x, weight, b, padding=1) - expected).abs().max()
    assert difference <= 1e-6 * expected.abs().max()  # the merged weights are float32


def test_the_rest_is_kept_and_a_stale_merge_is_dropped() -> None:
    state = training_state("conv_1", TrainingConv(3, 4, 1, True))
    stale = {"conv_1.eval_conv.weight": torch.full((4, 3, 3, 3), 9.0), "conv_1.eval_conv.bias": torch.zeros(4)}
    rest = {"conv_cat.weight": torch.ones(2, 2, 1, 1), "upsampler.0.bias": torch.ones(3)}
    merged = merge_branches(rest | stale | state)
    assert set(merged) == set(rest) | set(stale)
    assert float(merged["conv_1.eval_conv.weight"].max()) < 9 and merged["conv_cat.weight"] is rest["conv_cat.weight"]
    plain = rest | stale
    assert merge_branches(plain) == plain, "without branches nothing changes"


@pytest.mark.parametrize("branch", ["conv.0", "conv.1", "conv.2"])
def test_incomplete_branches_are_named(branch: str) -> None:
    state = training_state("conv_1", TrainingConv(3, 4, 1, True))
    del state[f"conv_1.{branch}.weight"]
    with pytest.raises(CheckpointError, match=rf"'conv_1.' are incomplete \(conv_1.{branch}.weight\)"):
        merge_branches(state)


@pytest.mark.parametrize("key", ["sk.weight", "conv.0.weight", "conv.1.weight", "conv.2.weight", "conv.1.bias"])
@pytest.mark.parametrize("shape", [(), (4,), (4, 3, 5, 5), (2, 2, 1, 1)])
def test_branches_that_do_not_fit_are_named(key: str, shape: tuple[int, ...]) -> None:
    state = training_state("conv_1", TrainingConv(3, 4, 1, True))
    if key.endswith("bias") and shape == (4,):
        shape = (9,)
    with pytest.raises(CheckpointError, match=r"conv_1.*fit"):
        merge_branches(state | {f"conv_1.{key}": torch.zeros(shape)})
