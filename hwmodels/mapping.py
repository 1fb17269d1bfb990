"""Which mapping a shape gets: every legal candidate is priced at once and the cheapest one is taken."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hwmodels.dataflow import Counts, Extent, Mapping, Mappings, PeArray, Tiling, buffer_bits, count, set_limit, tile
from hwmodels.geometry import GroupShape
from plan.errors import InvalidValueError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

REMEMBERED_SHAPES = 4096
AXIS_VALUES = 64
POLICIES = ("chip", "search")
OBJECTIVES = ("energy", "latency", "edp")


@dataclass(frozen=True)
class MappingPolicy:
    """How mappings are chosen: the objective among the candidates, and which candidates there are.

    policy: "chip" bounds the channels of a pass, q * r <= max(1, row_words / Q), as the fabricated chip's mappings do;
        "search" takes every legal mapping
    objective: "energy", "latency" or "edp", in normalised units and core cycles of the dense layer
    weight_bits, input_bits: widths of the dense layer while mapping; partial sums get psum_bits
    """

    policy: str
    objective: str
    row_words: int
    weight_bits: float
    input_bits: float
    psum_bits: float


@dataclass(frozen=True)
class LevelUnits:
    """Energy of one word access per level, in units of one full-width MAC."""

    mac: float
    rf: float
    noc: float
    glb: float
    dram: float


@dataclass(frozen=True)
class Mapper:
    """Everything that decides a mapping besides the shape."""

    array: PeArray
    policy: MappingPolicy
    units: LevelUnits
    link_bits_per_cycle: float


def candidates(mapper: Mapper, shape: GroupShape) -> Mappings:
    """Returns every legal mapping worth pricing, int64 arrays (candidates,); empty where the buffer is too small.

    Parameters that only round differently are listed once: of all e (n, m, p, t) with equal numbers of strips (groups)
    the smallest. m is the most that the buffer holds beside the inputs.
    """
    strips = _steps(shape.P, set_limit(mapper.array, shape.R))
    p, n = _steps(shape.filters, mapper.array.psum_spad_words), _steps(shape.images, shape.images)
    parts = [_of_strip(mapper, shape, int(e), p, n) for e in strips]
    return Mappings(*(np.concatenate([part[axis] for part in parts]) for axis in range(7)))


@lru_cache(maxsize=REMEMBERED_SHAPES)
def choose(mapper: Mapper, shape: GroupShape) -> Mapping:
    """Returns the mapping of the lowest objective; ties go to the first candidate, so the choice is reproducible.

    Raises:
        InvalidValueError: no mapping of the shape fits the array and its buffer.
    """
    offered = candidates(mapper, shape)
    if offered.e.size == 0:
        raise InvalidValueError(
            f"no mapping of {shape} fits a buffer of {mapper.array.buffer_words} words; "
            "give a larger buffer or smaller inputs"
        )
    return offered.at(int(np.argmin(scores(mapper, shape, offered))))


def scores(mapper: Mapper, shape: GroupShape, mappings: Mappings) -> FloatArray:
    """Returns the objective of every mapping on the dense shape, lower is better."""
    tiling = tile(mapper.array, shape, mappings)
    counts = count(tiling, dense_extent(shape))
    energy = _energy_units(mapper, counts)
    cycles = _cycles(mapper, counts, tiling)
    return {"energy": energy, "latency": cycles, "edp": energy * cycles}[mapper.policy.objective]


def dense_extent(shape: GroupShape) -> Extent:
    """Returns the extent of one dense group."""
    return Extent(
        channels=_scalar(shape.channels),
        filters=_scalar(shape.filters),
        groups=_scalar(1),
        positions=_scalar(shape.images * shape.P * shape.Q),
        kernel=_scalar(shape.R * shape.S),
    )


def _scalar(value: int) -> FloatArray:
    return np.asarray(value, dtype=np.float64)


def _steps(total: int, limit: int) -> IntArray:
    """Returns, ascending, the smallest sizes up to limit for each reachable number of pieces of total."""
    sizes = np.arange(1, min(total, limit) + 1)
    pieces = -(-total // sizes)
    return np.unique(-(-total // np.unique(pieces)))


def _of_strip(mapper: Mapper, shape: GroupShape, e: int, p: IntArray, n: IntArray) -> tuple[IntArray, ...]:
    """Returns the legal (e, n, m, p, q, r, t) with strips of e rows and p and n among the given values."""
    array = mapper.array
    sets = int(array.sets(np.array([e]), shape.R)[0])
    q, r = _channel_parameters(mapper, shape, sets)
    pair, ps, ns = (axis.ravel() for axis in np.meshgrid(np.arange(q.size), p, n, indexing="ij"))
    qs, rs = q[pair], r[pair]
    ts = np.minimum(sets // rs, shape.filters)
    legal = (ps * qs * shape.S <= array.filter_spad_words) & _needed(shape.filters, ps, ts)
    ns, ps, qs, rs, ts = (values[legal] for values in (ns, ps, qs, rs, ts))
    at = Mappings(np.full(qs.shape, e), ns, np.zeros_like(ns), ps, qs, rs, ts)
    m = _filters_in_buffer(mapper, shape, at)
    return tuple(values[m > 0] for values in (at.e, ns, m, ps, qs, rs, ts))


def _channel_parameters(mapper: Mapper, shape: GroupShape, sets: int) -> tuple[IntArray, IntArray]:
    """Returns the pairs (q, r) that the scratchpad, the array and the policy allow and that save a pass each."""
    deepest = min(shape.channels, mapper.array.ifmap_spad_words // shape.S)
    every_q = _thinned(np.arange(1, deepest + 1))
    every_r = _thinned(np.arange(1, min(sets, shape.channels) + 1))
    q, r = (axis.ravel() for axis in np.meshgrid(every_q, every_r, indexing="ij"))
    smaller_r = np.maximum(r - 1, 1)
    same_t = (r > 1) & (np.minimum(sets // smaller_r, shape.filters) == np.minimum(sets // r, shape.filters))
    legal = _needed(shape.channels, q, r) & (~same_t | _needed(shape.channels, r, q))
    if mapper.policy.policy == "chip":
        legal &= q * r <= max(1, mapper.policy.row_words // shape.Q)
    return q[legal], r[legal]


def _needed(total: int, parts: IntArray, copies: IntArray) -> NDArray[np.bool_]:
    """Returns whether one part less would need another pass over total, with parts * copies to a pass.

    Where not, the smaller part count is cheaper in every respect.
    """
    smaller = np.maximum(parts - 1, 1) * copies
    return np.asarray((parts == 1) | (-(-total // smaller) > -(-total // (parts * copies))))


def _thinned(values: IntArray) -> IntArray:
    """Returns at most `AXIS_VALUES` of ascending values, evenly spread: keeps the search on vast arrays bounded."""
    if values.size <= AXIS_VALUES:
        return values
    return values[np.unique(np.linspace(0, values.size - 1, AXIS_VALUES).astype(np.int64))]


def _filters_in_buffer(mapper: Mapper, shape: GroupShape, at: Mappings) -> IntArray:
    """Returns the largest multiple of p * t whose partial sums fit beside the inputs; 0 where not one fits."""
    policy, array = mapper.policy, mapper.array
    inputs = buffer_bits(shape, at, policy.input_bits, policy.psum_bits)
    per_filter = at.n * at.e * shape.Q * policy.psum_bits
    fitting = np.floor((array.buffer_words * array.word_bits - inputs) / per_filter).astype(np.int64)
    step = at.p * at.t
    needed = -(-shape.filters // step) * step
    return np.asarray(np.minimum(needed, np.maximum(fitting, 0) // step * step))


def _energy_units(mapper: Mapper, counts: Counts) -> FloatArray:
    """Returns the energy of the dense layer in MAC units at the policy's widths."""
    policy, units = mapper.policy, mapper.units
    weight, data, psum = (
        bits / mapper.array.word_bits for bits in (policy.weight_bits, policy.input_bits, policy.psum_bits)
    )
    reads = counts.weight_words * counts.filter_reads * weight
    dram = reads + (counts.dram_inputs + counts.dram_outputs) * data
    glb = reads + counts.glb_inputs * data + counts.glb_outputs * psum
    delivered = counts.weight_words * counts.filter_deliveries * weight
    noc = delivered + counts.noc_inputs * data + counts.noc_outputs * psum
    scratchpads = counts.macs * (weight + data + 2.0 * psum)
    return units.dram * dram + units.glb * glb + units.noc * noc + units.rf * scratchpads + units.mac * counts.macs


def _cycles(mapper: Mapper, counts: Counts, tiling: Tiling) -> FloatArray:
    """Returns the cycles of the dense layer, feature maps moved to and from DRAM included."""
    policy, link = mapper.policy, mapper.link_bits_per_cycle
    processing = counts.passes * (tiling.compute_cycles + tiling.stall_cycles + tiling.load_cycles)
    filters = counts.weight_words * counts.filter_reads * policy.weight_bits / link
    feature_maps = (counts.dram_inputs + counts.dram_outputs) * policy.input_bits / link
    return np.maximum(processing, filters) + feature_maps
