import itertools

import torch
from torch import Tensor

from compress.problem import ProblemBlock
from compress.rounding import Effort, Piece, best_scale, round_pieces
from compress.solver import Grid, factorise, quadratic_error


def piece(seed: int, *, groups: int = 1, columns: int = 24, outputs: int = 5) -> Piece:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(groups, 200, columns, generator=generator) @ torch.randn(columns, columns, generator=generator)
    factors = factorise(inputs.transpose(1, 2) @ inputs / 200)
    target = torch.randn(groups, columns, outputs, generator=generator)
    free = (torch.rand(target.shape, generator=generator) < 0.8).float()
    return Piece(ProblemBlock(torch.arange(columns), factors, target), target * free, free)


def loss(pieces: list[Piece], grid: Grid, levels: list[Tensor]) -> Tensor:
    errors = [
        quadratic_error(found * grid.scale[:, None, :] - part.block.target, part.block.factors.moment)
        for part, found in zip(pieces, levels, strict=True)
    ]
    return torch.stack(errors).sum(0)


def test_the_best_scale_by_hand() -> None:
    factors = factorise(torch.eye(2)[None])
    target = torch.tensor([[[1.0, 1.0], [3.0, 0.0]]])
    levels = torch.tensor([[[1.0, -1.0], [2.0, 0.0]]])
    part = Piece(ProblemBlock(torch.arange(2), factors, target), target, torch.ones_like(target))
    found = best_scale([part], [levels], torch.tensor([[0.3, 0.4]]))
    # first output: (1 * 1 + 2 * 3) / (1 + 4); the second one's only level points away from its target
    assert torch.allclose(found, torch.tensor([[1.4, 0.4]]))
    turned = best_scale([part], [-levels], torch.tensor([[-0.3, -0.4]]))
    assert torch.allclose(turned, torch.tensor([[-1.4, -0.4]]))


def test_every_refit_of_the_scales_loses_less_or_the_same() -> None:
    for seed in range(5):
        pieces = [piece(seed, groups=2), piece(seed + 50, groups=2)]
        grid = Grid(torch.full((2, 5), 0.6), -4, 3)
        losses = [loss(pieces, *round_pieces(pieces, grid, Effort(1, scales))) for scales in range(4)]
        for before, after in itertools.pairwise(losses):
            assert (after <= before * (1 + 1e-5)).all()
        assert losses[3].sum() < 0.99 * losses[0].sum()


def test_levels_are_whole_numbers_on_the_grid_and_under_the_mask() -> None:
    part = piece(3)
    grid, (levels,) = round_pieces([part], Grid(torch.full((1, 5), 0.5), -8, 7), Effort(1, 2))
    assert torch.equal(levels, levels.round())
    assert levels.min() >= -8
    assert levels.max() <= 7
    assert torch.count_nonzero(levels * (1 - part.free)) == 0
    assert (grid.scale > 0).all()


def test_a_second_start_never_loses_more_for_any_output() -> None:
    pieces = [piece(7, groups=2), piece(57, groups=2)]
    grid = Grid(torch.full((2, 5), 0.6), -4, 3)
    one, two = (loss(pieces, *round_pieces(pieces, grid, Effort(1, 2, starts))) for starts in (1, 2))
    assert (two <= one * (1 + 1e-5)).all()
    assert two.sum() < one.sum()
