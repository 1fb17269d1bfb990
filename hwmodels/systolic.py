"""Weight-stationary systolic arrays: fixed, composable and bit-serial datapaths.

The weights of one tile, rows x columns, stay in the array while all output positions of an image stream through it.
Zeros gate multipliers but never skip a step; only what removes whole tiles skips: block-punched blocks that cover them
(the preset may offer no others) and channels. Cycles are the closed form of a cycle simulator: tiles x (2 rows +
columns + positions - 2).

Source: closed form equal to SCALE-Sim 3.0.0 on eight layers of a 16 x 16 array; composable and bit-serial datapaths
after Sharma et al., ISCA 2018 (Bit Fusion) and Judd et al., MICRO 2016 (Stripes).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwmodels.accelerator import Cost, FloatArray, Layers, Named, Nameplate, check_view
from hwmodels.bounds import Bounds, Roofline
from hwmodels.geometry import LayerShapes, kept_channels, layer_shapes
from hwmodels.prepared import PreparedNetworks
from hwmodels.timing import Timing, latency_parts, limits
from hwmodels.traffic import Parts, dram_bits
from plan.assignment import Assignment, IntArray
from plan.layer import Network
from plan.scheme import GRANULARITIES

DATAPATHS = ("fixed", "composable", "bit_serial")
TILE_KIND = list(GRANULARITIES).index("block-punched")
BRICK_BITS = 2


@dataclass(frozen=True)
class AccessPicojoules:
    """Energy of one bit per access in the joules view, and what the chip draws at all times."""

    register_pj_per_bit: float
    scratchpad_pj_per_bit: float
    accumulator_pj_per_bit: float
    dram_pj_per_bit: float
    static_mw: float


@dataclass(frozen=True)
class AccessUnits:
    """Energy of one access of a full word in the normalised view, in units of one full-width MAC."""

    mac: float
    rf: float
    glb: float
    dram: float
    unit_pj: float


@dataclass(frozen=True)
class SystolicParameters:
    """Every number of the model; a preset file fills it.

    datapath: "fixed" (one MAC of datapath_bits per element and cycle), "composable" (an element does
        (full / weight bits) (full / input bits) MACs a cycle, bits rounded up to 2, 4, 8 or 16) or "bit_serial" (as
        many steps as the inputs have bits, of which datapath_bits make one full MAC)
    datapath_pj: energy of one full-width MAC
    element_area_um2: multiplier, accumulator and registers; prices nothing, but says what a composable array costs
    scratchpad_bits: inputs and weights together
    """

    rows: int
    columns: int
    datapath: str
    datapath_bits: int
    datapath_pj: float
    element_area_um2: float
    accumulator_bits: int
    scratchpad_bits: float
    clock_mhz: float
    dram_bits_per_cycle: float
    joules: AccessPicojoules
    units: AccessUnits


@dataclass(frozen=True)
class Work:
    """Tiles, MACs and words of a batch, (B, L); kept is the fraction of tiles that are not skipped."""

    tiles: FloatArray
    kept: FloatArray
    macs: FloatArray
    weights: FloatArray
    inputs: FloatArray
    outputs: FloatArray
    streamed_inputs: FloatArray
    accumulated: FloatArray


class Systolic(Named):
    """Prices layers on a weight-stationary array. Version history: 1 (first)."""

    def __init__(self, nameplate: Nameplate, parameters: SystolicParameters) -> None:
        super().__init__(nameplate)
        self.parameters = parameters
        self._prepared = PreparedNetworks(layer_shapes)

    def evaluate(
        self, network: Network, assignment: Assignment, layers: Layers | None = None, view: str | None = None
    ) -> Cost:
        """Returns the cost of the given layers per image; see `hwmodels.accelerator.Accelerator`."""
        view = check_view(view or self.energy_view)
        shapes = self._prepared.get(network, assignment, layers)
        work = self._work(shapes, assignment)
        bits = self._traffic_bits(work, assignment)
        latency = latency_parts(self._timing(shapes, work, assignment, bits))
        active = work.macs * (1.0 - shapes.zero_in) * assignment.weight_density
        full_macs = active * self._steps_per_mac(assignment)
        return Cost(
            energy_parts_pj=self._normalised_pj(bits, full_macs)
            if view == "normalised"
            else self._joules_pj(bits, full_macs, latency["compute"] + latency["load"] + latency["stall"]),
            latency_parts_cycles=latency,
            size_bits=np.array(assignment.stored_bits, dtype=np.float64),
            clock_mhz=self.parameters.clock_mhz,
        )

    def bounds(self, network: Network, assignment: Assignment) -> Bounds:
        """Returns what holds every layer up; see `hwmodels.bounds.Explained`."""
        shapes = self._prepared.get(network, assignment)
        work = self._work(shapes, assignment)
        bits = self._traffic_bits(work, assignment)
        roofline = Roofline(
            macs=work.macs * work.kept * self._steps_per_mac(assignment),
            dram_bytes=dram_bits(bits) / 8.0,
            peak_macs_per_cycle=float(self.parameters.rows * self.parameters.columns),
            dram_bytes_per_cycle=self.parameters.dram_bits_per_cycle / 8.0,
            array_area_mm2=self.parameters.rows * self.parameters.columns * self.parameters.element_area_um2 * 1e-6,
        )
        return Bounds(limits(self._timing(shapes, work, assignment, bits)), roofline)

    def _work(self, shapes: LayerShapes, assignment: Assignment) -> Work:
        """Returns tiles and words; tiles that are pruned away take their weights, inputs and sums with them."""
        left = kept_channels(shapes.groups, assignment)
        depth = left.channels * shapes.kernel
        row_tiles = np.ceil(depth / self.parameters.rows)
        column_tiles = np.ceil(left.filters / self.parameters.columns)
        kept = np.where(assignment.granularity == TILE_KIND, assignment.weight_density, 1.0)
        aligned = np.ceil(left.channels / self.parameters.rows) * shapes.kernel * column_tiles * kept
        tiles = np.minimum(row_tiles * column_tiles, np.ceil(aligned - 1e-9))
        fraction = tiles / (row_tiles * column_tiles)
        outputs = left.outputs * shapes.positions
        return Work(
            tiles=left.groups * tiles,
            kept=fraction,
            macs=outputs * depth,
            weights=left.outputs * depth,
            inputs=left.inputs * shapes.pixels,
            outputs=outputs,
            streamed_inputs=left.groups * depth * shapes.positions * column_tiles * fraction,
            accumulated=outputs * np.maximum(2.0 * row_tiles * fraction - 1.0, 1.0),
        )

    def _traffic_bits(self, work: Work, assignment: Assignment) -> Parts:
        """Returns bits per (level, operand); glb of inputs and weights is the scratchpad, of outputs the accumulator.

        DRAM re-reads the operand that costs less when neither fits half of the scratchpad.
        """
        stored = assignment.stored_bits
        inputs = work.inputs * assignment.input_bits
        half = self.parameters.scratchpad_bits / 2.0
        weights_stay = stored + inputs * np.maximum(1.0, np.ceil(stored / half))
        inputs_stay = inputs + stored * np.maximum(1.0, np.ceil(inputs / half))
        weights_first = weights_stay <= inputs_stay
        return {
            ("dram", "weights"): np.where(weights_first, stored, inputs_stay - inputs),
            ("dram", "inputs"): np.where(weights_first, weights_stay - stored, inputs),
            ("dram", "outputs"): work.outputs * assignment.output_bits,
            ("glb", "weights"): np.array(stored, dtype=np.float64),
            ("glb", "inputs"): work.streamed_inputs * assignment.input_bits,
            ("glb", "outputs"): work.accumulated * float(self.parameters.accumulator_bits),
            ("rf", "weights"): work.weights * self._register_bits(assignment.weight_bits),
            ("rf", "inputs"): work.macs * work.kept * self._register_bits(assignment.input_bits),
            ("rf", "outputs"): work.macs * work.kept * float(self.parameters.accumulator_bits),
        }

    def _register_bits(self, bits: IntArray) -> FloatArray:
        """Returns the width at which values pass through the array: the datapath's where it is fixed."""
        widths = np.asarray(bits, dtype=np.float64)
        return np.full_like(widths, self.parameters.datapath_bits) if self.parameters.datapath == "fixed" else widths

    def _steps_per_mac(self, assignment: Assignment) -> FloatArray:
        """Returns element cycles per MAC, as a fraction of those of a full-width one."""
        full = float(self.parameters.datapath_bits)
        if self.parameters.datapath == "fixed":
            return np.ones(assignment.weight_bits.shape)
        inputs = assignment.input_bits.astype(np.float64)
        if self.parameters.datapath == "bit_serial":
            return inputs / full
        return brick_width(assignment.weight_bits) * brick_width(assignment.input_bits) / full**2

    def _timing(self, shapes: LayerShapes, work: Work, assignment: Assignment, bits: Parts) -> Timing:
        """Returns streaming, filling and draining, and DRAM that hides behind both."""
        rows, columns = self.parameters.rows, self.parameters.columns
        compute = work.tiles * shapes.positions * self._steps_per_mac(assignment)
        return Timing(
            compute=compute,
            waiting=np.zeros_like(compute),
            beside={},
            around={"fill_drain": work.tiles * float(2 * rows + columns - 2)},
            dram_hidden=dram_bits(bits) / self.parameters.dram_bits_per_cycle,
        )

    def _normalised_pj(self, bits: Parts, full_macs: FloatArray) -> Parts:
        """Returns words of the datapath's width x units; full_macs counts MACs in full-width ones."""
        units, word = self.parameters.units, float(self.parameters.datapath_bits)
        per_bit = {"dram": units.dram, "glb": units.glb, "rf": units.rf}
        parts = {place: moved * (per_bit[place[0]] * units.unit_pj / word) for place, moved in bits.items()}
        parts["mac", "none"] = full_macs * (units.mac * units.unit_pj)
        return parts

    def _joules_pj(self, bits: Parts, full_macs: FloatArray, cycles: FloatArray) -> Parts:
        """Returns bits x pJ per bit, MACs x the datapath's energy, and static power x time."""
        joules = self.parameters.joules
        per_bit = {
            "dram": joules.dram_pj_per_bit,
            "glb": joules.scratchpad_pj_per_bit,
            "rf": joules.register_pj_per_bit,
        }
        parts = {place: moved * per_bit[place[0]] for place, moved in bits.items()}
        parts["glb", "outputs"] = bits["glb", "outputs"] * joules.accumulator_pj_per_bit
        parts["mac", "none"] = full_macs * self.parameters.datapath_pj
        parts["static", "none"] = cycles * (joules.static_mw / self.parameters.clock_mhz * 1e3)
        return parts


def brick_width(bits: IntArray) -> FloatArray:
    """Returns widths rounded up to 2, 4, 8 or 16, those that composable units are built from."""
    return np.asarray(2.0 ** np.ceil(np.log2(np.maximum(np.asarray(bits, dtype=np.float64), BRICK_BITS))))
