"""The least-squares problem of one layer once some of its input channels are gone."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compress.profile import LayerProfile
from compress.solver import Factors, factorise
from plan.layer import Layer

BoolArray = NDArray[np.bool_]
MEAN_SHARE = 0.05
"""Share of the squared input mean that stays in the metric: shifts of the mean are repaired, but not for nothing."""
DEAD = 1e-7
"""Columns whose moment is below this share of the mean never see a signal and take no part."""


@dataclass(frozen=True)
class ProblemBlock:
    """Columns whose moments are known together.

    columns: int64 (d,), dense columns that take part, strongest first where there is one convolution group
    factors: of their moments, (G, d, d)
    target: float32 (G, d, K / G), the weights that the refitted ones should come near to; removed inputs are already
        made up for as well as these columns can
    """

    columns: Tensor
    factors: Factors
    target: Tensor

    def on(self, device: torch.device) -> ProblemBlock:
        """Returns the block with its tensors on a device."""
        own = self.factors
        factors = Factors(*(part.to(device) for part in (own.moment, own.damping, own.inverse, own.upper)))
        return ProblemBlock(self.columns.to(device), factors, self.target.to(device))

    def inverse_of(self, columns: Tensor) -> Tensor:
        """Returns the inverse of the moments of dense columns (n,), (n, n), where there is one convolution group.

        Columns that take no part are next to free to remove, and to bring back.
        """
        place = torch.full((int(max(columns.max(), self.columns.max())) + 1,), -1)
        place[self.columns] = torch.arange(len(self.columns))
        own = place[columns]
        absent = own < 0
        inverse = self.factors.inverse[0][own[:, None], own]
        inverse[absent] = 0.0
        inverse[:, absent] = 0.0
        inverse.diagonal()[absent] = inverse.diagonal().max() / DEAD
        return inverse


@dataclass(frozen=True)
class Problem:
    """All blocks of one layer for one set of kept inputs; columns in no block are dead or removed."""

    blocks: tuple[ProblemBlock, ...]

    @property
    def nbytes(self) -> int:
        """Memory taken, bytes."""
        return sum(4 * (3 * block.factors.moment.numel() + block.target.numel()) for block in self.blocks)

    def on(self, device: torch.device) -> Problem:
        """Returns the problem with its tensors on a device."""
        return Problem(tuple(block.on(device) for block in self.blocks))

    def for_outputs(self, rows: Tensor) -> Problem:
        """Returns the problem of some outputs (n,) of the one convolution group; of several groups, as it is."""
        own = [block.target if block.target.shape[0] > 1 else block.target[..., rows] for block in self.blocks]
        return Problem(tuple(replace(block, target=kept) for block, kept in zip(self.blocks, own, strict=True)))

    @property
    def product_flops(self) -> float:
        """Work of one product of all moments with the weights."""
        return 1.0 + sum(2.0 * block.factors.moment.numel() * block.target.shape[-1] for block in self.blocks)


def outputs_left(mask: Tensor, apart: bool) -> Tensor:
    """Returns the outputs (n,) of which a mask (K, D) leaves anything; all where not apart, or none is left."""
    left = np.flatnonzero(mask.numpy().any(1)) if apart else ()
    return torch.from_numpy(left) if len(left) else torch.arange(len(mask))


def metric_blocks(stats: LayerProfile, mean_share: float = MEAN_SHARE) -> tuple[Tensor, ...]:
    """Returns the moments in which errors of a layer count, blocks (G, d, d): second moments about the mean.

    5 % of the squared mean stays, see `MEAN_SHARE`; with a share of 1 they are the plain second moments.
    """
    blocks, start = [], 0
    for block in stats.moment_blocks:
        mean = torch.from_numpy(stats.input_mean[:, start : start + block.shape[-1]])
        blocks.append(torch.from_numpy(block) - (1 - mean_share) * mean[:, :, None] * mean[:, None, :])
        start += block.shape[-1]
    return tuple(blocks)


@dataclass(frozen=True)
class Metric:
    """Second moments about the mean of one convolution group, computed only where asked for.

    moment: (d, d) second moments; mean: (d,); mean_share: of the squared mean that stays.
    """

    moment: Tensor
    mean: Tensor
    mean_share: float

    def diagonal(self) -> Tensor:
        """Returns the diagonal, (d,)."""
        return self.moment.diagonal() - (1 - self.mean_share) * self.mean.square()

    def part(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Returns the chosen rows and columns."""
        chosen = self.moment.index_select(0, rows).index_select(1, columns)
        return chosen.addr_(self.mean[rows], self.mean[columns], alpha=self.mean_share - 1)


def build_problem(layer: Layer, stats: LayerProfile, kept_inputs: BoolArray, mean_share: float = MEAN_SHARE) -> Problem:
    """Returns the problem of a layer that keeps only some of its input channels, bool (C,)."""
    positions = layer.R * layer.S
    kept = torch.from_numpy(np.repeat(kept_inputs.reshape(layer.groups, -1), positions, axis=1))
    weight = torch.from_numpy(stats.weight).reshape(layer.groups, layer.K // layer.groups, -1).transpose(1, 2)
    if layer.groups > 1:
        (grouped,) = metric_blocks(stats, mean_share)
        return Problem((ProblemBlock(torch.arange(grouped.shape[-1]), factorise(grouped), weight.clone()),))
    blocks, start = [], 0
    for block in stats.moment_blocks:
        end = start + block.shape[-1]
        metric = Metric(torch.from_numpy(block[0]), torch.from_numpy(stats.input_mean[0, start:end]), mean_share)
        blocks.append(_block(metric, weight[0, start:end], kept[0, start:end], start))
        start = end
    return Problem(tuple(block for block in blocks if len(block.columns)))


def _block(metric: Metric, weight: Tensor, kept: Tensor, start: int) -> ProblemBlock:
    diagonal = metric.diagonal()
    alive = diagonal > DEAD * diagonal.mean()
    order = torch.argsort(diagonal, descending=True, stable=True)
    columns = order[(alive & kept)[order]]
    removed = order[(alive & ~kept)[order]]
    factors = factorise(metric.part(columns, columns)[None])
    target = weight[columns]
    if len(removed) and len(columns):
        target = target + factors.inverse[0] @ (metric.part(columns, removed) @ weight[removed])
    return ProblemBlock(columns + start, factors, target[None])
