import copy

import torch
from torch import Tensor, nn

from compress.recalibrate import Recalibration
from networks.trace import TracedNetwork


def small() -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    conv, norm = nn.Conv2d(2, 3, 1, bias=False), nn.BatchNorm2d(3).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        conv.weight.copy_(torch.randn(conv.weight.shape, generator=generator))
        norm.running_mean.copy_(torch.tensor([0.3, -0.2, 0.1]))
        norm.running_var.copy_(torch.tensor([1.5, 0.7, 1.0]))
    return conv, norm


@torch.no_grad()
def test_unchanged_network_keeps_its_statistics_exactly() -> None:
    conv, norm = small()
    images = torch.randn(6, 2, 4, 4, generator=torch.Generator().manual_seed(1))
    before = norm.running_mean.clone(), norm.running_var.clone()
    found = Recalibration([norm], [])
    found.observe(lambda: norm(conv(images)))
    found.repair(lambda: norm(conv(images)))
    assert torch.allclose(norm.running_mean, before[0], atol=1e-6)
    assert torch.allclose(norm.running_var, before[1], rtol=1e-6)


@torch.no_grad()
def test_scaled_and_shifted_input_is_normalised_as_before() -> None:
    conv, norm = small()
    images = torch.randn(6, 2, 4, 4, generator=torch.Generator().manual_seed(1))
    dense = norm(conv(images))
    found = Recalibration([norm], [])
    found.observe(lambda: norm(conv(images)))
    found.repair(lambda: norm(conv(images) * 1.7 + 0.4))
    gain = torch.sqrt(norm.running_var / torch.tensor([1.5, 0.7, 1.0]))
    assert torch.allclose(gain, torch.full((3,), 1.7), rtol=1e-4)
    shifted = norm(conv(images) * 1.7 + 0.4)
    assert torch.allclose(shifted, dense, atol=1e-3)
    found.restore()
    assert torch.allclose(norm(conv(images)), dense)


@torch.no_grad()
def test_a_channel_without_weights_gives_its_norm_bias() -> None:
    """Its variance is 0: whatever stood in front of it would be divided by next to nothing."""
    conv, norm = small()
    norm.bias.copy_(torch.tensor([0.4, -0.1, 0.2]))
    images = torch.randn(6, 2, 4, 4, generator=torch.Generator().manual_seed(1))
    found = Recalibration([norm], [])
    found.observe(lambda: norm(conv(images)))
    conv.weight[1] = 0
    found.repair(lambda: norm(conv(images)))
    assert torch.allclose(norm(conv(images))[:, 1], torch.tensor(-0.1), atol=1e-3)


@torch.no_grad()
def test_bias_takes_the_shift_of_the_mean_by_hand() -> None:
    linear = nn.Linear(2, 1)
    linear.weight.copy_(torch.tensor([[1.0, 2.0]]))
    linear.bias.copy_(torch.tensor([0.5]))
    inputs = torch.tensor([[1.0, 1.0], [3.0, 2.0]])
    found = Recalibration([], [linear], spread=False)
    found.observe(lambda: linear(inputs))
    linear.weight.copy_(torch.tensor([[1.0, 0.0]]))
    (outputs,) = found.repair(lambda: linear(inputs)).layers
    assert torch.equal(outputs.gain, torch.ones(1))
    # dense mean 0.5 + 2 + 2 * 1.5 = 5.5, pruned mean 0.5 + 2 = 2.5: the bias takes 3
    assert torch.allclose(linear.bias, torch.tensor([3.5]))


@torch.no_grad()
def test_spread_goes_half_of_the_way_by_hand() -> None:
    linear = nn.Linear(1, 1)
    linear.weight.copy_(torch.tensor([[2.0]]))
    linear.bias.copy_(torch.tensor([0.5]))
    inputs = torch.tensor([[1.0], [3.0]])
    found = Recalibration([], [linear])
    found.observe(lambda: linear(inputs))
    linear.weight.copy_(torch.tensor([[0.5]]))
    (outputs,) = found.repair(lambda: linear(inputs)).layers
    # spreads 2 and 0.5: half of the way is 1, a factor of 2 on the weight; the mean 4.5 is 1 * 2 + bias
    assert torch.allclose(outputs.gain, torch.tensor([2.0]))
    assert torch.allclose(linear.bias, torch.tensor([2.5]))


@torch.no_grad()
def test_dead_channel_stays_finite(traced: TracedNetwork, images: Tensor) -> None:
    module = copy.deepcopy(traced.module)
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
    found = Recalibration(norms, [])
    found.observe(lambda: module(images))
    module.stem.weight[:4] = 0
    found.repair(lambda: module(images))
    assert torch.isfinite(module(images)).all()


@torch.no_grad()
def test_linear_layer_on_feature_maps_has_its_channels_last() -> None:
    linear = nn.Linear(3, 2)
    inputs = torch.randn(4, 5, 5, 3, generator=torch.Generator().manual_seed(2))
    dense = linear(inputs)
    found = Recalibration([], [linear])
    found.observe(lambda: linear(inputs))
    linear.weight.mul_(0.5)
    (outputs,) = found.repair(lambda: linear(inputs)).layers
    linear.weight.mul_(outputs.gain[:, None])
    assert torch.allclose(linear(inputs).mean((0, 1, 2)), dense.mean((0, 1, 2)), atol=1e-6)
