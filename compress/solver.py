"""Least squares on the input moments of a layer: masked solution, rounding in GPTQ order, coordinate descent.

Everything minimises sum_k (w_k - t_k) H (w_k - t_k)^T over a matrix of rows, for G independent groups of rows at once.
Matrices are held transposed, (G, D, K): one column of the weights is then contiguous.

Source: Frantar et al., GPTQ (arXiv 2210.17323) and SparseGPT (arXiv 2301.00774) for the order of updates; the masked
least squares is solved by conjugate gradients instead, which needs no inverse per row.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from compress.columns import Levels, descend_columns, round_columns
from plan.errors import InvalidValueError

DAMPING = 0.01
"""Share of the mean second moment that is added to all of them. With 0.003 the divergence of ResNet-20 from its dense
outputs is the same within 2 % (10,000 images, five draws), with 0.001 that of MobileNetV2 with 70 % of weights larger.
"""
TOLERANCE = 1e-4
BLOCK = 128


@dataclass(frozen=True)
class Factors:
    """The damped moments of a layer and what follows from them.

    moment: (G, D, D) damped; damping: (G,), what was added to the diagonal; inverse: (G, D, D); upper: (G, D, D) with
    inverse = upper^T upper.
    """

    moment: Tensor
    damping: Tensor
    inverse: Tensor
    upper: Tensor


@dataclass(frozen=True)
class Grid:
    """Quantisation levels of a matrix: scale (G, K), levels low to high, less a zero point (G, K) if there is one."""

    scale: Tensor
    low: int
    high: int
    zero_point: Tensor | None = None

    @property
    def levels(self) -> Levels:
        """The same for the one convolution group that there is."""
        zero_point = None if self.zero_point is None else self.zero_point[0]
        return Levels.of(self.scale[0], self.low, self.high, zero_point)

    def round(self, column: Tensor) -> Tensor:
        """Returns values (G, K) or (G, D, K) on the grid."""
        same = column.dim() == self.scale.dim()
        scale = self.scale if same else self.scale[:, None, :]
        if self.zero_point is None:
            return (column / scale).round_().clamp_(self.low, self.high).mul_(scale)
        zero = self.zero_point if same else self.zero_point[:, None, :]
        return (column / scale).round_().add_(zero).clamp_(self.low, self.high).sub_(zero).mul_(scale)


def factorise(moment: Tensor) -> Factors:
    """Returns the factors of moments (G, D, D), damped by 1 % of the mean diagonal, ten times more on each retry.

    Raises:
        InvalidValueError: the moments are not finite.
    """
    size = moment.shape[-1]
    mean = moment.diagonal(dim1=-2, dim2=-1).mean(-1).clamp_min(1e-20)
    damping = DAMPING
    while True:
        damped = moment.clone()
        damped.diagonal(dim1=-2, dim2=-1).add_((damping * mean)[:, None])
        lower, failed = torch.linalg.cholesky_ex(damped)
        if not bool(failed.any()):
            inverse = torch.cholesky_inverse(lower)
            upper, failed = torch.linalg.cholesky_ex(inverse, upper=True)
            if not bool(failed.any()):
                return Factors(damped, damping * mean, inverse, upper)
        if damping > 1e3:
            raise InvalidValueError(f"moments of {size} inputs cannot be factorised: weights or images are not finite")
        damping *= 10


def masked_least_squares(target: Tensor, mask: Tensor, moment: Tensor, *, start: Tensor, iterations: int) -> Tensor:
    """Returns the weights that are zero outside the mask and lose least, by preconditioned conjugate gradients.

    Args:
        target: (G, D, K) weights to come near to
        mask: (G, D, K) float, 1 = free, 0 = held at zero
        moment: (G, D, D) symmetric positive definite
        start: (G, D, K) first guess
        iterations: steps taken at most; fewer when the residual has fallen to a hundredth
    """
    diagonal = moment.diagonal(dim1=-2, dim2=-1)[..., None]
    solution = start * mask
    residual = (moment @ (target - solution)).mul_(mask)
    direction = residual / diagonal
    slope = (residual * direction).sum(1, keepdim=True)
    enough = TOLERANCE * slope
    for _ in range(iterations):
        curved = (moment @ direction).mul_(mask)
        step = slope / (direction * curved).sum(1, keepdim=True).clamp_min(1e-30)
        solution.add_(direction * step)
        residual.sub_(curved.mul_(step))
        scaled = residual / diagonal
        slope_new = (residual * scaled).sum(1, keepdim=True)
        if bool((slope_new <= enough).all()):
            break
        direction = scaled.add_(direction.mul_(slope_new / slope.clamp_min(1e-30)))
        slope = slope_new
    return solution


def round_in_order(weight: Tensor, mask: Tensor, upper: Tensor, grid: Grid) -> Tensor:
    """Returns the weights on the grid and under the mask, each column's error moved onto the columns after it.

    Args:
        weight: (G, D, K)
        mask: (G, D, K) float, 1 = free
        upper: (G, D, D) of `Factors`
        grid: the levels of every output
    """
    if _by_columns(weight):
        return round_columns(weight[0], mask[0], upper[0], grid.levels)[None]
    work = weight.clone()
    size = weight.shape[1]
    for start in range(0, size, BLOCK):
        end = min(start + BLOCK, size)
        block, triangle = work[:, start:end], upper[:, start:end, start:end]
        errors = torch.empty_like(block)
        for i in range(end - start):
            column = block[:, i].clone()
            kept = grid.round(column).mul_(mask[:, start + i])
            error = column.sub_(kept).div_(triangle[:, i, i, None])
            block[:, i] = kept
            errors[:, i] = error
            if i + 1 < end - start:
                block[:, i + 1 :].baddbmm_(triangle[:, i, i + 1 :, None], error[:, None, :], alpha=-1)
        if end < size:
            work[:, end:].baddbmm_(upper[:, start:end, end:].transpose(1, 2), errors, alpha=-1)
    return work


def descend(weight: Tensor, target: Tensor, mask: Tensor, moment: Tensor, grid: Grid) -> Tensor:
    """Returns the weights after one pass of coordinate descent over the columns; the error never grows.

    Every column in turn takes the best value on the grid while all others stay.
    Source: Behdin et al., QuantEase (arXiv 2309.01885), algorithm 1, with updates gathered per block of columns.
    """
    if _by_columns(weight):
        return descend_columns(weight[0], target[0], mask[0], moment[0], grid.levels)[None]
    work = weight.clone()
    gradient = moment @ (work - target)
    diagonal = moment.diagonal(dim1=-2, dim2=-1)
    for start in range(0, weight.shape[1], BLOCK):
        end = min(start + BLOCK, weight.shape[1])
        local, before = gradient[:, start:end].clone(), work[:, start:end].clone()
        square = moment[:, start:end, start:end]
        for i in range(end - start):
            column = work[:, start + i]
            best = grid.round(column - local[:, i] / diagonal[:, start + i, None]).mul_(mask[:, start + i])
            change = best - column
            local.baddbmm_(square[:, :, i, None], change[:, None, :])
            work[:, start + i] = best
        gradient.baddbmm_(moment[:, :, start:end], work[:, start:end] - before)
    return work


def _by_columns(weight: Tensor) -> bool:
    """Returns whether weights (G, D, K) are one convolution group of single precision on the processor."""
    return len(weight) == 1 and weight.device.type == "cpu" and weight.dtype == torch.float32


def quadratic_error(difference: Tensor, moment: Tensor) -> Tensor:
    """Returns d_k H d_k^T of every row, (G, K), for differences (G, D, K) and moments (G, D, D)."""
    return (difference * (moment @ difference)).sum(1)
