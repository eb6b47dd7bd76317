from torch import nn, zeros

from edgesr.runtime.cuda.traffic import bytes_moved


def test_every_operator_s_tensors_count_once_and_views_and_weights_not() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten()).requires_grad_(False)
    x = zeros(2, 3, 5, 7)
    convolution, activation = 3 + 4, 4 + 4
    assert bytes_moved(module, lambda: module(x)) == (convolution + activation) * x[:, 0].numel() * 4
    half, values = module.half(), x.half()
    assert bytes_moved(half, lambda: half(values)) == (convolution + activation) * x[:, 0].numel() * 2
