"""Shapes of layers and sizes of removable units as arrays, and the step from indices to an `Assignment`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plan.assignment import Assignment, FloatArray, IntArray
from plan.layer import Layer, Network
from plan.scheme import (
    GRANULARITIES,
    BlockColumn,
    BlockPunched,
    BlockRow,
    Channel,
    Dense,
    Filter,
    Granularity,
    Kernel,
    Method,
    NofM,
    Pattern,
    own_density,
)
from plan.storage import stored_bits

KINDS = tuple(GRANULARITIES)


def unit_block(granularity: Granularity) -> tuple[int, int, bool]:
    """Returns (filters, channels, per position) of one removable unit of an unstructured granularity.

    Element: (1, 1, True); a kernel, or the choice of its pattern: (1, 1, False); block-punched f x c: (f, c, True); a
    row in a p x q block: (1, q, True); a column in it: (p, 1, True).
    """
    match granularity:
        case BlockPunched(filters, channels):
            return filters, channels, True
        case BlockRow(_, columns):
            return 1, columns, True
        case BlockColumn(rows, _):
            return rows, 1, True
        case _:
            return 1, 1, not isinstance(granularity, Kernel | Pattern)


def units_in(granularity: Granularity, layer: Layer) -> int:
    """Returns how many removable units a whole layer has at a granularity; n:m counts its groups of m."""
    inputs = layer.C // layer.groups
    match granularity:
        case Dense():
            return 1
        case Channel():
            return sum(segment.channels for segment in layer.inputs)
        case Filter():
            return layer.K
        case NofM(_, m):
            return layer.K * layer.R * layer.S * -(-inputs // m)
        case _:
            filters, channels, per_position = unit_block(granularity)
            return -(-layer.K // filters) * -(-inputs // channels) * (layer.R * layer.S if per_position else 1)


@dataclass(frozen=True)
class Geometry:
    """Constants per layer (L,) and per method (M,), int64 unless said; own densities are 0 where there are several."""

    inputs: IntArray
    outputs: IntArray
    positions: IntArray
    conv_groups: IntArray
    depthwise: NDArray[np.bool_]
    kind: IntArray
    block_filters: IntArray
    block_channels: IntArray
    per_position: NDArray[np.bool_]
    n_keep: IntArray
    m: IntArray
    own_density: FloatArray
    is_filter: NDArray[np.bool_]
    is_channel: NDArray[np.bool_]

    @classmethod
    def of(cls, network: Network, methods: Sequence[Method]) -> Geometry:
        """Returns the constants of a network's layers and of a list of methods."""
        layers = network.layers
        blocks = [unit_block(method.granularity) for method in methods]
        fractions = [
            (method.granularity.n_keep, method.granularity.m) if isinstance(method.granularity, NofM) else (0, 0)
            for method in methods
        ]
        kinds = [method.granularity.kind for method in methods]
        return cls(
            inputs=np.array([layer.C for layer in layers]),
            outputs=np.array([layer.K for layer in layers]),
            positions=np.array([layer.R * layer.S for layer in layers]),
            conv_groups=np.array([layer.groups for layer in layers]),
            depthwise=np.array([layer.depthwise for layer in layers]),
            kind=np.array([KINDS.index(kind) for kind in kinds]),
            block_filters=np.array([block[0] for block in blocks]),
            block_channels=np.array([block[1] for block in blocks]),
            per_position=np.array([block[2] for block in blocks]),
            n_keep=np.array([fraction[0] for fraction in fractions]),
            m=np.array([fraction[1] for fraction in fractions]),
            own_density=np.array([own_density(method.granularity) or 0.0 for method in methods]),
            is_filter=np.array([kind == "filter" for kind in kinds]),
            is_channel=np.array([kind == "channel" for kind in kinds]),
        )


@dataclass(frozen=True)
class LayerChoice:
    """What a batch of plans chose for the layers asked for, arrays (B, n): method index, density, and bits."""

    methods: IntArray
    densities: FloatArray
    weight_bits: IntArray
    input_bits: IntArray
    output_bits: IntArray
    kept_inputs: IntArray
    kept_outputs: IntArray


def assign(geometry: Geometry, formats: Sequence[str], choice: LayerChoice, layers: Sequence[int]) -> Assignment:
    """Returns what the layers become: densities within one unit, and the bits that storage takes.

    Args:
        geometry: constants of the network and of the methods.
        formats: storage formats of the hardware.
        choice: arrays (B, n) for the n layers asked for.
        layers: n layer indices.
    """
    index = np.asarray(layers)
    groups = np.where(geometry.depthwise[index], choice.kept_outputs, geometry.conv_groups[index])
    inputs = choice.kept_inputs / groups
    positions = geometry.positions[index]
    units, density = _units_and_density(geometry, choice, inputs, positions)
    total = choice.kept_outputs * inputs * positions
    stored = stored_bits(
        formats,
        KINDS,
        geometry.kind[choice.methods],
        n=total,
        kept=total * density,
        bits=choice.weight_bits.astype(np.float64),
        units=units,
        outputs=choice.kept_outputs.astype(np.float64),
        m=geometry.m[choice.methods].astype(np.float64),
    )
    return Assignment(
        kept_inputs=choice.kept_inputs,
        kept_outputs=choice.kept_outputs,
        weight_density=density,
        granularity=geometry.kind[choice.methods],
        stored_bits=stored.total_bits,
        index_bits=stored.index_bits,
        weight_bits=choice.weight_bits,
        input_bits=choice.input_bits,
        output_bits=choice.output_bits,
    )


def _units_and_density(
    geometry: Geometry, choice: LayerChoice, inputs: FloatArray, positions: IntArray
) -> tuple[FloatArray, FloatArray]:
    """Returns removable units and the kept fraction that a whole number of units gives, arrays (B, n)."""
    method = choice.methods
    blocks = np.ceil(choice.kept_outputs / geometry.block_filters[method])
    blocks = blocks * np.ceil(inputs / geometry.block_channels[method])
    units = blocks * np.where(geometry.per_position[method], positions, 1)
    whole = ((geometry.kind == 0) | geometry.is_filter | geometry.is_channel)[method]
    density = np.maximum(np.rint(choice.densities * units), 1.0) / units
    density = np.where(geometry.own_density[method] > 0, geometry.own_density[method], density)
    ragged = geometry.m[method] > 0
    m, n_keep, columns = geometry.m[method[ragged]], geometry.n_keep[method[ragged]], inputs[ragged]
    density[ragged] = (np.floor(columns / m) * n_keep + np.minimum(columns % m, n_keep)) / columns
    return units, np.where(whole, 1.0, density)
