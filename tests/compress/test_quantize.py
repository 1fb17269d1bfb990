from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.fake_quant import FakeQuantiser, PlainQuantiser
from compress.quantize import (
    RANGES,
    ActivationQuantiser,
    ActivationRange,
    WeightQuantiser,
    activation_range,
    expected_error,
    fake_quantised,
    histogram,
    rounded,
    weight_grid,
    weight_levels,
    weight_scales,
)
from plan.errors import InvalidValueError


@given(bits=st.integers(2, 8), seed=st.integers(0, 50))
def test_weights_fall_on_at_most_two_to_the_bits_levels(bits: int, seed: int) -> None:
    weight = torch.randn(6, 40, generator=torch.Generator().manual_seed(seed))
    low, high = weight_levels(bits)
    scale = weight_scales(weight, bits, torch.ones(1, 40))
    levels = (weight / scale[:, None]).round().clamp(low, high)
    assert (scale > 0).all()
    assert all(len(row.unique()) <= 2**bits for row in levels)


def test_scale_minimises_the_weighted_error_against_the_largest_magnitude() -> None:
    weight = torch.tensor([[0.1, -0.12, 0.09, 0.11, 0.3]])
    ignored = torch.tensor([[1.0, 1.0, 1.0, 1.0, 0.0]])
    high = weight_levels(3)[1]
    assert float(weight_scales(weight, 3, ignored)) < 0.06
    assert float(weight_scales(weight, 3, torch.ones(1, 5))) == pytest.approx(0.3 / high, rel=0.1)


def test_a_negative_scale_puts_the_extra_level_where_it_is_of_use() -> None:
    weight = torch.tensor([[4.0, -3.0, 2.0, 1.0], [-4.0, 3.0, 2.0, 1.0]])
    everywhere = torch.ones(1, 4)
    low, high = weight_levels(3)
    scale = weight_scales(weight, 3, everywhere, signed=True)
    assert (scale < 0).tolist() == [True, False]
    one_sided = weight_scales(weight, 3, everywhere)
    errors = [
        (((weight / found[:, None]).round().clamp(low, high) * found[:, None] - weight) ** 2).sum(1)
        for found in (scale, one_sided)
    ]
    assert errors[0][0] < 0.5 * errors[1][0]
    assert errors[0][1] == errors[1][1]
    assert torch.equal(weight_scales(weight, 4, everywhere, signed=True), weight_scales(weight, 4, everywhere))


@settings(max_examples=30)
@given(bits=st.integers(2, 8), signed=st.booleans(), seed=st.integers(0, 50))
def test_activation_levels_hold_zero_and_fit_the_width(bits: int, signed: bool, seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=500).astype(np.float32)
    values = values if signed else np.abs(values)
    limits = (min(0.0, float(values.min())), float(values.max()))
    chosen = activation_range(histogram(values, np.ones_like(values), limits=limits), bits)
    result = rounded(np.append(values, 0.0).astype(np.float64), chosen)
    assert result[-1] == 0
    assert len(np.unique(result)) <= 2**bits
    assert signed or chosen.zero_point == 0


def test_more_bits_cost_less() -> None:
    values = np.abs(np.random.default_rng(0).normal(size=4000)).astype(np.float32)
    found = histogram(values, np.ones_like(values), limits=(0.0, float(values.max())))
    errors = [expected_error(found, activation_range(found, bits)) for bits in range(2, 9)]
    assert all(more < fewer for fewer, more in pairwise(errors))


def test_two_bits_round_by_hand() -> None:
    chosen = ActivationRange(2, 0.5, 1)
    values = torch.tensor([-3.0, -0.4, 0.2, 0.3, 0.9, 7.0])
    assert fake_quantised(values, chosen).tolist() == [-0.5, -0.5, 0.0, 0.5, 1.0, 1.0]


@given(bits=st.integers(2, 8), zero_point=st.integers(0, 3), seed=st.integers(0, 30))
def test_plain_operations_round_alike(bits: int, zero_point: int, seed: int) -> None:
    chosen = ActivationRange(bits, float(np.float32(0.0371)), zero_point)
    quantiser = FakeQuantiser()
    quantiser.chosen = chosen
    values = torch.randn(400, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(quantiser(values), PlainQuantiser(chosen)(values))


def test_tensor_of_zeros_has_a_usable_range() -> None:
    zeros = np.zeros(10, dtype=np.float32)
    chosen = activation_range(histogram(zeros, np.ones_like(zeros), limits=(0.0, 0.0)), 4)
    assert chosen.scale > 0
    assert rounded(np.zeros(3), chosen).tolist() == [0, 0, 0]


@pytest.mark.parametrize("ranges", RANGES)
@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_every_weight_quantiser_stays_on_its_levels(ranges: str, per_channel: bool, symmetric: bool, bits: int) -> None:
    weight = torch.randn(5, 60, generator=torch.Generator().manual_seed(2)) + 0.3
    grid = weight_grid(weight, bits, torch.ones(1, 60), WeightQuantiser(per_channel, symmetric, ranges))
    levels = (weight / grid.scale[:, None]).round().clamp(grid.low[:, None], grid.high[:, None])
    stored = levels + grid.zero_point[:, None]
    low, high = weight_levels(bits)
    assert low <= stored.min()
    assert stored.max() <= high
    assert bool((grid.zero_point == 0).all()) == symmetric
    assert (len(grid.scale.unique()) == 1) == (not per_channel)
    assert (low <= grid.zero_point).all()  # zero is a level
    assert (grid.zero_point <= high).all()


def test_ranges_of_weights_by_hand() -> None:
    weight = torch.tensor([[-0.2, 0.0, 0.1, 0.4, 7.0]])
    ones = torch.ones(1, 5)
    assert float(weight_grid(weight, 4, ones, WeightQuantiser(ranges="min-max")).scale) == pytest.approx(1.0)
    half = WeightQuantiser(ranges="percentile", percentile=75)
    assert float(weight_grid(weight, 4, ones, half).scale) == pytest.approx(0.4 / 7)
    shifted = weight_grid(weight, 4, ones, WeightQuantiser(symmetric=False, ranges="min-max"))
    assert float(shifted.scale) == pytest.approx(7.2 / 15)
    assert float(shifted.zero_point) == -8  # -8 + 0.2 / 0.48, rounded


def test_least_error_is_never_more_than_of_the_other_ranges() -> None:
    weight = torch.randn(4, 200, generator=torch.Generator().manual_seed(3)) ** 3

    def error(ranges: str) -> float:
        grid = weight_grid(weight, 4, torch.ones(1, 200), WeightQuantiser(ranges=ranges))
        scale = grid.scale[:, None]
        return float(
            ((weight / scale).round().clamp(grid.low[:, None], grid.high[:, None]) * scale - weight).square().sum()
        )

    assert error("minimum-error") <= min(error("min-max"), error("percentile"))


def test_ranges_of_activations_by_hand() -> None:
    values = np.concatenate((np.linspace(-1, 3, 4001), [9.0])).astype(np.float32)
    found = histogram(values, np.ones_like(values), limits=(-1.0, 9.0), bins=10_000)
    whole = activation_range(found, 8, ActivationQuantiser(ranges="min-max"))
    assert whole.scale == pytest.approx(10 / 255, rel=1e-3)
    cut = activation_range(found, 8, ActivationQuantiser(ranges="percentile", percentile=99.9))
    assert cut.scale == pytest.approx(4 / 255, rel=0.01)
    even = activation_range(found, 8, ActivationQuantiser(symmetric=True, ranges="min-max"))
    assert (even.scale, even.zero_point) == (pytest.approx(9 / 127, rel=1e-3), 128)
    assert rounded(np.zeros(1), even).item() == 0


@pytest.mark.parametrize(("ranges", "percentile"), [("best", 99.0), ("percentile", 40.0), ("percentile", 101.0)])
def test_unknown_ranges_are_refused(ranges: str, percentile: float) -> None:
    for kind in (WeightQuantiser, ActivationQuantiser):
        with pytest.raises(InvalidValueError, match="allowed"):
            kind(ranges=ranges, percentile=percentile)
