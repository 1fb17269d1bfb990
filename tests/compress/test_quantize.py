from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.fake_quant import FakeQuantiser, PlainQuantiser
from compress.quantize import (
    ActivationRange,
    activation_range,
    expected_error,
    fake_quantised,
    histogram,
    rounded,
    weight_levels,
    weight_scales,
)


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
