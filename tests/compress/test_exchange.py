from itertools import combinations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from compress.exchange import exchanged, round_flops
from compress.prune import WeightShape, groups_of
from plan.scheme import NofM


def lost(mask: Tensor, target: Tensor, moment: Tensor) -> Tensor:
    """The error of every output after its best refit, by a solve of its own."""
    errors = []
    for kept, wanted in zip(mask, target.double(), strict=True):
        weight, metric = torch.zeros_like(wanted), moment.double()
        weight[kept] = torch.linalg.solve(metric[kept][:, kept], (metric @ wanted)[kept])
        errors.append((weight - wanted) @ metric @ (weight - wanted))
    return torch.stack(errors)


def layer(rows: int, columns: int, seed: int) -> tuple[Tensor, Tensor]:
    """Targets (rows, columns) and correlated moments."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(300, columns, generator=generator) @ torch.randn(columns, columns, generator=generator)
    return torch.randn(rows, columns, generator=generator), inputs.T @ inputs / 300 + 0.1 * torch.eye(columns)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 15), st.integers(1, 6))
def test_no_output_loses_more_or_keeps_another_number(seed: int, kept: int, rounds: int) -> None:
    target, moment = layer(5, 16, seed)
    mask = torch.rand(5, 16, generator=torch.Generator().manual_seed(seed)).argsort(1) < kept
    found = exchanged(mask, target, torch.linalg.inv(moment), torch.arange(16)[None], rounds)
    assert torch.equal(found.sum(1), mask.sum(1))
    assert bool((lost(found, target, moment) <= lost(mask, target, moment) * 1.001 + 1e-4).all())


def test_groups_keep_their_number_and_come_near_the_best_mask() -> None:
    target, moment = layer(8, 8, 3)
    mask = torch.tensor([True, True, False, False] * 2).repeat(8, 1)
    pools = torch.arange(8).reshape(2, 4)
    found = exchanged(mask, target, torch.linalg.inv(moment), pools, 20)
    assert bool((found.reshape(8, 2, 4).sum(2) == 2).all())
    pairs = list(combinations(range(4), 2))
    every = torch.zeros(len(pairs) ** 2, 8, dtype=torch.bool)
    for row, (first, second) in enumerate((a, b) for a in pairs for b in pairs):
        every[row, [*first, *(4 + place for place in second)]] = True
    best = torch.stack([lost(every, target[row].expand(len(every), -1), moment).min() for row in range(8)])
    before, after = lost(mask, target, moment).sum(), lost(found, target, moment).sum()
    assert float(after - best.sum()) < 0.1 * float(before - best.sum())


def test_a_promising_exchange_is_made() -> None:
    target = torch.tensor([[3.0, 1.0, 2.0]])
    found = exchanged(torch.tensor([[False, True, True]]), target, torch.eye(3), torch.arange(3)[None], 2)
    assert found.tolist() == [[True, False, True]]


def test_a_mask_that_keeps_everything_stays() -> None:
    target, moment = layer(2, 4, 0)
    mask = torch.ones(2, 4, dtype=torch.bool)
    assert torch.equal(exchanged(mask, target, torch.linalg.inv(moment), torch.arange(4)[None], 3), mask)


def test_work_grows_with_what_is_removed() -> None:
    mask = torch.ones(10, 100, dtype=torch.bool)
    assert round_flops(mask) == 0
    mask[:, :50] = False
    assert round_flops(mask) == 10 * 50**2 * 150


def test_groups_of_five_channels_with_two_positions() -> None:
    expected = [[0, 2, 4, 6], [1, 3, 5, 7], [8, 10, 10, 10], [9, 10, 10, 10]]
    assert np.array_equal(groups_of(NofM(2, 4), WeightShape(3, 5, 1, 2)), expected)


def test_ragged_groups_are_exchanged_within_themselves() -> None:
    shape = WeightShape(4, 5, 1, 2)
    pools = groups_of(NofM(2, 4), shape)
    target, moment = layer(4, 10, 1)
    mask = torch.ones(4, 10, dtype=torch.bool)
    mask[:, [0, 1, 2, 3]] = False
    found = exchanged(mask, target, torch.linalg.inv(moment), torch.from_numpy(pools), 10)
    assert bool(found[:, 8:].all())
    assert bool((found[:, :8].reshape(4, 4, 2).sum(1) == 2).all())
    assert not torch.equal(found, mask)
