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
    """Constants per layer (L,) and per method (M,); own densities are 0 where there are several.

    Whole numbers that are only multiplied and divided stand as float64: mixed products take three times as long.
    """

    inputs: IntArray
    outputs: IntArray
    positions: FloatArray
    conv_groups: FloatArray
    depthwise: NDArray[np.bool_]
    kind: IntArray
    block_filters: FloatArray
    block_channels: FloatArray
    per_position: NDArray[np.bool_]
    n_keep: FloatArray
    m: FloatArray
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
            positions=np.array([layer.R * layer.S for layer in layers], dtype=np.float64),
            conv_groups=np.array([layer.groups for layer in layers], dtype=np.float64),
            depthwise=np.array([layer.depthwise for layer in layers]),
            kind=np.array([KINDS.index(kind) for kind in kinds]),
            block_filters=np.array([block[0] for block in blocks], dtype=np.float64),
            block_channels=np.array([block[1] for block in blocks], dtype=np.float64),
            per_position=np.array([block[2] for block in blocks]),
            n_keep=np.array([fraction[0] for fraction in fractions], dtype=np.float64),
            m=np.array([fraction[1] for fraction in fractions], dtype=np.float64),
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


def assign(
    geometry: Geometry, formats: Sequence[str], choice: LayerChoice, layers: Sequence[int] | IntArray
) -> Assignment:
    """Returns what the layers become: densities within one unit, and the bits that storage takes.

    Args:
        geometry: constants of the network and of the methods.
        formats: storage formats of the hardware.
        choice: arrays (B, n) for the n layers asked for.
        layers: n layer indices.
    """
    index = np.asarray(layers)
    outputs = choice.kept_outputs.astype(np.float64)
    inputs = choice.kept_inputs / np.where(geometry.depthwise[index], outputs, geometry.conv_groups[index])
    positions = geometry.positions[index]
    units, density = _units_and_density(geometry, choice, inputs, outputs, positions)
    total = outputs * inputs * positions
    kind = geometry.kind.take(choice.methods)
    stored = stored_bits(
        formats,
        KINDS,
        kind,
        n=total,
        kept=total * density,
        bits=choice.weight_bits.astype(np.float64),
        units=units,
        outputs=outputs,
        m=geometry.m.take(choice.methods),
    )
    return Assignment(
        kept_inputs=choice.kept_inputs,
        kept_outputs=choice.kept_outputs,
        weight_density=density,
        granularity=kind,
        stored_bits=stored.total_bits,
        index_bits=stored.index_bits,
        weight_bits=choice.weight_bits,
        input_bits=choice.input_bits,
        output_bits=choice.output_bits,
    )


def _units_and_density(
    geometry: Geometry, choice: LayerChoice, inputs: FloatArray, outputs: FloatArray, positions: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Returns removable units and the kept fraction that a whole number of units gives, arrays (B, n)."""
    method = choice.methods
    blocks = np.ceil(outputs / geometry.block_filters.take(method))
    blocks = blocks * np.ceil(inputs / geometry.block_channels.take(method))
    units = blocks * np.where(geometry.per_position.take(method), positions, 1.0)
    whole = ((geometry.kind == 0) | geometry.is_filter | geometry.is_channel).take(method)
    density = np.maximum(np.rint(choice.densities * units), 1.0) / units
    own = geometry.own_density.take(method)
    np.copyto(density, own, where=own > 0)
    m = geometry.m.take(method)
    ragged = m > 0
    m, n_keep, columns = m[ragged], geometry.n_keep.take(method[ragged]), inputs[ragged]
    density[ragged] = (np.floor(columns / m) * n_keep + np.minimum(columns % m, n_keep)) / columns
    np.copyto(density, 1.0, where=whole)
    return units, density
