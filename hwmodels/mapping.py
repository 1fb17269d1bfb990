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

    Parameters that only round differently are listed once: of all e (n, p) with equal numbers of strips (groups) the
    smallest. Of all r that leave room for the same t the largest that saves a pass, of all t with as many passes the
    smallest, for idle sets need no inputs; m is the most that the buffer holds beside the inputs; of all p those that
    no larger one equals in both computing and reads of inputs from DRAM. The rest is dearer, but for roundings.
    """
    pairs = _channel_parameters(mapper, shape, _sets_of_strips(mapper, shape))
    return _with_filters(mapper, shape, pairs, _steps(shape.filters, mapper.array.psum_spad_words))


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


@dataclass(frozen=True)
class _Sets:
    """Ways to share the array out, int64 arrays of one shape: strips of e rows, n images, and for t filter sets r."""

    e: IntArray
    n: IntArray
    sets: IntArray
    r: IntArray
    t: IntArray


def _sets_of_strips(mapper: Mapper, shape: GroupShape) -> _Sets:
    """Returns for every strip and number of images each reachable t with the most channel groups r beside it."""
    strips = _steps(shape.P, set_limit(mapper.array, shape.R))
    images = _steps(shape.images, shape.images).tolist()
    rows = [
        (e, n, sets, r, t)
        for e, sets in zip(strips.tolist(), mapper.array.sets(strips, shape.R).tolist(), strict=True)
        for r, t in _replications(sets, shape.channels, shape.filters)
        for n in images
    ]
    return _Sets(*np.array(rows, dtype=np.int64).reshape(-1, 5).T)


@lru_cache(maxsize=REMEMBERED_SHAPES)
def _replications(sets: int, channels: int, filters: int) -> tuple[tuple[int, int], ...]:
    """Returns the pairs (r, t) that fill so many sets, of each t the largest r."""
    r = _thinned(np.arange(1, min(sets, channels) + 1))
    t = np.minimum(sets // r, filters)
    last = np.append(t[1:] != t[:-1], True) if r.size else np.zeros(0, dtype=np.bool_)
    return tuple(zip(r[last].tolist(), t[last].tolist(), strict=True))


@dataclass(frozen=True)
class _Pairs:
    """Everything but the filters of a mapping, int64 arrays (pairs,); t is the most sets beside each other."""

    e: IntArray
    n: IntArray
    q: IntArray
    r: IntArray
    t: IntArray


def _channel_parameters(mapper: Mapper, shape: GroupShape, at: _Sets) -> _Pairs:
    """Returns the channels per pass that scratchpad, array and policy allow; a smaller r or q would need one more."""
    deepest = min(shape.channels, mapper.array.ifmap_spad_words // shape.S)
    q = _thinned(np.arange(1, deepest + 1))
    most = np.minimum(at.r[:, None], -(-shape.channels // q))
    if mapper.policy.policy == "chip":
        most = np.minimum(most, max(1, mapper.policy.row_words // shape.Q) // q)
    passes = -(-shape.channels // (q * np.maximum(most, 1)))
    r = -(-shape.channels // (q * passes))
    same_t = np.minimum(at.sets[:, None] // r, shape.filters) == at.t[:, None]
    row, column = np.nonzero((most > 0) & same_t & _needed(shape.channels, np.broadcast_to(q, r.shape), r))
    return _Pairs(at.e[row], at.n[row], q[column], r[row, column], at.t[row])


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


def _with_filters(mapper: Mapper, shape: GroupShape, at: _Pairs, every_p: IntArray) -> Mappings:
    """Returns the pairs with each p worth pricing, the fewest sets t for its passes, and the largest m."""
    p, array = _thinned(every_p), mapper.array
    most = _sets_in_pass(mapper, shape, at, p)
    passes = -(-shape.filters // (p * np.maximum(most, 1)))
    t = np.where(most > 0, -(-shape.filters // (p * passes)), 0)
    step = (p * np.maximum(t, 1)).astype(np.float64)
    m = np.minimum(passes, np.floor(_fitting_filters(mapper, shape, at)[:, None] / step)) * step
    legal = (p * at.q[:, None] * shape.S <= array.filter_spad_words) & (t > 0) & (m > 0)
    computed = np.where(legal, p * passes, np.inf)
    loads = np.where(legal, np.ceil(shape.filters / np.maximum(m, 1.0)), np.inf)
    kept = row, column = np.nonzero(legal & ~_beaten(computed, loads))
    return Mappings(at.e[row], at.n[row], m[kept].astype(np.int64), p[column], at.q[row], at.r[row], t[kept])


def _sets_in_pass(mapper: Mapper, shape: GroupShape, at: _Pairs, p: IntArray) -> IntArray:
    """Returns the most filter sets of a pass, (pairs, p): on the chip no more than the preload buffer holds."""
    most = np.broadcast_to(at.t[:, None], (at.t.size, p.size))
    if mapper.policy.policy != "chip":
        return most
    words = mapper.array.preload_words * mapper.array.word_bits / mapper.policy.weight_bits
    of_a_set = p * (at.q * at.r * (shape.R * shape.S))[:, None]
    return np.minimum(most, np.floor(words / of_a_set).astype(np.int64))


def _beaten(computed: FloatArray, loads: FloatArray) -> NDArray[np.bool_]:
    """Returns where a later one of the row is no worse in both respects, (rows, columns)."""
    first, second = (np.ascontiguousarray(values.T, dtype=np.float32) for values in (computed, loads))
    beaten = np.zeros(first.shape, dtype=np.bool_)
    for step in range(1, len(first)):
        beaten[:-step] |= (first[step:] <= first[:-step]) & (second[step:] <= second[:-step])
    return beaten.T


def _fitting_filters(mapper: Mapper, shape: GroupShape, at: _Pairs) -> FloatArray:
    """Returns how many filters' partial sums fit beside the inputs, (pairs,), not whole and below 0 where none do."""
    policy, array = mapper.policy, mapper.array
    empty = Mappings(at.e, at.n, np.zeros_like(at.e), at.q, at.q, at.r, at.t)
    inputs = buffer_bits(shape, empty, policy.input_bits, policy.psum_bits)
    return (array.buffer_words * array.word_bits - inputs) / (at.n * at.e * shape.Q * policy.psum_bits)


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
