"""Roundings chosen by descent on a layer's outputs."""

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor, fx, nn

from compress.adaround import Samples, adarounded
from compress.behind import behind
from compress.measure import Measurer
from compress.options import MeasureOptions
from compress.profile import Profile
from compress.repair import RepairedLayer
from compress.verify import verify
from networks.trace import TracedNetwork
from plan.scheme import DENSE, Element, Method, Scheme


def nearest(weight: Tensor, scale: float, bits: int) -> RepairedLayer:
    levels = (weight / scale).round().clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1).to(torch.int8).numpy()
    mask = np.ones(levels.shape, np.bool_)
    return RepairedLayer(levels, np.full(len(levels), scale, np.float32), np.packbits(mask, axis=1), bits)


def loss(found: RepairedLayer, weight: Tensor, inputs: Tensor) -> Tensor:
    centred = inputs - inputs.mean(0)
    return (centred @ (torch.from_numpy(found.weight) - weight).T).square().mean(0)


def test_more_than_half_of_the_gap_to_the_best_of_all_roundings_is_closed() -> None:
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(40, 6, generator=generator)
    inputs = torch.randn(500, 6, generator=generator) @ torch.randn(6, 6, generator=generator)
    start = nearest(weight, 0.7, 4)
    found = adarounded(weight, start, Samples(inputs[None], lambda outputs: outputs), steps=600, seed=0)
    floor = (weight / 0.7).floor()
    candidates = torch.tensor(list(itertools.product((0.0, 1.0), repeat=6)))
    every = (floor[:, None, :] + candidates) * 0.7 - weight[:, None, :]
    moment = torch.cov(inputs.T, correction=0)
    best = torch.einsum("kni,ij,knj->kn", every, moment, every).amin(1)
    before, after = loss(start, weight, inputs), loss(found, weight, inputs)
    assert (after >= best * (1 - 1e-4)).all()
    assert (after <= before * (1 + 1e-6)).all()
    assert (after - best).sum() < 0.5 * (before - best).sum()


def test_no_output_loses_more_and_removed_weights_stay_removed() -> None:
    generator = torch.Generator().manual_seed(2)
    weight = torch.randn(8, 20, generator=generator)
    mask = torch.rand(weight.shape, generator=generator) < 0.6
    start = nearest(weight * mask, 0.4, 3)
    start = RepairedLayer(start.levels, start.scale, np.packbits(mask.numpy(), axis=1), 3)
    inputs = torch.rand(1, 400, 20, generator=generator)
    relu = torch.relu
    found = adarounded(weight * mask, start, Samples(inputs, relu), steps=200, seed=0)
    outputs = inputs[0] @ (weight * mask).T
    mean = outputs.mean(0) - inputs[0].mean(0) @ (weight * mask).T

    def error(layer: RepairedLayer) -> Tensor:
        shift = outputs.mean(0) - (inputs[0] @ torch.from_numpy(layer.weight).T).mean(0)
        return (relu(inputs[0] @ torch.from_numpy(layer.weight).T + shift) - relu(outputs)).square().mean(0)

    assert torch.allclose(mean, torch.zeros(8), atol=1e-5)
    assert (error(found) <= error(start) + 1e-6).all()
    assert not (found.levels != 0)[~mask.numpy()].any()
    assert np.abs(found.levels).max() <= 4


class Chain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
        self.activation = nn.Hardswish(inplace=True)
        self.linear = nn.Linear(4, 2)

    def forward(self, images: Tensor) -> Tensor:
        return self.linear(self.activation(self.norm(self.conv(images))).mean((2, 3)))


@torch.no_grad()
def test_what_stands_behind_a_layer_is_bias_norm_and_activation() -> None:
    torch.manual_seed(0)
    network = Chain().eval()
    network.norm.running_mean.normal_()
    network.norm.running_var.uniform_(0.5, 2)
    module = fx.symbolic_trace(network)
    nodes = {str(node.target): node for node in module.graph.nodes}
    images = torch.randn(5, 3, 1, 1)
    outputs = images[:, :, 0, 0] @ network.conv.weight[:, :, 0, 0].T
    before = outputs.clone()
    found = behind(module, nodes["conv"], network.conv)(outputs)
    assert torch.allclose(found, network.activation(network.norm(network.conv(images)))[:, :, 0, 0], atol=1e-6)
    assert torch.equal(outputs, before)
    features = torch.randn(5, 4)
    assert torch.allclose(
        behind(module, nodes["linear"], network.linear)(features @ network.linear.weight.T), network.linear(features)
    )


@pytest.mark.parametrize("steps", [1, 60])
def test_the_compressed_network_is_still_on_its_plan(
    traced: TracedNetwork, profiled: Profile, images: Tensor, steps: int
) -> None:
    schemes = [Scheme(Method(Element(), "second-order"), 0.5, 3, 6)] * 5
    schemes[0] = schemes[-1] = Scheme(DENSE, 1.0, 8, 8)
    options = MeasureOptions(sequential_images=64, rounding_steps=steps)
    measurer = Measurer(traced, profiled, images, options=options)
    compressed = measurer.apply(schemes)
    assert verify(compressed) == ()
    again = Measurer(traced, profiled, images, options=options).repaired(schemes)
    for record, found, other in zip(compressed.records, measurer.repaired(schemes), again, strict=True):
        assert np.array_equal(found.levels, other.levels)
        assert np.array_equal(found.scale, record.scale)
