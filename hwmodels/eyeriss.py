"""Row-stationary accelerators of the Eyeriss kind: the fabricated chip, and the array with three stated extensions.

The extensions are switches: zero weights gate as zero inputs do, filters are stored compressed with their index, and
traffic is packed at the chosen bit-widths, with which the MAC energy scales. With all of them off and words of 16 bits
the model is the chip. The datapath does one MAC per element and cycle at any width; zeros save energy, never cycles.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from hwmodels.accelerator import Cost, check_view
from hwmodels.assignments import check_shapes
from hwmodels.dataflow import Counts, Extent, Mapping, Mappings, PeArray, Tiling, count, tile
from hwmodels.geometry import GroupShape, effective_groups, group_shape, layer_column
from hwmodels.mapping import LevelUnits, Mapper, MappingPolicy, choose
from hwmodels.precision import MacEnergy, mac_energy_pj, psum_bits
from hwmodels.prepared import PreparedNetworks
from hwmodels.sparsity import RunLengthCode, Skipping, active_fraction, coded_bits, skipping_cycles
from plan.assignment import Assignment
from plan.capabilities import Capabilities
from plan.errors import InvalidValueError
from plan.layer import Layer, Network
from plan.scheme import GRANULARITIES

FloatArray = NDArray[np.float64]
PSUM_SPAD_ACCESSES = 2.0
RANDOM_KINDS = [list(GRANULARITIES).index(kind) for kind in ("element", "kernel", "pattern")]


@dataclass(frozen=True)
class Extensions:
    """What the array can do beyond the chip: all off is the chip."""

    gate_weights: bool
    compress_filters: bool
    pack_traffic: bool


@dataclass(frozen=True)
class JouleCosts:
    """Constants of the joules view, fitted to the 18 measured layers of the chip (DRAM was not part of them)."""

    nonzero_mac_pj: float
    alu_fraction: float
    glb_word_pj: float
    static_mw: float
    dram_pj_per_bit: float


@dataclass(frozen=True)
class EyerissParameters:
    """Every number of the model; a preset file fills it."""

    array: PeArray
    clock_mhz: float
    link_mb_per_s: float
    images: int
    units: LevelUnits
    unit_pj: float
    joules: JouleCosts
    mac: MacEnergy
    code: RunLengthCode
    extensions: Extensions
    policy: str
    objective: str
    row_words: int
    mapping_weight_bits: int
    mapping_input_bits: int
    skipping: Skipping | None = None

    @property
    def link_bits_per_cycle(self) -> float:
        """Bits that DRAM moves in one core cycle."""
        return self.link_mb_per_s * 8.0 / self.clock_mhz

    def mapper(self) -> Mapper:
        """Returns what decides the mappings: the widths are fixed, so that a plan's bits never change a mapping."""
        word = float(self.array.word_bits)
        widths = (word, word, word)
        if self.extensions.pack_traffic:
            weight, data = float(self.mapping_weight_bits), float(self.mapping_input_bits)
            widths = (weight, data, float(psum_bits(self.mac, np.asarray(weight), np.asarray(data))))
        policy = MappingPolicy(self.policy, self.objective, self.row_words, *widths)
        return Mapper(self.array, policy, self.units, self.link_bits_per_cycle)


@dataclass(frozen=True)
class Prepared:
    """What of a network does not depend on a plan, (L,): float64, truth values, and the arrays of the tiling."""

    tiling: Tiling
    pieces: FloatArray
    groups: FloatArray
    positions: FloatArray
    kernel: FloatArray
    zero_in: FloatArray
    zero_out: FloatArray
    coded_in: FloatArray
    depthwise: NDArray[np.bool_]


@dataclass(frozen=True)
class Widths:
    """Bits per value, (B, L): weights, inputs, outputs, partial sums; and MAC energy as a fraction of a full MAC."""

    weights: FloatArray
    inputs: FloatArray
    outputs: FloatArray
    psums: FloatArray
    mac_fraction: FloatArray


@dataclass(frozen=True)
class Traffic:
    """Bits moved per (level, operand) and MACs that are not gated, (B, L)."""

    bits: dict[tuple[str, str], FloatArray]
    active_macs: FloatArray


class Eyeriss:
    """Prices layers on a row-stationary array.

    A layer's mapping is chosen once for its dense shape at fixed widths, then held: pruned shapes reuse it with
    ceilings, so fewer bits, weights or channels are never dearer.

    Version history: 1 (first).
    """

    def __init__(
        self,
        name: str,
        parameters: EyerissParameters,
        *,
        capabilities: Capabilities,
        energy_view: str,
        fingerprint: str,
        given: dict[str, Mapping] | None = None,
    ) -> None:
        self.name = name
        self.parameters = parameters
        self.capabilities = capabilities
        self.energy_view = energy_view
        self.fingerprint = fingerprint
        self._given = dict(given or {})
        self._mapper = parameters.mapper()
        self._prepared = PreparedNetworks(self._prepare)

    def with_parameters(self, parameters: EyerissParameters, given: dict[str, Mapping] | None = None) -> Eyeriss:
        """Returns the same hardware with other parameters, and with mappings given per layer name."""
        return Eyeriss(
            self.name,
            parameters,
            capabilities=self.capabilities,
            energy_view=self.energy_view,
            fingerprint=hashlib.sha256(f"{self.fingerprint} {parameters} {given}".encode()).hexdigest(),
            given=given,
        )

    def mapping_of(self, layer: Layer) -> Mapping:
        """Returns the mapping of a layer: the given one, else the policy's."""
        if layer.name in self._given:
            return self._given[layer.name]
        try:
            return choose(self._mapper, self._shape_of(layer)[0])
        except InvalidValueError as error:
            raise InvalidValueError(f"layer '{layer.name}' on hardware '{self.name}': {error}") from error

    def evaluate(
        self, network: Network, assignment: Assignment, layers: Sequence[int] | None = None, view: str | None = None
    ) -> Cost:
        """Returns the cost of the given layers per image; see `hwmodels.accelerator.Accelerator`."""
        view = check_view(view or self.energy_view)
        chosen = tuple(range(len(network.layers))) if layers is None else tuple(layers)
        check_shapes(assignment, len(chosen))
        prepared = self._prepared.get(network, chosen)
        counts = count(prepared.tiling, _extent(prepared, assignment))
        widths = self._widths(assignment)
        traffic = self._traffic(prepared, counts, widths, assignment)
        latency = (
            self._gating_latency(prepared, counts, traffic)
            if self.parameters.skipping is None
            else self._skipping_latency(self.parameters.skipping, prepared, assignment, counts, traffic)
        )
        return Cost(
            energy_parts_pj=self._energy(view, traffic, widths, latency),
            latency_parts_cycles=latency,
            size_bits=np.array(assignment.stored_bits, dtype=np.float64),
            clock_mhz=self.parameters.clock_mhz,
        )

    def traffic_bits(self, network: Network, assignment: Assignment) -> dict[tuple[str, str], FloatArray]:
        """Returns the bits that all layers move per image and (level, operand), each (B, L)."""
        check_shapes(assignment, len(network.layers))
        prepared = self._prepared.get(network, tuple(range(len(network.layers))))
        counts = count(prepared.tiling, _extent(prepared, assignment))
        traffic = self._traffic(prepared, counts, self._widths(assignment), assignment)
        return {place: moved / self.parameters.images for place, moved in traffic.bits.items()}

    def _shape_of(self, layer: Layer) -> tuple[GroupShape, int]:
        array = self.parameters.array
        columns = min(array.ifmap_spad_words, array.filter_spad_words)
        return group_shape(layer, array.rows, columns, self.parameters.images)

    def _prepare(self, network: Network, layers: tuple[int, ...]) -> Prepared:
        picked = [network.layers[index] for index in layers]
        shapes = [self._shape_of(layer) for layer in picked]
        tilings = [
            tile(self.parameters.array, shape, Mappings.of(self.mapping_of(layer)))
            for layer, (shape, _) in zip(picked, shapes, strict=True)
        ]
        image = network.layers[0].input_tensor
        pieces = np.array([pieces for _, pieces in shapes], dtype=np.float64)
        return Prepared(
            tiling=_stack(tilings),
            pieces=pieces,
            groups=layer_column(picked, "groups"),
            positions=layer_column(picked, "P") * layer_column(picked, "Q") * self.parameters.images,
            kernel=layer_column(picked, "R") * layer_column(picked, "S") / pieces,
            zero_in=layer_column(picked, "input_zero_fraction"),
            zero_out=layer_column(picked, "output_zero_fraction"),
            coded_in=np.array([layer.input_tensor != image for layer in picked], dtype=np.float64),
            depthwise=np.array([layer.depthwise for layer in picked]),
        )

    def _widths(self, assignment: Assignment) -> Widths:
        """Returns what the values are stored at: the plan's bits where traffic is packed, else full words."""
        parameters, full = self.parameters, np.asarray(self.parameters.array.word_bits, dtype=np.float64)
        if not parameters.extensions.pack_traffic:
            word = np.full(assignment.weight_bits.shape, full)
            return Widths(word, word, word, word, np.ones_like(word))
        weights = assignment.weight_bits.astype(np.float64)
        inputs = assignment.input_bits.astype(np.float64)
        return Widths(
            weights=weights,
            inputs=inputs,
            outputs=assignment.output_bits.astype(np.float64),
            psums=psum_bits(parameters.mac, weights, inputs),
            mac_fraction=mac_energy_pj(parameters.mac, weights, inputs) / mac_energy_pj(parameters.mac, full, full),
        )

    def _traffic(self, prepared: Prepared, counts: Counts, widths: Widths, assignment: Assignment) -> Traffic:
        """Returns the bits moved per level and operand; feature maps are run-length coded in DRAM but for the image."""
        extensions, code = self.parameters.extensions, self.parameters.code
        stored = assignment.stored_bits if extensions.compress_filters else counts.weight_words * widths.weights
        read = stored * counts.filter_reads
        coded = np.where(prepared.coded_in > 0.0, coded_bits(code, prepared.zero_in, widths.inputs), widths.inputs)
        density = assignment.weight_density if extensions.gate_weights else np.ones_like(assignment.weight_density)
        active = counts.macs * active_fraction(prepared.zero_in, density)
        reads = counts.macs * density
        bits = {
            ("dram", "weights"): read,
            ("dram", "inputs"): counts.dram_inputs * coded,
            ("dram", "outputs"): counts.dram_outputs * coded_bits(code, prepared.zero_out, widths.outputs),
            ("glb", "weights"): read,
            ("glb", "inputs"): counts.glb_inputs * widths.inputs,
            ("glb", "outputs"): counts.glb_outputs * widths.psums,
            ("noc", "weights"): stored * counts.filter_deliveries,
            ("noc", "inputs"): counts.noc_inputs * widths.inputs,
            ("noc", "outputs"): counts.noc_outputs * widths.psums,
            ("rf", "weights"): active * widths.weights,
            ("rf", "inputs"): reads * widths.inputs,
            ("rf", "outputs"): PSUM_SPAD_ACCESSES * active * widths.psums,
        }
        return Traffic(bits=bits, active_macs=active)

    def _gating_latency(self, prepared: Prepared, counts: Counts, traffic: Traffic) -> dict[str, FloatArray]:
        """Returns cycles per image: processing, where the filter link cannot keep up a stall, then feature maps.

        Feature-map traffic to DRAM does not overlap with processing (chip); filters do, but cannot outrun the link.
        """
        link, images, tiling = self.parameters.link_bits_per_cycle, float(self.parameters.images), prepared.tiling
        compute = counts.passes * tiling.compute_cycles
        load = counts.passes * tiling.load_cycles
        stall = counts.passes * tiling.stall_cycles
        behind = traffic.bits["dram", "weights"] / link - (compute + load + stall)
        feature_maps = (traffic.bits["dram", "inputs"] + traffic.bits["dram", "outputs"]) / link
        return {
            "compute": compute / images,
            "load": (load + feature_maps) / images,
            "stall": (stall + np.maximum(behind, 0.0)) / images,
        }

    def _skipping_latency(
        self, skipping: Skipping, prepared: Prepared, assignment: Assignment, counts: Counts, traffic: Traffic
    ) -> dict[str, FloatArray]:
        """Returns cycles per image of an array that skips zeros: the work, what is loaded before it, what waits.

        Weights, first windows and last sums of a pass do not overlap with it; the buses and DRAM do, and where they
        take longer the rest is a stall. Inputs cross their bus without zeros.
        """
        tiling, images, nonzero = prepared.tiling, float(self.parameters.images), 1.0 - prepared.zero_in
        compute = self._skipping_compute(skipping, prepared, assignment, counts)
        weights = traffic.bits["glb", "weights"] / skipping.weight_bits_per_cycle
        load = weights + counts.passes * (tiling.load_cycles - tiling.filter_load_cycles)
        buses = counts.passes * np.maximum(tiling.psum_bus_cycles, tiling.ifmap_bus_cycles * nonzero)
        dram = traffic.bits["dram", "weights"] + traffic.bits["dram", "inputs"] + traffic.bits["dram", "outputs"]
        stall = np.maximum(buses - compute, 0.0)
        stall += np.maximum(dram / self.parameters.link_bits_per_cycle - compute - load - stall, 0.0)
        return {"compute": compute / images, "load": load / images, "stall": stall / images}

    def _skipping_compute(
        self, skipping: Skipping, prepared: Prepared, assignment: Assignment, counts: Counts
    ) -> FloatArray:
        """Returns cycles of processing; depthwise layers are spread over all elements and skip nothing."""
        tiling, elements = prepared.tiling, self.parameters.array.rows * self.parameters.array.columns
        filters = np.asarray(_extent(prepared, assignment).filters)
        random = np.isin(assignment.granularity, RANDOM_KINDS)
        slowest = skipping_cycles(
            skipping,
            elements=elements,
            columns=tiling.compute_cycles / tiling.filter_reads / tiling.filters_per_element,
            filters=np.minimum(tiling.filters_per_element, filters),
            nonzero_inputs=1.0 - prepared.zero_in,
            random_density=np.where(random, assignment.weight_density, 1.0),
            static_density=np.where(random, 1.0, assignment.weight_density),
        )
        passes = counts.passes * tiling.filter_reads
        return np.asarray(np.where(prepared.depthwise, counts.macs / elements, passes * slowest))

    def _energy(
        self, view: str, traffic: Traffic, widths: Widths, latency: dict[str, FloatArray]
    ) -> dict[tuple[str, str], FloatArray]:
        """Returns pJ per image and (level, operand)."""
        if view == "normalised":
            return self._normalised_pj(traffic, widths)
        return self._joules_pj(traffic, widths, latency)

    def _normalised_pj(self, traffic: Traffic, widths: Widths) -> dict[tuple[str, str], FloatArray]:
        """Returns units x unit_pj; a word's access costs the level's units, packed bits their share of it."""
        parameters, units = self.parameters, self.parameters.units
        unit_pj = parameters.unit_pj / parameters.images
        per_bit = {level: getattr(units, level) * unit_pj / parameters.array.word_bits for level in _MEMORIES}
        parts = {place: bits * per_bit[place[0]] for place, bits in traffic.bits.items()}
        parts["mac", "none"] = traffic.active_macs * widths.mac_fraction * (units.mac * unit_pj)
        return parts

    def _joules_pj(
        self, traffic: Traffic, widths: Widths, latency: dict[str, FloatArray]
    ) -> dict[tuple[str, str], FloatArray]:
        """Returns the fitted chip energy: per nonzero MAC, per buffer word, per time; and DRAM beside the chip.

        The MAC's share beyond the ALU is spread over filter and partial-sum scratchpads as one to two accesses.
        """
        joules, images = self.parameters.joules, float(self.parameters.images)
        word_bits = float(self.parameters.array.word_bits)
        bits = {place: moved / images for place, moved in traffic.bits.items()}
        spad_pj = joules.nonzero_mac_pj * (1.0 - joules.alu_fraction) / (1.0 + PSUM_SPAD_ACCESSES) / word_bits
        cycles = latency["compute"] + latency["load"] + latency["stall"]
        parts = {place: moved * joules.dram_pj_per_bit for place, moved in bits.items() if place[0] == "dram"}
        parts |= {place: moved * (joules.glb_word_pj / word_bits) for place, moved in bits.items() if place[0] == "glb"}
        parts["rf", "weights"] = bits["rf", "weights"] * spad_pj
        parts["rf", "outputs"] = bits["rf", "outputs"] * spad_pj
        alu_pj = joules.nonzero_mac_pj * joules.alu_fraction / images
        parts["mac", "none"] = traffic.active_macs * widths.mac_fraction * alu_pj
        parts["static", "none"] = cycles * (joules.static_mw / self.parameters.clock_mhz * 1e3)
        return parts


_MEMORIES = ("dram", "glb", "noc", "rf")


def _extent(prepared: Prepared, assignment: Assignment) -> Extent:
    """Returns the channels that are left per group; kernel pieces count as channels."""
    inputs, outputs = assignment.kept_inputs.astype(np.float64), assignment.kept_outputs.astype(np.float64)
    groups = np.asarray(effective_groups(prepared.groups, inputs, outputs), dtype=np.float64)
    return Extent(
        channels=inputs / groups * prepared.pieces,
        filters=outputs / groups,
        groups=groups,
        positions=prepared.positions,
        kernel=prepared.kernel,
    )


def _stack(tilings: Sequence[Tiling]) -> Tiling:
    return Tiling(
        **{field.name: np.concatenate([getattr(tiling, field.name) for tiling in tilings]) for field in fields(Tiling)}
    )
