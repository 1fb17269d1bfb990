"""For every layer, method and exchange rate: the alternative that the additive table likes best."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from envs.problem import Problem
from envs.reward import HIGHEST_RATE, LOWEST_RATE, find_error_scale, linear_objective
from plan.assignment import FloatArray, IntArray

RATES = np.geomspace(LOWEST_RATE, HIGHEST_RATE, 25)
HINT_COLUMNS = ("objective", "error", "density", "weight_bits", "activation_bits")


@dataclass(frozen=True, eq=False)
class Hints:
    """Best cells of the additive table.

    Attributes:
        cells: float32 (25 rates, L, A, M, 5): differences of the linearised objective and of error / error_scale,
            then the three action values in [0, 1] that choose the cell; zeros where a method is illegal. The third
            axis is the inherited activation bits; it makes no difference to layers that choose their own.
        error_scale: error that a rate of 1 trades for the baseline objective, nats.
    """

    cells: NDArray[np.float32]
    error_scale: float

    def rate_rows(self, rates: FloatArray) -> IntArray:
        """Returns the nearest row of `cells` for exchange rates, (B,)."""
        decades = np.log(np.maximum(rates, LOWEST_RATE) / LOWEST_RATE) / np.log(HIGHEST_RATE / LOWEST_RATE)
        rows = np.minimum(np.rint(decades * (len(RATES) - 1)), len(RATES) - 1)
        return np.asarray(rows, dtype=np.int64)


def build_hints(problem: Problem) -> Hints:
    """Returns the best cells of all layers at 25 exchange rates."""
    space, scale = problem.space, find_error_scale(problem)
    methods, widths = len(space.methods), len(space.activation_bits)
    cells = np.zeros((len(RATES), space.n_layers, widths, methods, len(HINT_COLUMNS)), dtype=np.float32)
    slope = linear_objective(problem)
    for layer in range(space.n_layers):
        cells[:, layer] = _layer_hints(problem, layer, slope, scale)
    return Hints(cells, scale)


def _layer_hints(problem: Problem, layer: int, slope: FloatArray, scale: float) -> FloatArray:
    """Returns one layer's part, (25, A, M, 5)."""
    table, space = problem.table, problem.space
    objective = (table.costs[layer] @ slope)[table.family]
    legal = space.legal[layer][:, :, None] & space.weight_bits_legal[layer]
    error = np.where(legal, table.errors[layer], 0.0)[..., None] + table.activation_errors[layer]
    error = error / scale
    legal = np.broadcast_to(legal[..., None] & space.activation_bits_legal[layer], objective.shape)
    methods, _, _, widths = objective.shape
    decides = space.deciders.reader[layer] == layer
    flat = (methods, -1) if decides else (methods, objective[0, :, :, 0].size, widths)
    best = _best(np.where(legal, objective, np.inf).reshape(flat), error.reshape(flat))
    density, weight, activation = _unravel(best, objective.shape[1:], decides)
    if decides:
        density, weight, activation = (part[:, None] for part in (density, weight, activation))
    at = np.arange(methods)
    found = np.zeros((len(RATES), widths, methods, len(HINT_COLUMNS)))
    found[..., 0] = objective[at, density, weight, activation]
    found[..., 1] = error[at, density, weight, activation]
    for column, (mask, index) in enumerate(_positions(problem, layer, density, weight, activation), start=2):
        found[..., column] = _bin_centre(mask, index)
    found[..., ~space.legal[layer].any(axis=1), :] = 0.0
    return found


def _best(objective: FloatArray, error: FloatArray) -> IntArray:
    """Returns where objective + rate * error is least along axis 1, at every rate: int64 (25, M) or (25, M, A)."""
    first, second = objective.astype(np.float32), error.astype(np.float32)
    return np.stack([(first + np.float32(rate) * second).argmin(axis=1) for rate in RATES])


def _unravel(best: IntArray, shape: tuple[int, ...], decides: bool) -> tuple[IntArray, IntArray, IntArray]:
    """Returns density, weight and activation indices: (25, M) where the layer decides, else (25, A, M)."""
    if decides:
        density, weight, activation = np.unravel_index(best, shape)
        return density, weight, activation
    density, weight = np.unravel_index(best.transpose(0, 2, 1), shape[:2])
    return density, weight, np.broadcast_to(np.arange(shape[2])[None, :, None], density.shape)


def _positions(
    problem: Problem, layer: int, density: IntArray, weight: IntArray, activation: IntArray
) -> list[tuple[NDArray[np.bool_], IntArray]]:
    """Returns the legal masks (M, n) and the indices chosen, for densities, weight and activation bits."""
    space = problem.space
    methods = len(space.methods)
    weights = np.repeat(space.weight_bits_legal[layer][None], methods, axis=0)
    activations = np.repeat(space.activation_bits_legal[layer][None], methods, axis=0)
    return [(space.legal[layer], density), (weights, weight), (activations, activation)]


def _bin_centre(mask: NDArray[np.bool_], index: IntArray) -> FloatArray:
    """Returns the middle of the bin that `Space.from_unit` gives an index, for a mask (M, n) and indices (..., M)."""
    rank = np.cumsum(mask, axis=1) - 0.5
    at = np.arange(len(mask))
    return np.asarray(rank[at, index] / np.maximum(mask.sum(axis=1), 1))
