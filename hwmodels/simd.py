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

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hwmodels.accelerator import Cost, FloatArray, check_view
from hwmodels.assignments import check_shapes
from hwmodels.geometry import effective_groups, group_shape, layer_column
from hwmodels.prepared import PreparedNetworks
from plan.assignment import Assignment
from plan.capabilities import Capabilities
from plan.layer import Network
from plan.patterns import INDEX_BITS
from plan.scheme import GRANULARITIES, Pattern

PATTERN = list(GRANULARITIES).index(Pattern.kind)
CLOCK_MHZ = 1000.0
"""Times are counted in ns."""
Parts = dict[tuple[str, str], FloatArray]


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
class Prepared:
    """What of a network does not depend on a plan, float64 (L,)."""

    groups: FloatArray
    positions: FloatArray
    kernel: FloatArray
    columns: FloatArray
    pixels: FloatArray


class Simd:
    """Prices layers on one core. Version history: 1 (first)."""

    def __init__(
        self,
        name: str,
        rates: Rates,
        costs: dict[str, SimdCosts],
        *,
        capabilities: Capabilities,
        energy_view: str,
        fingerprint: str,
    ) -> None:
        self.name = name
        self.rates = rates
        self.costs = costs
        self.capabilities = capabilities
        self.energy_view = energy_view
        self.fingerprint = fingerprint
        self._prepared = PreparedNetworks(_prepare)

    def evaluate(
        self, network: Network, assignment: Assignment, layers: Sequence[int] | None = None, view: str | None = None
    ) -> Cost:
        """Returns the cost of the given layers per image; see `hwmodels.accelerator.Accelerator`."""
        view = check_view(view or self.energy_view)
        chosen = tuple(range(len(network.layers))) if layers is None else tuple(layers)
        check_shapes(assignment, len(chosen))
        prepared = self._prepared.get(network, chosen)
        inputs, outputs = assignment.kept_inputs.astype(np.float64), assignment.kept_outputs.astype(np.float64)
        groups = np.asarray(effective_groups(prepared.groups, inputs, outputs), dtype=np.float64)
        weights = outputs * (inputs / groups) * prepared.kernel
        compute, macs = self._compute(prepared, assignment, weights, outputs / groups)
        bits = {
            ("dram", "weights"): np.array(assignment.stored_bits, dtype=np.float64),
            ("dram", "inputs"): inputs * prepared.pixels * assignment.input_bits,
            ("dram", "outputs"): outputs * prepared.positions * assignment.output_bits,
        }
        memory = sum(bits.values()) / self.rates.dram_bits_per_ns
        latency = {
            "compute": compute,
            "load": np.full_like(compute, self.rates.layer_ns),
            "stall": np.maximum(memory - compute, 0.0),
        }
        return Cost(
            energy_parts_pj=_energy(self.costs[view], bits, macs, compute + latency["load"] + latency["stall"]),
            latency_parts_cycles=latency,
            size_bits=np.array(assignment.stored_bits, dtype=np.float64),
            clock_mhz=CLOCK_MHZ,
        )

    def _compute(
        self, prepared: Prepared, assignment: Assignment, weights: FloatArray, filters: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Returns ns of computing, and the MACs that are done, padding left out."""
        rates, vector = self.rates, float(self.rates.vector_filters)
        macs = weights * prepared.positions
        dense = macs * padding(filters, vector) / rates.dense_macs_per_ns
        blocks = np.maximum(assignment.index_bits, 1.0)
        kept_macs = macs * assignment.weight_density
        lanes = padding(np.maximum(weights / blocks, 1.0), vector)
        index_ns = rates.block_ns + prepared.positions * rates.gather_ns
        sparse = kept_macs * lanes / rates.block_macs_per_ns + blocks * assignment.weight_density * index_ns
        rows = kept_macs * padding(prepared.columns, vector) / rates.dense_macs_per_ns
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


def _prepare(network: Network, layers: tuple[int, ...]) -> Prepared:
    picked = [network.layers[index] for index in layers]
    shapes = [group_shape(layer, max(1, layer.R), max(1, layer.S))[0] for layer in picked]
    return Prepared(
        groups=layer_column(picked, "groups"),
        positions=layer_column(picked, "P") * layer_column(picked, "Q"),
        columns=layer_column(picked, "Q"),
        kernel=layer_column(picked, "R") * layer_column(picked, "S"),
        pixels=np.array([shape.rows_read(shape.P) * shape.columns for shape in shapes], dtype=np.float64),
    )
