"""A hardware known only by measurements: a table of latencies and energies that is interpolated, not extrapolated.

The table holds, for each layer shape and granularity, a full grid over kept inputs and outputs, density, weight bits
and input bits; between its points cost is linear in each of them. Channel and filter pruning show as fewer inputs and
outputs of a dense layer. Bits of the output are not part of the table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from hwmodels.accelerator import Cost, FloatArray, Layers, Named, Nameplate, check_view
from hwmodels.assignments import check_shapes
from hwmodels.bounds import Bounds
from plan.assignment import Assignment
from plan.errors import InvalidValueError
from plan.layer import Layer, Network
from plan.scheme import GRANULARITIES, STRUCTURED

SHAPE = ("C", "K", "R", "S", "P", "Q", "stride", "groups")
AXES = ("kept_inputs", "kept_outputs", "density", "weight_bits", "input_bits")
COSTS = ("latency_ms", "energy_uj")
OUTSIDE = ("refuse", "nearest")
CLOCK_MHZ = 1000.0
"""Times are counted in ns."""
KINDS = tuple(GRANULARITIES)
Key = tuple[tuple[int, ...], str]


@dataclass(frozen=True)
class Grid:
    """Measurements of one layer shape and granularity: ascending values per axis, and costs over all of them.

    latency_ms, energy_uj: float64, one dimension per axis of `AXES`
    """

    axes: tuple[FloatArray, ...]
    latency_ms: FloatArray
    energy_uj: FloatArray


class Lut(Named):
    """Prices layers by a table of measurements. Version history: 1 (first)."""

    def __init__(self, nameplate: Nameplate, grids: Mapping[Key, Grid], *, outside: str) -> None:
        super().__init__(nameplate)
        self.grids = dict(grids)
        self.outside = outside

    def evaluate(
        self, network: Network, assignment: Assignment, layers: Layers | None = None, view: str | None = None
    ) -> Cost:
        """Returns the measured cost of the given layers; see `hwmodels.accelerator.Accelerator`.

        The same in both views. Energy is not split by level and stands under "static".

        Raises:
            InvalidValueError: also for a layer that was not measured, or outside of what was when that is refused.
        """
        check_view(view or self.energy_view)
        chosen = np.arange(len(network.layers)) if layers is None else np.asarray(layers, dtype=np.int64)
        check_shapes(assignment, len(chosen))
        shape = assignment.weight_density.shape
        latency, energy = np.zeros(shape), np.zeros(shape)
        for index in np.unique(chosen):
            columns = np.flatnonzero(chosen == index)
            granularity = assignment.granularity[:, columns]
            for kind in np.unique(granularity):
                rows, at = np.nonzero(granularity == kind)
                cells = rows, columns[at]
                found = self._layer(network.layers[index], KINDS[kind], _point(assignment, cells))
                latency[cells], energy[cells] = found
        return Cost(
            energy_parts_pj={("static", "none"): energy * 1e6},
            latency_parts_cycles={
                "compute": latency * (CLOCK_MHZ * 1e3),
                "load": np.zeros(shape),
                "stall": np.zeros(shape),
            },
            size_bits=np.array(assignment.stored_bits, dtype=np.float64),
            clock_mhz=CLOCK_MHZ,
        )

    def bounds(self, network: Network, assignment: Assignment) -> Bounds:
        """Returns the measured latency: a table does not say what held the layer up."""
        return Bounds({"measured": self.evaluate(network, assignment).latency_cycles}, None)

    def _layer(self, layer: Layer, kind: str, point: tuple[FloatArray, ...]) -> tuple[FloatArray, FloatArray]:
        """Returns latency (n,), ms, and energy (n,), uJ, of n plans of one layer."""
        measured_kind = "dense" if kind in STRUCTURED else kind
        grid = self.grids.get((tuple(getattr(layer, name) for name in SHAPE), measured_kind))
        if grid is None:
            raise InvalidValueError(
                f"layer '{layer.name}' of shape {layer.shape()} with {measured_kind} weights was not measured on "
                f"'{self.name}'; add it to the table or price another network"
            )
        inside = tuple(self._inside(layer, *column) for column in zip(AXES, grid.axes, point, strict=True))
        corners = [_neighbours(axis, values) for axis, values in zip(grid.axes, inside, strict=True)]
        return _interpolated(grid.latency_ms, corners), _interpolated(grid.energy_uj, corners)

    def _inside(self, layer: Layer, name: str, axis: FloatArray, values: FloatArray) -> FloatArray:
        outside = (values < axis[0]) | (values > axis[-1])
        if self.outside == "refuse" and outside.any():
            raise InvalidValueError(
                f"layer '{layer.name}': {name} {values[outside][0]:g} is outside of what was measured on "
                f"'{self.name}' ({axis[0]:g} to {axis[-1]:g}); measure it, or set outside = \"nearest\" in [table]"
            )
        return np.clip(values, axis[0], axis[-1])


def _point(assignment: Assignment, cells: tuple[NDArray[np.int64], NDArray[np.int64]]) -> tuple[FloatArray, ...]:
    """Returns the values of `AXES` at cells given by their rows and columns, each (n,)."""
    columns = (
        assignment.kept_inputs,
        assignment.kept_outputs,
        assignment.weight_density,
        assignment.weight_bits,
        assignment.input_bits,
    )
    return tuple(values[cells].astype(np.float64) for values in columns)


def _neighbours(axis: FloatArray, values: FloatArray) -> tuple[NDArray[np.int64], NDArray[np.int64], FloatArray]:
    """Returns the positions of the axis below and above each value, and the share of the upper one."""
    above = np.clip(np.searchsorted(axis, values), 0, axis.size - 1)
    below = np.maximum(above - 1, 0)
    width = axis[above] - axis[below]
    share = np.where(width > 0.0, (values - axis[below]) / np.where(width > 0.0, width, 1.0), 0.0)
    return below, above, share


def _interpolated(
    table: FloatArray, corners: Sequence[tuple[NDArray[np.int64], NDArray[np.int64], FloatArray]]
) -> FloatArray:
    """Returns the multilinear interpolation, (n,)."""
    total = np.zeros(corners[0][2].shape)
    for upper in product((False, True), repeat=len(corners)):
        chosen = zip(corners, upper, strict=True)
        weights = [share if up else 1.0 - share for (_, _, share), up in chosen]
        at = tuple(above if up else below for (below, above, _), up in zip(corners, upper, strict=True))
        total += np.prod(weights, axis=0) * table[at]
    return total
