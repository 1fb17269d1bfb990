"""A processor core with vector units: dense layers run at the measured rate, block-sparse ones pay for their index.

A layer's time is the larger of computing and of moving bytes, plus a constant. Dense computing pads filters to whole
vectors. Weights that are stored with a block index may skip: every kept block costs its multiply-accumulates at the
rate of its filled lanes, a constant, and a gathered input per position; where that is slower the layer runs dense.
Patterned kernels vectorise over the pixels of a row: contiguous loads, no branches inside a kernel (Niu et al., PatDNN,
ASPLOS 2020, section 5), so kept weights run at the dense rate, plus a block's constant per kernel; that rate is an
assumption, not measured. Zeros without such an index skip nothing. All constants come from a micro-benchmark
(`hwmodels.calibrate`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwmodels.accelerator import Cost, FloatArray, Layers, Named, Nameplate, check_view
from hwmodels.bounds import Bounds, Roofline
from hwmodels.geometry import Kept, LayerShapes, kept_channels, layer_shapes
from hwmodels.prepared import PreparedNetworks
from hwmodels.timing import Timing, latency_parts, limits
from hwmodels.traffic import Parts, dram_bits
from plan.assignment import Assignment
from plan.layer import Network
from plan.patterns import INDEX_BITS
from plan.scheme import GRANULARITIES, Pattern

PATTERN = list(GRANULARITIES).index(Pattern.kind)
CLOCK_MHZ = 1000.0
"""Times are counted in ns."""


@dataclass(frozen=True)
class Rates:
    """What the micro-benchmark measured.

    dense_macs_per_ns: of a dense layer
    block_macs_per_ns: of kept blocks whose filters fill whole vectors
    vector_filters: filters of one vector
    block_ns, gather_ns, layer_ns: per kept block, per kept block and output position, and per layer
    dram_bits_per_ns: of memory
    """

    dense_macs_per_ns: float
    block_macs_per_ns: float
    vector_filters: int
    block_ns: float
    gather_ns: float
    layer_ns: float
    dram_bits_per_ns: float


@dataclass(frozen=True)
class SimdCosts:
    """Energy per MAC, per bit of cache and DRAM, and what the core draws while it works."""

    mac_pj: float
    cache_pj_per_bit: float
    dram_pj_per_bit: float
    static_mw: float


@dataclass(frozen=True)
class Work:
    """What a batch of plans asks of the core, (B, L): ns of computing, MACs done without padding, and DRAM bits."""

    compute_ns: FloatArray
    macs: FloatArray
    bits: Parts


class Simd(Named):
    """Prices layers on one core. Version history: 1 (first)."""

    def __init__(self, nameplate: Nameplate, rates: Rates, costs: dict[str, SimdCosts]) -> None:
        super().__init__(nameplate)
        self.rates = rates
        self.costs = costs
        self._prepared = PreparedNetworks(layer_shapes)

    def evaluate(
        self, network: Network, assignment: Assignment, layers: Layers | None = None, view: str | None = None
    ) -> Cost:
        """Returns the cost of the given layers per image; see `hwmodels.accelerator.Accelerator`."""
        view = check_view(view or self.energy_view)
        work = self._work(self._prepared.get(network, assignment, layers), assignment)
        latency = latency_parts(self._timing(work))
        time_ns = latency["compute"] + latency["load"] + latency["stall"]
        return Cost(
            energy_parts_pj=_energy(self.costs[view], work.bits, work.macs, time_ns),
            latency_parts_cycles=latency,
            size_bits=np.array(assignment.stored_bits, dtype=np.float64),
            clock_mhz=CLOCK_MHZ,
        )

    def bounds(self, network: Network, assignment: Assignment) -> Bounds:
        """Returns what holds every layer up; see `hwmodels.bounds.Explained`."""
        work = self._work(self._prepared.get(network, assignment), assignment)
        roofline = Roofline(
            macs=work.macs,
            dram_bytes=dram_bits(work.bits) / 8.0,
            peak_macs_per_cycle=max(self.rates.dense_macs_per_ns, self.rates.block_macs_per_ns),
            dram_bytes_per_cycle=self.rates.dram_bits_per_ns / 8.0,
        )
        return Bounds(limits(self._timing(work)), roofline)

    def _work(self, shapes: LayerShapes, assignment: Assignment) -> Work:
        left = kept_channels(shapes.groups, assignment)
        compute_ns, macs = self._compute(shapes, assignment, left)
        bits = {
            ("dram", "weights"): np.array(assignment.stored_bits, dtype=np.float64),
            ("dram", "inputs"): left.inputs * shapes.pixels * assignment.input_bits,
            ("dram", "outputs"): left.outputs * shapes.positions * assignment.output_bits,
        }
        return Work(compute_ns, macs, bits)

    def _timing(self, work: Work) -> Timing:
        """Returns computing beside memory, and the constant of a layer around both."""
        memory = dram_bits(work.bits) / self.rates.dram_bits_per_ns
        return Timing(
            compute=work.compute_ns,
            waiting=np.maximum(memory - work.compute_ns, 0.0),
            beside={"dram": memory},
            around={"overhead": np.full_like(work.compute_ns, self.rates.layer_ns)},
        )

    def _compute(self, shapes: LayerShapes, assignment: Assignment, left: Kept) -> tuple[FloatArray, FloatArray]:
        """Returns ns of computing, and the MACs that are done, padding left out."""
        rates, vector = self.rates, float(self.rates.vector_filters)
        weights = left.outputs * left.channels * shapes.kernel
        macs = weights * shapes.positions
        dense = macs * padding(left.filters, vector) / rates.dense_macs_per_ns
        blocks = np.maximum(assignment.index_bits, 1.0)
        kept_macs = macs * assignment.weight_density
        lanes = padding(np.maximum(weights / blocks, 1.0), vector)
        index_ns = rates.block_ns + shapes.positions * rates.gather_ns
        sparse = kept_macs * lanes / rates.block_macs_per_ns + blocks * assignment.weight_density * index_ns
        rows = kept_macs * padding(shapes.columns, vector) / rates.dense_macs_per_ns
        patterned = rows + blocks / INDEX_BITS * rates.block_ns
        sparse = np.where(assignment.granularity == PATTERN, patterned, sparse)
        skips = (assignment.index_bits > 0.0) & (sparse < dense)
        return np.where(skips, sparse, dense), np.where(skips, kept_macs, macs)


def padding(filters: FloatArray, vector: float) -> FloatArray:
    """Returns lanes spent per lane used when filters fill vectors. Example: 12 filters, vectors of 8 -> 16 / 12."""
    return np.asarray(np.ceil(filters / vector) * vector / filters)


def _energy(costs: SimdCosts, bits: Parts, macs: FloatArray, time_ns: FloatArray) -> Parts:
    """Returns pJ per (level, operand); whatever DRAM moves passes the cache (glb) too."""
    parts = {place: moved * costs.dram_pj_per_bit for place, moved in bits.items()}
    parts |= {("glb", operand): moved * costs.cache_pj_per_bit for (_, operand), moved in bits.items()}
    parts["mac", "none"] = macs * costs.mac_pj
    parts["static", "none"] = time_ns * costs.static_mw
    return parts
