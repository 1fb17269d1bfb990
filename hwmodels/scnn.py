"""An array that multiplies nonzero weights with nonzero inputs, all with all, after SCNN.

Output positions are split into one tile per element; every element holds the inputs of its tile, gets the weights of
`filters_per_group` filters broadcast and multiplies, channel by channel, vectors of F nonzero weights with vectors of I
nonzero inputs. Sums stay in banked accumulators until a group of filters is done, then all elements synchronise.
Feature maps stay on the chip where they fit. Layers with fewer positions than elements leave elements idle: a fully
connected layer uses one.

Source: Parashar et al., ISCA 2017.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwmodels.accelerator import Cost, FloatArray, Layers, Named, Nameplate, check_view
from hwmodels.bounds import Bounds, Roofline
from hwmodels.geometry import Kept, LayerShapes, kept_channels, layer_column, layer_shapes
from hwmodels.prepared import PreparedNetworks
from hwmodels.sparsity import RunLengthCode, coded_bits
from hwmodels.timing import Timing, latency_parts, limits
from hwmodels.traffic import Parts, dram_bits
from plan.assignment import Assignment
from plan.layer import Network


@dataclass(frozen=True)
class LevelCosts:
    """Energy per bit of each level, per full MAC, and what the chip draws at all times."""

    mac_pj: float
    rf_pj_per_bit: float
    noc_pj_per_bit: float
    glb_pj_per_bit: float
    dram_pj_per_bit: float
    static_mw: float


@dataclass(frozen=True)
class ScnnParameters:
    """Every number of the model; a preset file fills it.

    rows, columns: of elements; weight_lanes, input_lanes: F and I; accumulator_entries: sums per element
    activation_bits: capacity of all activation memories together
    """

    rows: int
    columns: int
    weight_lanes: int
    input_lanes: int
    accumulator_entries: int
    accumulator_bits: int
    activation_bits: float
    clock_mhz: float
    dram_bits_per_cycle: float
    code: RunLengthCode
    normalised: LevelCosts
    joules: LevelCosts


@dataclass(frozen=True)
class Prepared:
    """What of a network does not depend on a plan: its shapes, and (L,) positions of a tile and filters of a group."""

    shapes: LayerShapes
    tile: FloatArray
    filters_per_group: FloatArray


@dataclass(frozen=True)
class Work:
    """What is left of the channels, groups of filters, products of nonzeros, and bits moved, (B, L)."""

    left: Kept
    filter_groups: FloatArray
    products: FloatArray
    bits: Parts


class Scnn(Named):
    """Prices layers on an array of Cartesian products. Version history: 1 (first)."""

    def __init__(self, nameplate: Nameplate, parameters: ScnnParameters) -> None:
        super().__init__(nameplate)
        self.parameters = parameters
        self._prepared = PreparedNetworks(self._prepare)

    def evaluate(
        self, network: Network, assignment: Assignment, layers: Layers | None = None, view: str | None = None
    ) -> Cost:
        """Returns the cost of the given layers per image; see `hwmodels.accelerator.Accelerator`."""
        view = check_view(view or self.energy_view)
        prepared = self._prepared.get(network, assignment, layers)
        work = self._work(prepared, assignment)
        latency = latency_parts(self._timing(prepared, work, assignment))
        costs = self.parameters.normalised if view == "normalised" else self.parameters.joules
        return Cost(
            energy_parts_pj=self._energy(costs, work, latency),
            latency_parts_cycles=latency,
            size_bits=np.array(assignment.stored_bits, dtype=np.float64),
            clock_mhz=self.parameters.clock_mhz,
        )

    def bounds(self, network: Network, assignment: Assignment) -> Bounds:
        """Returns what holds every layer up; see `hwmodels.bounds.Explained`."""
        parameters, prepared = self.parameters, self._prepared.get(network, assignment)
        work = self._work(prepared, assignment)
        roofline = Roofline(
            macs=work.products,
            dram_bytes=dram_bits(work.bits) / 8.0,
            peak_macs_per_cycle=float(
                parameters.rows * parameters.columns * parameters.weight_lanes * parameters.input_lanes
            ),
            dram_bytes_per_cycle=parameters.dram_bits_per_cycle / 8.0,
        )
        return Bounds(limits(self._timing(prepared, work, assignment)), roofline)

    def _prepare(self, network: Network, layers: tuple[int, ...]) -> Prepared:
        parameters, picked = self.parameters, [network.layers[index] for index in layers]
        rows = np.ceil(layer_column(picked, "P") / parameters.rows)
        columns = np.ceil(layer_column(picked, "Q") / parameters.columns)
        halo = (rows + layer_column(picked, "R") - 1.0) * (columns + layer_column(picked, "S") - 1.0)
        return Prepared(
            shapes=layer_shapes(network, layers),
            tile=rows * columns,
            filters_per_group=np.maximum(1.0, np.floor(parameters.accumulator_entries / halo)),
        )

    def _work(self, prepared: Prepared, assignment: Assignment) -> Work:
        shapes, left = prepared.shapes, kept_channels(prepared.shapes.groups, assignment)
        macs = left.outputs * left.channels * shapes.kernel * shapes.positions
        filter_groups = np.ceil(left.filters / prepared.filters_per_group)
        products = macs * assignment.weight_density * (1.0 - shapes.zero_in)
        return Work(
            left, filter_groups, products, self._traffic_bits(shapes, left, filter_groups, products, assignment)
        )

    def _traffic_bits(
        self, shapes: LayerShapes, left: Kept, filter_groups: FloatArray, products: FloatArray, assignment: Assignment
    ) -> Parts:
        """Returns bits per (level, operand): glb is the activation memory, rf the vector registers and accumulators.

        Feature maps are run-length coded everywhere; they go to DRAM when input and output do not fit together.
        """
        parameters, stored = self.parameters, assignment.stored_bits
        weight_bits, input_bits = (bits.astype(np.float64) for bits in (assignment.weight_bits, assignment.input_bits))
        inputs = left.inputs * shapes.pixels * coded_bits(parameters.code, shapes.zero_in, input_bits)
        output_bits = coded_bits(parameters.code, shapes.zero_out, assignment.output_bits.astype(np.float64))
        outputs = left.outputs * shapes.positions * output_bits
        spilled = (inputs + outputs > parameters.activation_bits).astype(np.float64)
        return {
            ("dram", "weights"): np.array(stored, dtype=np.float64),
            ("dram", "inputs"): inputs * np.maximum(spilled, shapes.from_image),
            ("dram", "outputs"): outputs * spilled,
            ("glb", "inputs"): inputs * filter_groups,
            ("glb", "outputs"): outputs,
            ("noc", "weights"): stored * float(parameters.rows * parameters.columns),
            ("rf", "weights"): products / parameters.input_lanes * weight_bits,
            ("rf", "inputs"): products / parameters.weight_lanes * input_bits,
            ("rf", "outputs"): products * (2.0 * parameters.accumulator_bits),
        }

    def _timing(self, prepared: Prepared, work: Work, assignment: Assignment) -> Timing:
        """Returns the cycles of the element with most nonzero inputs, and DRAM that hides behind them."""
        parameters, nonzero, left = self.parameters, 1.0 - prepared.shapes.zero_in, work.left
        filters = np.minimum(left.filters, prepared.filters_per_group)
        weights = vectors(parameters.weight_lanes, filters * prepared.shapes.kernel, assignment.weight_density)
        spread = np.sqrt(prepared.tile * nonzero * (1.0 - nonzero) / left.channels) * (nonzero < 1.0)
        most = 2.0 * np.log(parameters.rows * parameters.columns)
        inputs = (
            vectors(parameters.input_lanes, prepared.tile, nonzero) + np.sqrt(most) * spread / parameters.input_lanes
        )
        inputs = np.minimum(inputs, np.ceil(prepared.tile / parameters.input_lanes))
        compute = left.groups * work.filter_groups * left.channels * weights * inputs
        return Timing(
            compute=compute,
            waiting=np.zeros_like(compute),
            beside={},
            around={},
            dram_hidden=dram_bits(work.bits) / parameters.dram_bits_per_cycle,
        )

    def _energy(self, costs: LevelCosts, work: Work, latency: dict[str, FloatArray]) -> Parts:
        per_bit = {
            "rf": costs.rf_pj_per_bit,
            "noc": costs.noc_pj_per_bit,
            "glb": costs.glb_pj_per_bit,
            "dram": costs.dram_pj_per_bit,
        }
        parts = {place: moved * per_bit[place[0]] for place, moved in work.bits.items()}
        parts["mac", "none"] = work.products * costs.mac_pj
        cycles = latency["compute"] + latency["load"] + latency["stall"]
        parts["static", "none"] = cycles * (costs.static_mw / self.parameters.clock_mhz * 1e3)
        return parts


def vectors(lanes: int, values: FloatArray, density: FloatArray) -> FloatArray:
    """Returns the expected vectors of `lanes` that the nonzeros among so many random values fill; arrays broadcast.

    The last vector is filled by half on average where there is one; never more than without zeros.
    Example: 4 lanes, 36 values, density 1 -> 9.
    """
    expected = values * density / lanes + 0.5 * (1.0 - 1.0 / lanes) * (1.0 - (1.0 - density) ** values)
    return np.asarray(np.minimum(np.maximum(expected, 1e-9), np.ceil(values / lanes)))
