"""The additive table: what one layer's alternative saves and spoils while all other layers stay at the start.

Sums over layers are exact where layers do not interact; `Problem.evaluate` is the truth everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from envs.accuracy.error_table import ErrorTable
from envs.pareto import undominated
from hwmodels.accelerator import Accelerator, Cost
from plan.assignment import Assignment, FloatArray, IntArray
from plan.geometry import LayerChoice, assign
from plan.layer import Network
from plan.scheme import STRUCTURED
from plan.space import ACTIVATION_BITS, DENSITIES, DENSITY, METHOD, WEIGHT_BITS, Choices, Space

COLUMNS = ("energy_uj", "latency_ms", "size_kb", "error")


@dataclass(frozen=True)
class Alternatives:
    """Choices of one layer: int16 (n, 4), and their differences against the start, float64 (n, 4) as `COLUMNS`."""

    choices: Choices
    metrics: FloatArray

    def __len__(self) -> int:
        return len(self.choices)


@dataclass(frozen=True, eq=False)
class AdditiveTable:
    """Differences against `space.start`, for one layer changed at a time.

    A layer that reads its tensor after another layer is priced at the bits that it inherits: its differences are
    against itself at the start's method and weight bits with those inherited bits, whose own effect stands in the
    first reader's cells. Filter and channel cells include all members of the group.

    Attributes:
        costs: float64 (L, N, 32, W, A, 3), energy_uj, latency_ms, size_kb per granularity; 0 where illegal.
        errors: float64 (L, M, 32, W), infinite where illegal; activation_errors: float64 (L, A).
        family: int64 (M,), the granularity of every method (methods that differ in their ranking cost the same).
        start: float64 (4,), the start plan's totals as `COLUMNS`.
    """

    space: Space
    costs: FloatArray
    errors: FloatArray
    activation_errors: FloatArray
    family: IntArray
    start: FloatArray
    _alternatives: dict[int, Alternatives] = field(default_factory=dict, init=False, repr=False)

    def differences(self, layer: int, choices: Choices) -> FloatArray:
        """Returns energy, latency, size and error differences of one layer's choices int16 (B, 4), as (B, 4)."""
        method, density, weight, activation = choices.T.astype(np.int64)
        out = np.empty((len(choices), 4))
        out[:, :3] = self.costs[layer, self.family[method], density, weight, activation]
        out[:, 3] = self.errors[layer, method, density, weight] + self.activation_errors[layer, activation]
        return out

    def with_errors(self, errors: ErrorTable) -> AdditiveTable:
        """Returns the table of the same costs with other errors."""
        space, layers, began = self.space, np.arange(self.space.n_layers), self.space.start.T
        own = errors.weight[layers, began[METHOD], began[DENSITY], began[WEIGHT_BITS]]
        read = errors.activation[layers, space.start[space.deciders.reader, ACTIVATION_BITS]]
        return replace(
            self,
            errors=errors.weight - own[:, None, None, None],
            activation_errors=errors.activation - read[:, None],
            start=np.append(self.start[:3], own.sum() + read.sum()),
        )

    def totals(self, choices: Choices) -> FloatArray:
        """Returns the additive estimate of plans, int16 (B, L, 4), as (B, 4) energy, latency, size and error."""
        filled = self.space.filled(choices).copy()
        filled[..., ACTIVATION_BITS] = filled[:, self.space.deciders.reader, ACTIVATION_BITS]
        parts = [self.differences(layer, filled[:, layer]) for layer in range(self.space.n_layers)]
        return np.asarray(self.start + np.sum(parts, axis=0))

    def alternatives(self, layer: int) -> Alternatives:
        """Returns the legal choices of a layer but for rankings that another of the same granularity beats.

        Rankings cost the same and differ in their errors alone; the first of equals stays. Inherited activation bits
        stand at the start's.
        """
        if layer not in self._alternatives:
            self._alternatives[layer] = self._listed(layer)
        return self._alternatives[layer]

    def _listed(self, layer: int) -> Alternatives:
        space = self.space
        reads_first = space.deciders.reader[layer] == layer
        here = np.arange(len(space.activation_bits)) == space.start[layer, ACTIVATION_BITS]
        bits = space.activation_bits_legal[layer] if reads_first else here
        legal = space.legal[layer][:, :, None] & space.weight_bits_legal[layer] & self._best_rankings(layer)
        choices = np.argwhere(legal[..., None] & bits).astype(np.int16)
        return Alternatives(choices, self.differences(layer, choices))

    def _best_rankings(self, layer: int) -> NDArray[np.bool_]:
        """Returns which methods, at every density and weight bits, have the least error of their family, (M, 32, W)."""
        best = np.zeros(self.errors.shape[1:], dtype=np.bool_)
        for family in np.unique(self.family):
            members = np.flatnonzero(self.family == family)
            winner = members[self.errors[layer, members].argmin(axis=0)]
            np.put_along_axis(best, winner[None], True, axis=0)
        return best

    def undominated(self, layer: int, slope: FloatArray) -> Alternatives:
        """Returns the choices of a layer that no other beats in both the linear objective and the error.

        A choice of `channel` beats none of the others: it is masked where the group's producer took `filter`.

        Args:
            layer: index of the layer.
            slope: of the objective by energy, latency and size, (3,).
        """
        every = self.alternatives(layer)
        objective, error = every.metrics[:, :3] @ slope, every.metrics[:, 3]
        channel = self.space.geometry.is_channel[every.choices[:, METHOD]]
        free = np.flatnonzero(~channel)
        best = undominated(objective, error)
        kept = np.union1d(best[channel[best]], free[undominated(objective[free], error[free])])
        return Alternatives(every.choices[kept], every.metrics[kept])


def build_table(network: Network, accelerator: Accelerator, space: Space, errors: ErrorTable) -> AdditiveTable:
    """Returns the additive table of a space: every cell priced by the accelerator, errors taken over."""
    granularities = list(dict.fromkeys(method.granularity for method in space.methods))
    family = np.array([granularities.index(method.granularity) for method in space.methods])
    shape = space.n_layers, len(granularities), len(DENSITIES), len(space.weight_bits), len(space.activation_bits), 3
    costs = np.zeros(shape)
    for layer in range(space.n_layers):
        pricing = _Pricing(network, accelerator, space, layer, family)
        rows, cells = pricing.cells()
        costs[layer, family[rows[:, METHOD]], rows[:, DENSITY]] = cells
    start = accelerator.evaluate(network, space.resolve(space.start[None]))
    totals = np.array((start.energy_uj[0], start.latency_ms[0], start.size_kb[0], 0.0))
    priced = AdditiveTable(space, costs, errors.weight, errors.activation, family, totals)
    return priced.with_errors(errors)


@dataclass(frozen=True)
class _Pricing:
    """Prices the cells of one layer: the layer itself, and what its choice does to others."""

    network: Network
    accelerator: Accelerator
    space: Space
    layer: int
    family: IntArray

    def cells(self) -> tuple[Choices, FloatArray]:
        """Returns (method, density) rows int16 (n, 2) and their differences (n, W, A, 3)."""
        rows = self._rows()
        structured = self._structured(rows)
        affected = np.concatenate(([-1], np.flatnonzero(structured)))
        others = self._others(rows, affected)
        totals = self._own(rows) + others[np.where(structured, np.cumsum(structured), 0)][:, None]
        began = self.space.start[self.layer]
        at = np.flatnonzero((rows == began[[METHOD, DENSITY]]).all(axis=1))[0]
        if self.space.deciders.reader[self.layer] == self.layer:
            return rows, totals - totals[at, began[WEIGHT_BITS], began[ACTIVATION_BITS]]
        return rows, totals - totals[at, began[WEIGHT_BITS]]

    def _rows(self) -> Choices:
        legal = self.space.legal[self.layer].copy()
        first = np.array([np.flatnonzero(self.family == family)[0] for family in self.family])
        legal[first != np.arange(len(first))] = False
        return np.argwhere(legal).astype(np.int16)

    def _structured(self, rows: Choices) -> NDArray[np.bool_]:
        kinds = np.array([method.granularity.kind in STRUCTURED for method in self.space.methods])
        chosen: NDArray[np.bool_] = kinds[rows[:, METHOD]]
        return chosen

    def _plans(self, rows: Choices) -> Choices:
        """Returns the start plan with this layer's method and density replaced, int16 (n, L, 4)."""
        plans = np.repeat(self.space.start[None], len(rows), axis=0)
        plans[:, self.layer, :WEIGHT_BITS] = rows
        return plans

    def _own(self, rows: Choices) -> FloatArray:
        """Returns the layer's own cost, (n, W, A, 3)."""
        space, layer = self.space, self.layer
        resolved = space.resolve(self._plans(rows))
        widths = len(space.weight_bits), len(space.activation_bits)
        grid = np.indices((len(rows), *widths)).reshape(3, -1)
        row = grid[0]

        def column(values: IntArray | FloatArray) -> NDArray[np.generic]:
            return np.asarray(values)[:, None]

        choice = LayerChoice(
            methods=rows[row, METHOD, None].astype(np.int64),
            densities=DENSITIES[rows[row, DENSITY, None]],
            weight_bits=np.asarray(space.weight_bits)[grid[1], None],
            input_bits=np.asarray(space.activation_bits)[grid[2], None],
            output_bits=resolved.output_bits[row, layer, None],
            kept_inputs=resolved.kept_inputs[row, layer, None],
            kept_outputs=resolved.kept_outputs[row, layer, None],
        )
        assigned = assign(space.geometry, space.capabilities.storage_formats, choice, [layer])
        cost = self.accelerator.evaluate(self.network, assigned, [layer])
        return _columns(cost).reshape(len(rows), *widths, 3)

    def _others(self, rows: Choices, affected: IntArray) -> FloatArray:
        """Returns what all other layers that a choice touches cost, (1 + structured rows, A, 3).

        Entry 0 leaves the layer at the start's method; `affected` lists the rows that change others.
        """
        space = self.space
        reader = space.deciders.reader[self.layer]
        touched = self._touched(bool(len(affected) > 1))
        widths = len(space.activation_bits)
        if not len(touched):
            return np.zeros((len(affected), widths, 3))
        plans = np.concatenate((space.start[None], self._plans(rows[affected[1:]])))
        plans = np.repeat(plans, widths, axis=0)
        plans[:, reader, ACTIVATION_BITS] = np.tile(np.arange(widths), len(affected))
        assigned = _subset(space.resolve(plans), touched)
        cost = self.accelerator.evaluate(self.network, assigned, touched.tolist())
        return _columns(cost).reshape(len(affected), widths, 3)

    def _touched(self, structured: bool) -> IntArray:
        deciders, layer = self.space.deciders, self.layer
        reader = deciders.reader[layer]
        found = (deciders.reader == reader) | (deciders.writer == reader)
        if structured:
            for group in {int(deciders.producer_group[layer]), int(deciders.consumer_group[layer])} - {-1}:
                members = self.network.groups[group]
                found[list(members.producers + members.consumers)] = True
        found[layer] = False
        return np.flatnonzero(found)


def _subset(assignment: Assignment, layers: IntArray) -> Assignment:
    """Returns the columns of some layers."""
    fields = {name: getattr(assignment, name)[:, layers] for name in assignment.__dataclass_fields__}
    return replace(assignment, **fields)


def _columns(cost: Cost) -> FloatArray:
    """Returns totals over the layers asked for as columns, (B, 3)."""
    return np.stack((cost.energy_uj, cost.latency_ms, cost.size_kb), axis=1)
