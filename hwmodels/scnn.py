"""An array that multiplies nonzero weights with nonzero inputs, all with all, after SCNN.

Output positions are split into one tile per element; every element holds the inputs of its tile, gets the weights of
`filters_per_group` filters broadcast and multiplies, channel by channel, vectors of F nonzero weights with vectors of I
nonzero inputs. Sums stay in banked accumulators until a group of filters is done, then all elements synchronise.
Feature maps stay on the chip where they fit. Layers with fewer positions than elements leave elements idle: a fully
connected layer uses one.

Source: Parashar et al., ISCA 2017.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hwmodels.accelerator import Cost, FloatArray, check_view
from hwmodels.assignments import check_shapes
from hwmodels.geometry import effective_groups, group_shape, layer_column
from hwmodels.prepared import PreparedNetworks
from hwmodels.sparsity import RunLengthCode, coded_bits
from plan.assignment import Assignment
from plan.capabilities import Capabilities
from plan.layer import Network

Parts = dict[tuple[str, str], FloatArray]


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
    """What of a network does not depend on a plan, float64 (L,)."""

    groups: FloatArray
    positions: FloatArray
    tile: FloatArray
    kernel: FloatArray
    pixels: FloatArray
    filters_per_group: FloatArray
    zero_in: FloatArray
    zero_out: FloatArray
    from_dram: FloatArray


@dataclass(frozen=True)
class Work:
    """Channels and filters left per convolution group, groups of filters, and products of nonzeros, (B, L)."""

    conv_groups: FloatArray
    channels: FloatArray
    filters: FloatArray
    filter_groups: FloatArray
    products: FloatArray


class Scnn:
    """Prices layers on an array of Cartesian products. Version history: 1 (first)."""

    def __init__(
        self, name: str, parameters: ScnnParameters, *, capabilities: Capabilities, energy_view: str, fingerprint: str
    ) -> None:
        self.name = name
        self.parameters = parameters
        self.capabilities = capabilities
        self.energy_view = energy_view
        self.fingerprint = fingerprint
        self._prepared = PreparedNetworks(self._prepare)

    def evaluate(
        self, network: Network, assignment: Assignment, layers: Sequence[int] | None = None, view: str | None = None
    ) -> Cost:
        """Returns the cost of the given layers per image; see `hwmodels.accelerator.Accelerator`."""
        view = check_view(view or self.energy_view)
        chosen = tuple(range(len(network.layers))) if layers is None else tuple(layers)
        check_shapes(assignment, len(chosen))
        prepared = self._prepared.get(network, chosen)
        work = self._work(prepared, assignment)
        bits = self._traffic_bits(prepared, work, assignment)
        latency = self._latency(prepared, work, assignment, bits)
        costs = self.parameters.normalised if view == "normalised" else self.parameters.joules
        return Cost(
            energy_parts_pj=self._energy(costs, work, bits, latency),
            latency_parts_cycles=latency,
            size_bits=np.array(assignment.stored_bits, dtype=np.float64),
            clock_mhz=self.parameters.clock_mhz,
        )

    def _prepare(self, network: Network, layers: tuple[int, ...]) -> Prepared:
        parameters, picked = self.parameters, [network.layers[index] for index in layers]
        shapes = [group_shape(layer, max(1, layer.R), max(1, layer.S))[0] for layer in picked]
        rows = np.ceil(layer_column(picked, "P") / parameters.rows)
        columns = np.ceil(layer_column(picked, "Q") / parameters.columns)
        halo = (rows + layer_column(picked, "R") - 1.0) * (columns + layer_column(picked, "S") - 1.0)
        image = network.layers[0].input_tensor
        return Prepared(
            groups=layer_column(picked, "groups"),
            positions=layer_column(picked, "P") * layer_column(picked, "Q"),
            tile=rows * columns,
            kernel=layer_column(picked, "R") * layer_column(picked, "S"),
            pixels=np.array([shape.rows_read(shape.P) * shape.columns for shape in shapes], dtype=np.float64),
            filters_per_group=np.maximum(1.0, np.floor(parameters.accumulator_entries / halo)),
            zero_in=layer_column(picked, "input_zero_fraction"),
            zero_out=layer_column(picked, "output_zero_fraction"),
            from_dram=np.array([layer.input_tensor == image for layer in picked], dtype=np.float64),
        )

    def _work(self, prepared: Prepared, assignment: Assignment) -> Work:
        inputs, outputs = assignment.kept_inputs.astype(np.float64), assignment.kept_outputs.astype(np.float64)
        groups = np.asarray(effective_groups(prepared.groups, inputs, outputs), dtype=np.float64)
        channels, filters = inputs / groups, outputs / groups
        macs = outputs * channels * prepared.kernel * prepared.positions
        return Work(
            conv_groups=groups,
            channels=channels,
            filters=filters,
            filter_groups=np.ceil(filters / prepared.filters_per_group),
            products=macs * assignment.weight_density * (1.0 - prepared.zero_in),
        )

    def _traffic_bits(self, prepared: Prepared, work: Work, assignment: Assignment) -> Parts:
        """Returns bits per (level, operand): glb is the activation memory, rf the vector registers and accumulators.

        Feature maps are run-length coded everywhere; they go to DRAM when input and output do not fit together.
        """
        parameters, stored = self.parameters, assignment.stored_bits
        weight_bits, input_bits = (bits.astype(np.float64) for bits in (assignment.weight_bits, assignment.input_bits))
        inputs = assignment.kept_inputs * prepared.pixels * coded_bits(parameters.code, prepared.zero_in, input_bits)
        output_bits = coded_bits(parameters.code, prepared.zero_out, assignment.output_bits.astype(np.float64))
        outputs = work.conv_groups * work.filters * prepared.positions * output_bits
        spilled = (inputs + outputs > parameters.activation_bits).astype(np.float64)
        return {
            ("dram", "weights"): np.array(stored, dtype=np.float64),
            ("dram", "inputs"): inputs * np.maximum(spilled, prepared.from_dram),
            ("dram", "outputs"): outputs * spilled,
            ("glb", "inputs"): inputs * work.filter_groups,
            ("glb", "outputs"): outputs,
            ("noc", "weights"): stored * float(parameters.rows * parameters.columns),
            ("rf", "weights"): work.products / parameters.input_lanes * weight_bits,
            ("rf", "inputs"): work.products / parameters.weight_lanes * input_bits,
            ("rf", "outputs"): work.products * (2.0 * parameters.accumulator_bits),
        }

    def _latency(self, prepared: Prepared, work: Work, assignment: Assignment, bits: Parts) -> dict[str, FloatArray]:
        """Returns the cycles of the element with most nonzero inputs, and what DRAM takes longer."""
        parameters, nonzero = self.parameters, 1.0 - prepared.zero_in
        filters = np.minimum(work.filters, prepared.filters_per_group)
        weights = vectors(parameters.weight_lanes, filters * prepared.kernel, assignment.weight_density)
        spread = np.sqrt(prepared.tile * nonzero * (1.0 - nonzero) / work.channels) * (nonzero < 1.0)
        most = 2.0 * np.log(parameters.rows * parameters.columns)
        inputs = (
            vectors(parameters.input_lanes, prepared.tile, nonzero) + np.sqrt(most) * spread / parameters.input_lanes
        )
        inputs = np.minimum(inputs, np.ceil(prepared.tile / parameters.input_lanes))
        compute = work.conv_groups * work.filter_groups * work.channels * weights * inputs
        dram = sum(moved for (level, _), moved in bits.items() if level == "dram") / parameters.dram_bits_per_cycle
        return {"compute": compute, "load": np.zeros_like(compute), "stall": np.maximum(dram - compute, 0.0)}

    def _energy(self, costs: LevelCosts, work: Work, bits: Parts, latency: dict[str, FloatArray]) -> Parts:
        per_bit = {
            "rf": costs.rf_pj_per_bit,
            "noc": costs.noc_pj_per_bit,
            "glb": costs.glb_pj_per_bit,
            "dram": costs.dram_pj_per_bit,
        }
        parts = {place: moved * per_bit[place[0]] for place, moved in bits.items()}
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
