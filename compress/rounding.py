"""Weights of one layer brought onto a grid: in order, by descent, and with the scales that suit the levels found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from compress.problem import ProblemBlock
from compress.solver import Grid, descend, round_in_order


@dataclass(frozen=True)
class Piece:
    """The weights of one block of columns: its problem, first guess (G, d, K / G), and mask (G, d, K / G), 1 = free."""

    block: ProblemBlock
    weight: Tensor
    free: Tensor


@dataclass(frozen=True)
class Effort:
    """passes: of coordinate descent; scales: times that scales are refitted to the levels, a pass after each."""

    passes: int
    scales: int


def round_pieces(pieces: Sequence[Piece], grid: Grid, effort: Effort) -> tuple[Grid, list[Tensor]]:
    """Returns the grid that was settled on and the whole-numbered multiples of its scales, (G, d, K / G) per piece."""
    rounded = [round_in_order(piece.weight, piece.free, piece.block.factors.upper, grid) for piece in pieces]
    for _ in range(effort.passes):
        rounded = _descended(pieces, rounded, grid)
    for _ in range(effort.scales if pieces else 0):
        levels = [_levels(values, grid) for values in rounded]
        grid = replace(grid, scale=best_scale(pieces, levels, grid.scale))
        rounded = _descended(pieces, [found * grid.scale[:, None, :] for found in levels], grid)
    return grid, [_levels(values, grid) for values in rounded]


def best_scale(pieces: Sequence[Piece], levels: Sequence[Tensor], scale: Tensor) -> Tensor:
    """Returns the scale (G, K / G) of every output that loses least with the levels held: sum q H t / sum q H q.

    An output whose levels are all 0, or point away from its target, keeps the scale it has.
    """
    along, square = torch.zeros_like(scale), torch.zeros_like(scale)
    for piece, found in zip(pieces, levels, strict=True):
        curved = piece.block.factors.moment @ found
        along += (curved * piece.block.target).sum(1)
        square += (curved * found).sum(1)
    return torch.where((square > 0) & (along > 0), along / square.clamp_min(1e-30), scale)


def _descended(pieces: Sequence[Piece], rounded: Sequence[Tensor], grid: Grid) -> list[Tensor]:
    return [
        descend(values, piece.block.target, piece.free, piece.block.factors.moment, grid)
        for piece, values in zip(pieces, rounded, strict=True)
    ]


def _levels(values: Tensor, grid: Grid) -> Tensor:
    return (values / grid.scale[:, None, :]).round()
