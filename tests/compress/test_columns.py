"""Rounding by columns gives what the solver gives for several convolution groups; outputs stand for themselves."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from compress.problem import Problem, ProblemBlock, outputs_left
from compress.rounding import Effort, Piece, round_pieces
from compress.solver import Factors, Grid, descend, factorise, quadratic_error, round_in_order

COLUMNS, OUTPUTS = 150, 12
"""Columns of a block and a bit, several strips among them."""


def problem(columns: int = COLUMNS) -> tuple[Tensor, Tensor, Factors]:
    """Returns weights and a mask (1, D, K), and the factors of moments of inputs that go together."""
    generator = torch.Generator().manual_seed(3)
    inputs = torch.randn(4 * columns, columns, generator=generator) + torch.randn(4 * columns, 1, generator=generator)
    weight = 0.1 * torch.randn(1, columns, OUTPUTS, generator=generator)
    mask = (torch.rand(1, columns, OUTPUTS, generator=generator) < 0.7).float()
    return weight, mask, factorise((inputs.T @ inputs / len(inputs))[None])


def grid_of(weight: Tensor, zero_point: bool) -> Grid:
    """Returns levels of 4 bits."""
    zero = torch.arange(OUTPUTS).remainder(5).sub(2.0)[None] if zero_point else None
    return Grid(weight.abs().amax(1) / 7, -8, 7, zero)


def doubled(grid: Grid) -> Grid:
    """Returns the levels of two convolution groups alike."""
    zero = None if grid.zero_point is None else grid.zero_point.repeat(2, 1)
    return replace(grid, scale=grid.scale.repeat(2, 1), zero_point=zero)


@pytest.mark.parametrize("zero_point", [False, True])
@pytest.mark.parametrize("columns", [1, 32, 33, COLUMNS])
def test_one_group_is_rounded_as_two_alike_are(columns: int, zero_point: bool) -> None:
    weight, mask, factors = problem(columns)
    grid = grid_of(weight, zero_point)
    both = [each.repeat(2, 1, 1) for each in (weight, mask, factors.upper, factors.moment)]
    one = round_in_order(weight * mask, mask, factors.upper, grid)
    two = round_in_order(both[0] * both[1], both[1], both[2], doubled(grid))
    assert torch.allclose(one[0], two[0], atol=1e-6)
    again = descend(one, weight, mask, factors.moment, grid)
    assert torch.allclose(again[0], descend(two, both[0], both[1], both[3], doubled(grid))[0], atol=1e-6)


def test_a_descent_loses_less_and_keeps_mask_and_levels() -> None:
    weight, mask, factors = problem()
    grid = grid_of(weight, zero_point=False)
    rounded = round_in_order(weight * mask, mask, factors.upper, grid)
    found = descend(rounded, weight, mask, factors.moment, grid)
    lost = [quadratic_error(each - weight, factors.moment) for each in (rounded, found)]
    assert (lost[1] <= lost[0] * 1.0001).all()
    assert (found[mask == 0] == 0).all()
    levels = found / grid.scale[:, None]
    assert torch.allclose(levels, levels.round().clamp(-8, 7), atol=1e-4)


def test_starts_side_by_side_end_where_each_ends_by_itself() -> None:
    weight, mask, factors = problem()
    piece = Piece(ProblemBlock(torch.arange(COLUMNS), factors, weight), weight * mask, mask)
    grid = grid_of(weight, zero_point=False)
    alone = [round_pieces([piece], replace(grid, scale=grid.scale * factor), Effort(1, 2)) for factor in (1.0, 1.12)]
    lost = [quadratic_error(found[0] * own.scale[:, None] - weight, factors.moment) for own, found in alone]
    best, (levels,) = round_pieces([piece], grid, Effort(1, 2, 2))
    assert torch.allclose(
        quadratic_error(levels * best.scale[:, None] - weight, factors.moment), torch.minimum(*lost), rtol=1e-3
    )


def test_outputs_of_which_nothing_is_left_are_left_out() -> None:
    mask = torch.ones(4, 3, dtype=torch.bool)
    mask[1] = False
    assert outputs_left(mask, apart=True).tolist() == [0, 2, 3]
    assert outputs_left(mask, apart=False).tolist() == [0, 1, 2, 3]
    assert outputs_left(torch.zeros(2, 3, dtype=torch.bool), apart=True).tolist() == [0, 1]
    weight, _, factors = problem()
    whole = Problem((ProblemBlock(torch.arange(COLUMNS), factors, weight),))
    (part,) = whole.for_outputs(torch.tensor([0, 2])).blocks
    assert torch.equal(part.target, weight[..., [0, 2]])
