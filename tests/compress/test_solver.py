import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from compress.criteria import norm_scores, set_costs
from compress.prune import WeightShape, partition
from compress.quantize import weight_levels, weight_scales
from compress.solver import Grid, descend, factorise, masked_least_squares, quadratic_error, round_in_order
from plan.scheme import Element, Filter


def problem(seed: int, *, columns: int = 24, rows: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(200, columns, generator=generator) @ torch.randn(columns, columns, generator=generator)
    return (inputs.T @ inputs / 200)[None], torch.randn(1, columns, rows, generator=generator)


@settings(max_examples=40)
@given(seed=st.integers(0, 30), bits=st.integers(2, 6))
def test_ordered_rounding_beats_plain_rounding_and_descent_never_hurts(seed: int, bits: int) -> None:
    moment, weight = problem(seed, rows=64)
    factors = factorise(moment)
    low, high = weight_levels(bits)
    grid = Grid(weight_scales(weight[0].T, bits, torch.ones(1, 24))[None], low, high)
    free = torch.ones_like(weight)
    ordered = round_in_order(weight, free, factors.upper, grid)
    better = descend(ordered, weight, free, factors.moment, grid)
    plain_error = quadratic_error(grid.round(weight) - weight, factors.moment).sum()
    ordered_error = quadratic_error(ordered - weight, factors.moment).sum()
    descended_error = quadratic_error(better - weight, factors.moment).sum()
    assert ordered_error < plain_error
    assert descended_error <= ordered_error * (1 + 1e-5)
    assert torch.equal(grid.round(better), better)


@given(seed=st.integers(0, 30))
def test_masked_least_squares_meets_the_normal_equations(seed: int) -> None:
    moment, weight = problem(seed, columns=10)
    moment = factorise(moment).moment
    mask = (torch.rand(weight.shape, generator=torch.Generator().manual_seed(seed)) > 0.4).float()
    found = masked_least_squares(weight, mask, moment, start=weight, iterations=60)
    for row in range(weight.shape[2]):
        free = mask[0, :, row] > 0
        target = moment[0, free] @ weight[0, :, row]
        exact = torch.zeros_like(weight)
        exact[0, free, row] = torch.linalg.solve(moment[0][free][:, free], target)
        least, reached = (quadratic_error(w - weight, moment)[0, row] for w in (exact, found))
        assert reached <= 1.01 * least + 1e-3 * quadratic_error(weight, moment)[0, row]
    assert not found[mask == 0].any()


def test_removal_costs_on_a_diagonal_by_hand() -> None:
    moment = torch.diag(torch.tensor([4.0, 1.0, 9.0]))
    weight = torch.tensor([[1.0, 3.0, -0.5]])
    costs = set_costs(weight, torch.linalg.inv(moment), moment, np.array([0, 1, 2]), 3)
    assert torch.allclose(costs, torch.tensor([[4.0, 9.0, 2.25]]))
    pairs = set_costs(weight, torch.linalg.inv(moment), moment, np.array([0, 1, 0]), 2)
    assert torch.allclose(pairs, torch.tensor([[6.25, 9.0]]))


def test_removal_cost_is_the_error_after_refitting() -> None:
    moment, weight = problem(3, columns=6, rows=1)
    factors = factorise(moment)
    costs = set_costs(weight[0].T, factors.inverse[0], factors.moment[0], np.arange(6) // 2, 3)
    mask = torch.ones_like(weight)
    mask[0, 2:4] = 0
    refitted = masked_least_squares(weight, mask, factors.moment, start=weight, iterations=60)
    assert torch.allclose(costs[0, 1], quadratic_error(refitted - weight, factors.moment)[0, 0], rtol=1e-3)


def test_norms_of_units_are_means() -> None:
    weight = torch.tensor([[1.0, -3.0], [0.0, 2.0]])
    shape = WeightShape(2, 2, 1, 1)
    assert norm_scores(weight, partition(Filter(), shape), "l1").tolist() == [[2.0], [1.0]]
    assert norm_scores(weight, partition(Filter(), shape), "l2").tolist() == [[5.0], [2.0]]
    assert norm_scores(weight, partition(Element(), shape), "l1").tolist() == [[1.0, 3.0], [0.0, 2.0]]


def test_singular_moments_are_damped_until_they_factorise() -> None:
    vector = torch.ones(1, 5, 1)
    factors = factorise(vector @ vector.transpose(1, 2))
    assert torch.allclose(factors.upper[0].T @ factors.upper[0], factors.inverse[0], rtol=1e-3, atol=1e-3)
