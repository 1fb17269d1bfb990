"""For every layer, method, exchange rate and mix of costs: the alternative that the additive table likes best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from envs.conditions import MIXES, own_mix
from envs.problem import Problem
from envs.reward import HIGHEST_RATE, LOWEST_RATE, find_error_scale, linear_objective
from plan.assignment import FloatArray, IntArray
from plan.errors import InvalidValueError
from plan.space import ACTIVATION_BITS, UNDECIDED, Choices, Space

RATES = np.geomspace(LOWEST_RATE, HIGHEST_RATE, 25)
HINT_COLUMNS = ("objective", "error", "density", "weight_bits", "activation_bits")
LEAST_GAIN, TINY = 1e-3, 1e-12


@dataclass(frozen=True, eq=False)
class Hints:
    """Best cells of the additive table, in rows: 25 rates for the problem's own mix, then 25 for each further one.

    Attributes:
        cells: float32 (rows, L, A, M, 5): differences of the linearised objective and of error / error_scale, then the
            three action values in [0, 1] that choose the cell; zeros where a method is illegal. The third axis is the
            inherited activation bits; it makes no difference to layers that choose their own.
        to_come: float64 (rows, L + 1, 4): what a layer's best cell and those of all later layers change in energy_uj,
            latency_ms, size_kb and error; the first is what the whole hinted plan really changes.
        gains: float64 (rows,), what all layers' best hints gain of the objective and the weighted error.
        error_scales: float64 (rows,), errors that a rate of 1 trades for the baseline objective, nats.
        first_row: int64 (len(MIXES),), where a mix's rows begin, -1 for mixes that were left out.
    """

    cells: NDArray[np.float32]
    to_come: FloatArray
    gains: FloatArray
    error_scales: FloatArray
    first_row: IntArray

    @property
    def error_scale(self) -> float:
        """The error scale of the problem's own mix."""
        return float(self.error_scales[0])

    def rows(self, rates: FloatArray, mixes: IntArray) -> IntArray:
        """Returns the nearest row for exchange rates and mixes, (B,).

        Raises:
            InvalidValueError: a mix that these hints were not built for.
        """
        first = self.first_row[mixes]
        if (first < 0).any():
            built = np.flatnonzero(self.first_row >= 0).tolist()
            raise InvalidValueError(f"the observer was built for mixes {built} alone; name others in build_observer")
        decades = np.log(np.maximum(rates, LOWEST_RATE) / LOWEST_RATE) / np.log(HIGHEST_RATE / LOWEST_RATE)
        steps = np.minimum(np.rint(decades * (len(RATES) - 1)), len(RATES) - 1)
        return np.asarray(first + steps, dtype=np.int64)


def build_hints(problem: Problem, mixes: Sequence[int] = ()) -> Hints:
    """Returns the best cells of all layers at 25 exchange rates, for the problem's own mix and others asked for."""
    own = own_mix(problem)
    asked = (own, *sorted(set(mixes) - {own}))
    parts = [_mix_hints(problem, mix) for mix in asked]
    first = np.full(len(MIXES), -1, dtype=np.int64)
    first[list(asked)] = len(RATES) * np.arange(len(asked))
    return Hints(
        cells=np.concatenate([part.cells for part in parts]),
        to_come=np.concatenate([part.to_come for part in parts]),
        gains=np.concatenate([part.gains for part in parts]),
        error_scales=np.repeat([part.error_scale for part in parts], len(RATES)),
        first_row=first,
    )


@dataclass(frozen=True, eq=False)
class _MixHints:
    """What `Hints` holds, for one mix."""

    cells: NDArray[np.float32]
    to_come: FloatArray
    gains: FloatArray
    error_scale: float


def _mix_hints(problem: Problem, mix: int) -> _MixHints:
    space, slope = problem.space, linear_objective(problem, MIXES[mix])
    scale = find_error_scale(problem, slope)
    methods, widths = len(space.methods), len(space.activation_bits)
    cells = np.zeros((len(RATES), space.n_layers, widths, methods, len(HINT_COLUMNS)), dtype=np.float32)
    plans = np.full((len(RATES), space.n_layers, 4), UNDECIDED, dtype=np.int16)
    gains = np.zeros(len(RATES))
    for layer in range(space.n_layers):
        found = _layer_hints(problem, layer, slope, scale)
        cells[:, layer] = found.cells
        gains -= found.score.min(axis=1)
        plans[:, layer] = _hinted_choice(space, plans, layer, found)
    return _MixHints(cells, _to_come(problem, plans), np.maximum(gains, LEAST_GAIN), scale)


def _hinted_choice(space: Space, plans: Choices, layer: int, found: _LayerHints) -> Choices:
    """Returns the best legal choice of a layer for plans decided so far, int16 (25, L, 4), as (25, 4)."""
    taken = np.where(space.method_mask(plans, layer), found.score, np.inf).argmin(axis=1)
    rows = np.arange(len(taken))
    choice = np.column_stack((taken, *(part[rows, taken] for part in found.indices))).astype(np.int16)
    reader = int(space.deciders.reader[layer])
    if reader != layer:
        choice[:, ACTIVATION_BITS] = plans[:, reader, ACTIVATION_BITS]
    return choice


def _to_come(problem: Problem, plans: Choices) -> FloatArray:
    """Returns what the layers from each on change in hinted plans, (25, L + 1, 4).

    The table's sum over layers is scaled to what the whole plan really changes, layers that share channels included.
    """
    layers = range(problem.space.n_layers)
    changes = np.stack([problem.table.differences(layer, plans[:, layer]) for layer in layers], axis=1)
    metrics = problem.evaluate(plans)
    real = np.column_stack((metrics.costs(), metrics.error)) - problem.table.start
    summed = changes.sum(axis=1)
    usable = np.abs(summed) > TINY * np.abs(problem.table.start)
    share = np.where(usable, real / np.where(usable, summed, 1.0), 1.0)
    to_come = np.zeros((len(plans), len(layers) + 1, 4))
    to_come[:, :-1] = np.cumsum((changes * share[:, None])[:, ::-1], axis=1)[:, ::-1]
    return to_come


@dataclass(frozen=True, eq=False)
class _LayerHints:
    """One layer's part: cells (25, A, M, 5), and at the start's activation bits, for every rate and method, the score.

    score: (25, M), infinite where a method is illegal; indices: density, weight and activation bits, (25, M) each.
    """

    cells: FloatArray
    score: FloatArray
    indices: tuple[IntArray, IntArray, IntArray]


def _layer_hints(problem: Problem, layer: int, slope: FloatArray, scale: float) -> _LayerHints:
    """Returns one layer's part."""
    table, space = problem.table, problem.space
    objective = (table.costs[layer] @ slope)[table.family]
    legal = space.legal[layer][:, :, None] & space.weight_bits_legal[layer]
    error = np.where(legal, table.errors[layer], 0.0)[..., None] + table.activation_errors[layer]
    legal = np.broadcast_to(legal[..., None] & space.activation_bits_legal[layer], objective.shape)
    methods, _, _, widths = objective.shape
    decides = space.deciders.reader[layer] == layer
    flat = (methods, -1) if decides else (methods, objective[0, :, :, 0].size, widths)
    best = _best(np.where(legal, objective, np.inf).reshape(flat), (error / scale).reshape(flat))
    density, weight, activation = _unravel(best, objective.shape[1:], decides)
    if decides:
        density, weight, activation = (part[:, None] for part in (density, weight, activation))
    at = np.arange(methods)
    found = np.zeros((len(RATES), widths, methods, len(HINT_COLUMNS)))
    found[..., 0] = objective[at, density, weight, activation]
    found[..., 1] = error[at, density, weight, activation] / scale
    for column, (mask, index) in enumerate(_positions(problem, layer, density, weight, activation), start=2):
        found[..., column] = _bin_centre(mask, index)
    usable = space.legal[layer].any(axis=1)
    found[..., ~usable, :] = 0.0
    here = 0 if decides else int(space.start[layer, ACTIVATION_BITS])
    score = np.where(usable, found[:, here, :, 0] + RATES[:, None] * found[:, here, :, 1], np.inf)
    return _LayerHints(found, score, (density[:, here], weight[:, here], activation[:, here]))


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
