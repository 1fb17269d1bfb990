"""Row-stationary dataflow: what a mapping moves between the levels of memory and how many cycles it takes.

Logical sets of R rows x e columns of processing elements compute e output rows; r x t sets run side by side on r
groups of channels and t groups of filters; every element interleaves p filters and q channels. One pass covers q * r
channels, p * t filters, n images and e output rows. The global buffer keeps the inputs of n * q * r channels and the
partial sums of n * m output planes; partial sums never leave the chip.

Source: Chen et al., ISCA 2016 and JSSC 52(1) 2017 (mapping parameters and capacities); latency bounds by the
partial-sum and input buses were derived from JSSC Tables V and VI.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from hwmodels.geometry import GroupShape

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class PeArray:
    """Sizes of the array, its scratchpads (words per processing element), global buffer and buses (words per cycle).

    preload_words: filters of the next pass that are held beside inputs and partial sums
    """

    rows: int
    columns: int
    ifmap_spad_words: int
    filter_spad_words: int
    psum_spad_words: int
    buffer_words: int
    preload_words: int
    word_bits: int
    ifmap_words_per_cycle: float
    filter_words_per_cycle: float
    psum_words_per_cycle: float

    @property
    def elements(self) -> int:
        """Processing elements in all."""
        return self.rows * self.columns

    def bands(self, strip_rows: IntArray) -> IntArray:
        """Returns the vertical segments into which a set of so many columns is folded."""
        return -(-strip_rows // self.columns)

    def sets(self, strip_rows: IntArray, kernel_rows: int) -> IntArray:
        """Returns how many sets fit beside each other; 0 where not even one does."""
        bands = self.bands(strip_rows)
        beside = np.where(bands == 1, self.columns // np.minimum(strip_rows, self.columns), 1)
        return (self.rows // kernel_rows) // bands * beside


@dataclass(frozen=True)
class Mapping:
    """The parameters of a row-stationary mapping, named as in the Eyeriss papers.

    e output rows of a strip, n images, m filters whose partial sums the buffer keeps, p filters and q channels per
    element, r and t replicated sets.
    """

    e: int
    n: int
    m: int
    p: int
    q: int
    r: int
    t: int


@dataclass(frozen=True)
class Mappings:
    """Many mappings, int64 arrays of one shape."""

    e: IntArray
    n: IntArray
    m: IntArray
    p: IntArray
    q: IntArray
    r: IntArray
    t: IntArray

    @classmethod
    def of(cls, mapping: Mapping) -> Mappings:
        """Returns one mapping as arrays of shape (1,)."""
        return cls(*(np.array([getattr(mapping, field.name)]) for field in fields(cls)))

    def at(self, position: int) -> Mapping:
        """Returns the mapping at a position of the flat arrays."""
        return Mapping(*(int(getattr(self, field.name).flat[position]) for field in fields(self)))


@dataclass(frozen=True)
class Tiling:
    """What a mapping fixes whatever channels are left; float64 arrays of one shape.

    channels_per_pass, filters_per_pass, filters_in_buffer: q * r, p * t and m
    set_rows: rows over which partial sums are added in the array, R * r
    filter_reads: how often every weight is read, strips x groups of images
    filter_deliveries: words that the network delivers per weight
    input_pixels: unpadded pixels read per channel for all images, overlap between strips included
    input_deliveries: pixels delivered to elements per channel, times the replicated filter sets t
    compute_cycles, stall_cycles, load_cycles: of one (channels, filters) pass, summed over strips and images
    filters_per_element: p
    psum_bus_cycles, ifmap_bus_cycles, filter_load_cycles: what the buses need for such a pass; the last is part of
        load_cycles
    """

    channels_per_pass: FloatArray
    filters_per_pass: FloatArray
    filters_in_buffer: FloatArray
    set_rows: FloatArray
    filter_reads: FloatArray
    filter_deliveries: FloatArray
    input_pixels: FloatArray
    input_deliveries: FloatArray
    compute_cycles: FloatArray
    stall_cycles: FloatArray
    load_cycles: FloatArray
    filters_per_element: FloatArray
    psum_bus_cycles: FloatArray
    ifmap_bus_cycles: FloatArray
    filter_load_cycles: FloatArray


def tile(array: PeArray, shape: GroupShape, mappings: Mappings) -> Tiling:
    """Returns the tiling of every mapping of one shape; arrays have the mappings' shape."""
    strips, read_rows = _strips(shape, mappings.e)
    image_groups = -(-shape.images // mappings.n)
    cycles = _pass_cycles(array, shape, mappings, strips)
    return Tiling(
        channels_per_pass=(mappings.q * mappings.r).astype(np.float64),
        filters_per_pass=(mappings.p * mappings.t).astype(np.float64),
        filters_in_buffer=mappings.m.astype(np.float64),
        set_rows=(shape.R * mappings.r).astype(np.float64),
        filter_reads=(strips * image_groups).astype(np.float64),
        filter_deliveries=(shape.P * image_groups).astype(np.float64),
        input_pixels=(shape.images * read_rows * shape.columns).astype(np.float64),
        input_deliveries=(shape.images * shape.rows_read(1) * shape.columns * mappings.t).astype(np.float64),
        compute_cycles=cycles.compute * image_groups,
        stall_cycles=cycles.stall * image_groups,
        load_cycles=cycles.load * image_groups,
        filters_per_element=mappings.p.astype(np.float64),
        psum_bus_cycles=cycles.psum_bus * image_groups,
        ifmap_bus_cycles=cycles.ifmap_bus * image_groups,
        filter_load_cycles=cycles.filter_load * image_groups,
    )


def _strips(shape: GroupShape, strip_rows: IntArray) -> tuple[IntArray, IntArray]:
    """Returns per mapping the number of strips and the unpadded input rows read by all of them."""
    rows = np.zeros(int(strip_rows.max(initial=0)) + 1, dtype=np.int64)
    for e in np.flatnonzero(np.bincount(strip_rows)):
        rows[e] = shape.rows_read(int(e))
    return -(-shape.P // strip_rows), rows[strip_rows]


@dataclass(frozen=True)
class _PassCycles:
    """Cycles of one pass for n images, summed over the strips; see `Tiling`."""

    compute: FloatArray
    stall: FloatArray
    load: FloatArray
    psum_bus: FloatArray
    ifmap_bus: FloatArray
    filter_load: FloatArray


def _pass_cycles(array: PeArray, shape: GroupShape, at: Mappings, strips: IntArray) -> _PassCycles:
    """Returns the cycles of one pass over all strips: full ones and a shorter last one."""
    compute = at.n * at.p * at.q * shape.S * shape.Q
    filters = at.p * at.t * at.q * at.r * (shape.R * shape.S) / array.filter_words_per_cycle
    stall, load, psums, inputs = (np.zeros(at.e.shape) for _ in range(4))
    for count, e in ((strips - 1, at.e), (1, shape.P - (strips - 1) * at.e)):
        rows = shape.rows_padded(e)
        psum_bus = at.n * at.p * at.t * e * shape.Q / array.psum_words_per_cycle
        ifmap_bus = at.n * at.q * at.r * rows * shape.columns_padded / array.ifmap_words_per_cycle
        stall += count * np.maximum(0.0, np.maximum(psum_bus, ifmap_bus) - compute)
        window = at.q * at.r * rows * shape.S / array.ifmap_words_per_cycle
        load += count * (filters + window + at.p * at.t * e / array.psum_words_per_cycle)
        psums += count * psum_bus
        inputs += count * ifmap_bus
    return _PassCycles((compute * strips).astype(np.float64), stall, load, psums, inputs, filters * strips)


@dataclass(frozen=True)
class Counts:
    """Words moved and operations done, float64 arrays that broadcast to (B, L) or (candidates,).

    weight_words is the stored tensor, before re-reads; the caller charges `filter_reads` copies of it.
    """

    macs: FloatArray
    weight_words: FloatArray
    filter_reads: FloatArray
    filter_deliveries: FloatArray
    dram_inputs: FloatArray
    dram_outputs: FloatArray
    glb_inputs: FloatArray
    glb_outputs: FloatArray
    noc_inputs: FloatArray
    noc_outputs: FloatArray
    passes: FloatArray


@dataclass(frozen=True)
class Extent:
    """Channels left, float64 arrays that broadcast against a tiling.

    channels (kernel pieces included) and filters are per group; positions are images * P * Q, kernel is R * S of one
    piece.
    """

    channels: FloatArray
    filters: FloatArray
    groups: FloatArray
    positions: FloatArray
    kernel: FloatArray


def count(tiling: Tiling, extent: Extent) -> Counts:
    """Returns the access counts of a layer, all groups together.

    Source: row-stationary counts after ISCA 2016, equations 3-4: partial sums are read and written once per group of
    channels but for the first read, inputs once per group of filters, weights once per strip and group of images.
    """
    channel_passes = np.ceil(extent.channels / tiling.channels_per_pass)
    filter_passes = np.ceil(extent.filters / tiling.filters_per_pass)
    filter_loads = np.ceil(extent.filters / tiling.filters_in_buffer)
    outputs = extent.groups * extent.filters * extent.positions
    weights = extent.groups * extent.filters * extent.channels * extent.kernel
    all_channels = extent.groups * extent.channels
    pixels = all_channels * tiling.input_pixels
    buffer_psums = outputs * (2.0 * channel_passes - 1.0)
    return Counts(
        macs=weights * extent.positions,
        weight_words=weights,
        filter_reads=tiling.filter_reads,
        filter_deliveries=tiling.filter_deliveries,
        dram_inputs=pixels * filter_loads,
        dram_outputs=outputs,
        glb_inputs=pixels * filter_passes,
        glb_outputs=buffer_psums,
        noc_inputs=all_channels * tiling.input_deliveries * filter_passes,
        noc_outputs=outputs * channel_passes * (tiling.set_rows - 1.0) + buffer_psums,
        passes=extent.groups * channel_passes * filter_passes,
    )


def active_elements(array: PeArray, shape: GroupShape, mapping: Mapping) -> int:
    """Returns how many processing elements a mapping uses, of array.elements."""
    return min(shape.R * mapping.e * mapping.r * mapping.t, array.elements)


def buffer_bits(shape: GroupShape, at: Mappings, input_bits: float, psum_bits: float) -> FloatArray:
    """Returns the bits of inputs and partial sums that every mapping keeps in the global buffer."""
    inputs = at.n * at.q * at.r * shape.rows_padded(at.e) * shape.columns_padded
    return np.asarray(inputs * input_bits + at.n * at.m * at.e * shape.Q * psum_bits, dtype=np.float64)


def set_limit(array: PeArray, kernel_rows: int) -> int:
    """Returns the largest e for which one set fits, columns times the bands of kernel_rows rows."""
    return array.columns * math.floor(array.rows / kernel_rows)
