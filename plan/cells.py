"""Plans that differ from one in few layers: only what becomes of those layers is worked out.

A cell is one layer of one plan. What a cell becomes depends on the choices of the layers that reach it alone
(`plan.touching`), so all cells that are not listed here are those of the plan that the others are near to.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from plan.assignment import Assignment, FloatArray, IntArray
from plan.geometry import LayerChoice, assign
from plan.space import ACTIVATION_BITS, DENSITIES, DENSITY, METHOD, WEIGHT_BITS, Choices, Space


@dataclass(frozen=True, eq=False)
class Cells:
    """All layers of the plan that others are near to, then the cells of the others that may differ from it.

    Attributes:
        n_plans: of the others, B.
        layers: int64 (L + n,): 0 to L - 1, then the layer of every cell.
        plans: int64 (n,), the plan of every cell.
        choices: int16 (L + n, 4); read: (L + n,) indices of the activation bits at which the layers read.
        assignment: what the layers become, arrays (1, L + n).
    """

    n_plans: int
    layers: IntArray
    plans: IntArray
    choices: Choices
    read: IntArray
    assignment: Assignment

    def added(self, values: FloatArray) -> FloatArray:
        """Returns the sums over the layers of every plan, (B,), of values (..., L + n): as of whole rows."""
        flat = values.reshape(-1)
        n_layers = len(flat) - len(self.plans)
        rows = np.empty((self.n_plans, n_layers))
        rows[:] = flat[:n_layers]
        rows.reshape(-1)[self._places] = flat[n_layers:]
        return np.asarray(rows.sum(axis=1))

    @cached_property
    def _places(self) -> IntArray:
        """Where the cells stand in the rows of all plans, one after the other, (n,)."""
        n_layers = len(self.layers) - len(self.plans)
        return self.plans * n_layers + self.layers[n_layers:]


def cells_near(space: Space, choices: Choices, near: Choices) -> Cells:
    """Returns the cells of plans int16 (B, L, 4) that may differ from those of one plan, int16 (L, 4)."""
    plans = space.filled(np.concatenate((near[None], choices)))
    listed, pruned = _differing(space, plans)
    plan, layer = np.divmod(np.flatnonzero(listed), space.n_layers)
    kept_inputs, kept_outputs = _kept(space, plans, pruned, (plan, layer))
    own, read, written = _chosen(space, plans, plan, layer)
    choice = LayerChoice(
        methods=own[None, :, METHOD].astype(np.int64),
        densities=DENSITIES.take(own[None, :, DENSITY]),
        weight_bits=np.asarray(space.weight_bits).take(own[None, :, WEIGHT_BITS]),
        input_bits=np.asarray(space.activation_bits).take(read[None]),
        output_bits=written[None],
        kept_inputs=kept_inputs[None],
        kept_outputs=kept_outputs[None],
    )
    assignment = assign(space.geometry, space.capabilities.storage_formats, choice, layer)
    return Cells(len(choices), layer, plan[space.n_layers :] - 1, own, read, assignment)


def _differing(space: Space, plans: Choices) -> tuple[NDArray[np.bool_], tuple[IntArray, IntArray]]:
    """Returns the cells that may differ from the first plan's, bool (B, L), and plans and groups (m,) that may.

    All cells of the first plan are among them.
    """
    whole = np.ascontiguousarray(plans).view(np.int64)[..., 0]
    listed = whole != whole[0]
    plan, layer = np.divmod(np.flatnonzero(listed), space.n_layers)
    before, after = plans[0, layer], plans[plan, layer]
    pruned = (before[:, :WEIGHT_BITS] != after[:, :WEIGHT_BITS]).any(axis=1)
    filters, channels = (
        pruned & (flags.take(before[:, METHOD]) | flags.take(after[:, METHOD]))
        for flags in (space.geometry.is_filter, space.geometry.is_channel)
    )
    bits = before[:, ACTIVATION_BITS] != after[:, ACTIVATION_BITS]
    touching = space.touching
    for reach, rows in ((touching.bits, bits), (touching.filters, filters), (touching.channels, channels)):
        listed[reach.follow(plan[rows], layer[rows])] = True
    listed[0] = True
    deciders = space.deciders
    groups = deciders.producer_group[layer[filters]], deciders.consumer_group[layer[channels]]
    decided = np.concatenate((plan[filters], plan[channels])), np.concatenate(groups)
    return listed, decided


def _kept(
    space: Space, plans: Choices, pruned: tuple[IntArray, IntArray], cells: tuple[IntArray, IntArray]
) -> tuple[IntArray, IntArray]:
    """Returns the input features and output channels that cells keep, (n,) each.

    Args:
        space: of the plans.
        plans: the first of them is the one that the others are near to.
        pruned: plans and groups that may keep another number of channels than in the first plan.
        cells: their plans and layers.
    """
    changed = np.append(0, np.flatnonzero(np.bincount(pruned[0])))
    row = np.zeros(len(plans), dtype=np.int64)
    row[changed] = np.arange(len(changed))
    kept = np.repeat(space.kept_channels(plans[:1]), len(changed), axis=0)
    kept[row[pruned[0]], pruned[1]] = space.channels_of(plans, *pruned)
    inputs, outputs = space.kept_features(kept)
    at = row[cells[0]], cells[1]
    return inputs[at], outputs[at]


def _chosen(space: Space, plans: Choices, plan: IntArray, layer: IntArray) -> tuple[Choices, IntArray, IntArray]:
    """Returns cells' own choices int16 (n, 4), indices of the bits read (n,), and the bits written (n,)."""
    rows, began, deciders = plans.reshape(-1, plans.shape[2]), plan * space.n_layers, space.deciders
    writer = deciders.writer.take(layer)
    read = rows[began + deciders.reader.take(layer), ACTIVATION_BITS].astype(np.int64)
    wrote = rows[began + deciders.reader.take(writer), ACTIVATION_BITS]
    written = np.where(writer >= 0, np.asarray(space.activation_bits).take(wrote), space.baseline_bits)
    return rows.take(began + layer, axis=0), read, written
