"""Layers refitted to the inputs that they really have."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from compress.addition import addition_behind
from compress.measure import Measurer
from compress.options import MeasureOptions
from compress.profile import Profile, profile
from compress.sequential import CORRECTION, PairedPass, Refit, held_out_step, paired_problem, sampled_pair
from compress.verify import verify
from networks.trace import TracedNetwork, trace
from plan.scheme import DENSE, Element, Filter, Method, Scheme

SEQUENTIAL = MeasureOptions(sequential_images=128)


def coarse(layers: int = 5, bits: int = 3) -> list[Scheme]:
    schemes = [Scheme(Method(Element(), "second-order"), 0.5, bits, 6)] * layers
    schemes[0] = schemes[-1] = Scheme(DENSE, 1.0, 8, 8)
    return schemes


def untouched(layer: nn.Conv2d | nn.Linear) -> Refit:
    weight = layer.weight.detach()
    inputs = layer.in_channels if isinstance(layer, nn.Conv2d) else layer.in_features
    return Refit(weight.reshape(len(weight), -1), torch.ones(inputs, dtype=torch.bool), lambda problem, samples: weight)


def test_target_lies_between_dense_weights_and_least_squares() -> None:
    generator = torch.Generator().manual_seed(0)
    layer = nn.Linear(6, 4, bias=False)
    dense = torch.randn(400, 6, generator=generator)
    now = dense * 0.5
    pair = sampled_pair(layer, torch.cat((dense, now)), generator)
    problem = paired_problem(layer.weight.detach(), pair, untouched(layer))
    (block,) = problem.blocks
    best = 2 * layer.weight.detach()[:, block.columns].T  # half the inputs need twice the weights, damping aside
    wanted = torch.lerp(layer.weight.detach()[:, block.columns].T, best, CORRECTION)
    assert torch.allclose(block.target[0], wanted, atol=0.02)


@pytest.mark.parametrize(("lost", "low", "high"), [(False, 0.0, 0.2), (True, 0.9, 1.0)])
def test_a_step_goes_as_far_as_the_other_half_confirms(lost: bool, low: float, high: float) -> None:
    """Half of the inputs' size lost asks for larger weights; an independent difference asks for nothing."""
    generator = torch.Generator().manual_seed(0)
    layer = nn.Linear(24, 4, bias=False)
    now = torch.randn(60, 24, generator=generator)
    dense = 2.0 * now if lost else now + torch.randn(60, 24, generator=generator)
    pair = sampled_pair(layer, torch.cat((dense, now)), generator)
    start = layer.weight.detach().T[None]
    assert low <= held_out_step(pair, start, start, 0.0, torch.arange(24)) <= high


def test_dead_inputs_ask_for_nothing() -> None:
    layer = nn.Linear(6, 4, bias=False)
    pair = sampled_pair(layer, torch.zeros(20, 6), torch.Generator().manual_seed(0))
    assert paired_problem(layer.weight.detach(), pair, untouched(layer)).blocks == ()


def test_one_image_moves_nothing() -> None:
    layer = nn.Linear(6, 4, bias=False)
    pair = sampled_pair(layer, torch.randn(2, 6), torch.Generator().manual_seed(0))
    start = layer.weight.detach().T[None]
    assert held_out_step(pair, start, start, 0.0, torch.arange(6)) == 0.0


def test_equal_inputs_leave_the_weights() -> None:
    generator = torch.Generator().manual_seed(0)
    layer = nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False)
    images = torch.randn(20, 4, 8, 8, generator=generator)
    weight = layer.weight.detach()
    both = torch.cat((images, images))
    (block,) = paired_problem(weight, sampled_pair(layer, both, generator), untouched(layer)).blocks
    assert torch.allclose(block.target.transpose(1, 2).reshape(4, 1, 3, 3), layer.weight, atol=1e-4)


def test_outputs_come_nearer_and_everything_is_still_on_the_plan(
    traced: TracedNetwork, profiled: Profile, images: Tensor
) -> None:
    plain, ordered = (Measurer(traced, profiled, images, options=options) for options in (MeasureOptions(), SEQUENTIAL))
    dense = plain.dense_outputs(images)
    error = [float(((m.outputs(coarse(), images) - dense) ** 2).mean()) for m in (plain, ordered)]
    assert error[1] < error[0]
    assert verify(ordered.apply(coarse())) == ()
    masks = [[found.mask for found in m.repaired(coarse())] for m in (plain, ordered)]
    assert all(np.array_equal(*both) for both in zip(*masks, strict=True))


class Rectified(nn.Module):
    """Rectifiers as modules and as functions, which a working network may leave to roundings."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 12, 3, padding=1), nn.Conv2d(12, 12, 3, padding=1)
        self.third, self.head = nn.Conv2d(12, 12, 3, padding=1), nn.Linear(12, 5)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.second(self.relu(self.first(x))))
        return self.head(self.relu(self.third(x)).mean((2, 3)))


@pytest.mark.parametrize("steps", [0, 50])
def test_the_dense_network_beside_it_keeps_its_rectifiers(images: Tensor, steps: int) -> None:
    torch.manual_seed(0)
    network = trace(Rectified().eval(), (3, 8, 8), "rectified")
    refitted = dataclasses.replace(SEQUENTIAL, rounding_steps=steps)
    errors = []
    for options in (MeasureOptions(), refitted):
        measurer = Measurer(network, profile(network, images), images, options=options)
        dense = measurer.dense_outputs(images)
        errors.append(float(((measurer.outputs(coarse(4), images) - dense) ** 2).mean()))
    assert errors[1] < errors[0]


def test_the_same_plan_gives_the_same_bytes(traced: TracedNetwork, profiled: Profile, images: Tensor) -> None:
    measurer = Measurer(traced, profiled, images, options=SEQUENTIAL)
    first = measurer.outputs(coarse(), images)
    measurer.outputs(coarse(bits=4), images)
    assert np.array_equal(measurer.outputs(coarse(), images), first)
    assert np.array_equal(Measurer(traced, profiled, images, options=SEQUENTIAL).outputs(coarse(), images), first)


def test_dense_network_is_left_as_it_was(traced: TracedNetwork, profiled: Profile, images: Tensor) -> None:
    measurer = Measurer(traced, profiled, images, options=SEQUENTIAL)
    before = measurer.dense_outputs(images)
    measurer.outputs(coarse(), images)
    assert np.array_equal(measurer.dense_outputs(images), before)


def test_removed_filters_stay_removed(traced: TracedNetwork, profiled: Profile, images: Tensor) -> None:
    schemes = [Scheme(DENSE, 1.0, 6, 8)] * 5
    schemes[1] = Scheme(Method(Filter(), "second-order"), 0.5, 6, 8)
    measurer = Measurer(traced, profiled, images, options=SEQUENTIAL)
    assert verify(measurer.apply(schemes)) == ()
    assert measurer.repaired(schemes)[1].mask.any(axis=1).sum() == 8


@pytest.mark.parametrize("update", [True, False])
def test_without_the_weight_update_nothing_is_refitted(
    traced: TracedNetwork, profiled: Profile, images: Tensor, update: bool
) -> None:
    repair = dataclasses.replace(SEQUENTIAL.repair, update=update)
    measurer = Measurer(
        traced, profiled, images, options=dataclasses.replace(SEQUENTIAL, repair=repair, recalibrate=False)
    )
    loaded, cached = measurer.repaired(coarse()), measurer.cached_repairs(coarse())
    changed = [not np.array_equal(a.levels, b.levels) for a, b in zip(loaded, cached, strict=True)]
    assert any(changed) == update


def test_filters_cost_no_more_than_without_the_refit(traced: TracedNetwork, profiled: Profile, images: Tensor) -> None:
    schemes = [Scheme(DENSE, 1.0, 8, 8)] * 5
    schemes[1] = Scheme(Method(Filter(), "second-order"), 0.75, 8, 8)
    errors = []
    for options in (MeasureOptions(), SEQUENTIAL):
        measurer = Measurer(traced, profiled, images, options=options)
        errors.append(float(((measurer.outputs(schemes, images) - measurer.dense_outputs(images)) ** 2).mean()))
    assert errors[1] <= 1.05 * errors[0]


class Block(nn.Module):
    """A residual block whose shortcut takes every second pixel and pads channels, traced behind the branch."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(4, 8, 3, stride, 1, bias=False), nn.Conv2d(8, 8, 3, 1, 1, bias=False)
        self.norm, self.stride = nn.BatchNorm2d(8), stride

    def forward(self, x: Tensor) -> Tensor:
        branch = self.norm(self.second(functional.relu(self.first(x))))
        return functional.relu(branch + functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 2, 2)))


@pytest.mark.parametrize("stride", [1, 2])
def test_what_is_added_is_found_and_known_before_the_branch_is_done(stride: int) -> None:
    module = torch.fx.symbolic_trace(Block(stride).eval())
    nodes = {str(node.target): node for node in module.graph.nodes if node.op == "call_module"}
    assert addition_behind(module, nodes["first"]) is None
    addition = addition_behind(module, nodes["second"])
    assert addition is not None
    assert addition.norm is module.norm
    assert "pad" in addition.other.name
    images = torch.randn(2, 4, 8, 8)
    paired = PairedPass(module, {}, {"second": untouched(module.second)}, unnormed=(), spread=False, seed=0)
    paired.env = {next(iter(module.graph.nodes)): images}
    before = dict(paired.env)
    expected = functional.pad(images[:, :, ::stride, ::stride], (0, 0, 0, 0, 2, 2))
    lacking = paired._lacking("second", torch.zeros(1, 8, 8 // stride, 8 // stride))
    assert lacking is not None
    assert torch.allclose(lacking, addition.in_outputs(expected[:1] - expected[1:]))
    assert paired.env == before


def test_a_change_of_the_sum_is_divided_by_the_batch_norms_factor() -> None:
    norm = nn.BatchNorm2d(3).eval()
    norm.weight.data, norm.running_var = torch.tensor([2.0, -1.0, 0.0]), torch.tensor([1.0, 4.0, 1.0])
    module = torch.fx.symbolic_trace(Block(1))
    addition = dataclasses.replace(addition_behind(module, _node(module, "second")), norm=norm)
    found = addition.in_outputs(torch.ones(1, 3, 1, 1))[0, :, 0, 0]
    assert found[0] == pytest.approx(0.5, rel=0.01)
    assert found[1] == pytest.approx(-2.0, rel=0.05)
    assert found[2] == 0.0  # what is multiplied by nothing cannot make up for anything


def _node(module: torch.fx.GraphModule, target: str) -> torch.fx.Node:
    return next(node for node in module.graph.nodes if node.target == target)


def test_a_layer_makes_up_for_what_its_inputs_tell_of_the_shortcut() -> None:
    """Inputs as in the dense network, a shortcut that lacks a linear function of them: the weights take it over."""
    generator = torch.Generator().manual_seed(0)
    layer = nn.Conv2d(6, 4, 1, bias=False)
    inputs, lost = torch.randn(200, 6, 3, 3, generator=generator), 0.5 * torch.randn(4, 6, generator=generator)
    lacking = torch.einsum("kc,ncpq->nkpq", lost, inputs)
    pair = sampled_pair(layer, torch.cat((inputs, inputs)), generator, lacking)
    weight = layer.weight.detach()
    (block,) = paired_problem(weight, pair, untouched(layer)).blocks
    wanted = weight.reshape(4, 6) + CORRECTION * lost
    assert torch.allclose(block.target[0].T, wanted[:, block.columns], atol=0.02)
    unrelated = sampled_pair(layer, torch.cat((inputs, inputs)), generator, lacking[torch.randperm(200)])
    (block,) = paired_problem(weight, unrelated, untouched(layer)).blocks
    assert torch.allclose(block.target[0].T, weight.reshape(4, 6)[:, block.columns], atol=0.05)
