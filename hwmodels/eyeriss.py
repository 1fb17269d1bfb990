"""Row-stationary accelerators of the Eyeriss kind: the fabricated chip, and the array with three stated extensions.

The extensions are switches: zero weights gate as zero inputs do, filters are stored compressed with their index, and
traffic is packed at the chosen bit-widths, with which the MAC energy scales. With all of them off and words of 16 bits
the model is the chip. The datapath does one MAC per element and cycle at any width; zeros save energy, never cycles.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from hwmodels.accelerator import Cost, FloatArray, Layers, Named, Nameplate, check_view
from hwmodels.bounds import Bounds, Roofline
from hwmodels.dataflow import Counts, Extent, Mapping, Mappings, Tiling, count, tile
from hwmodels.eyeriss_parameters import EyerissParameters
from hwmodels.eyeriss_timing import Load, gating_timing, nonzero_macs, skipping_timing
from hwmodels.geometry import GroupShape, group_shape, kept_channels, layer_column
from hwmodels.mapping import choose
from hwmodels.precision import mac_energy_pj, psum_bits
from hwmodels.prepared import PreparedNetworks
from hwmodels.sparsity import active_fraction, coded_bits
from hwmodels.timing import Timing, latency_parts, limits
from hwmodels.traffic import Parts, dram_bits
from plan.assignment import Assignment
from plan.errors import InvalidValueError
from plan.layer import Layer, Network

PSUM_SPAD_ACCESSES = 2.0


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
class Work:
    """What is counted of a batch: channels left, words, widths, bits moved, and MACs that are not gated, (B, L)."""

    extent: Extent
    counts: Counts
    widths: Widths
    bits: Parts
    active_macs: FloatArray


class Eyeriss(Named):
    """Prices layers on a row-stationary array.

    A layer's mapping is chosen once for its dense shape at fixed widths, then held: pruned shapes reuse it with
    ceilings, so fewer bits, weights or channels are never dearer.

    Version history: 1 (first); 2 (mappings may leave sets idle that save no pass, and every p that is best in one
    respect is priced).
    """

    def __init__(
        self, nameplate: Nameplate, parameters: EyerissParameters, *, given: dict[str, Mapping] | None = None
    ) -> None:
        super().__init__(nameplate)
        self.parameters = parameters
        self._given = dict(given or {})
        self._mapper = parameters.mapper()
        self._prepared = PreparedNetworks(self._prepare)

    def with_parameters(self, parameters: EyerissParameters, given: dict[str, Mapping] | None = None) -> Eyeriss:
        """Returns the same hardware with other parameters, and with mappings given per layer name."""
        other = hashlib.sha256(f"{self.fingerprint} {parameters} {given}".encode()).hexdigest()
        return Eyeriss(replace(self.nameplate, fingerprint=other), parameters, given=given)

    def mapping_of(self, layer: Layer) -> Mapping:
        """Returns the mapping of a layer: the given one, else the policy's."""
        if layer.name in self._given:
            return self._given[layer.name]
        try:
            return choose(self._mapper, self._shape_of(layer)[0])
        except InvalidValueError as error:
            raise InvalidValueError(f"layer '{layer.name}' on hardware '{self.name}': {error}") from error

    def evaluate(
        self, network: Network, assignment: Assignment, layers: Layers | None = None, view: str | None = None
    ) -> Cost:
        """Returns the cost of the given layers per image; see `hwmodels.accelerator.Accelerator`."""
        view = check_view(view or self.energy_view)
        prepared = self._prepared.get(network, assignment, layers)
        work = self._work(prepared, assignment)
        latency = latency_parts(self._timing(prepared, work, assignment))
        return Cost(
            energy_parts_pj=self._normalised_pj(work)
            if view == "normalised"
            else self._joules_pj(work, latency["compute"] + latency["load"] + latency["stall"]),
            latency_parts_cycles=latency,
            size_bits=np.array(assignment.stored_bits, dtype=np.float64),
            clock_mhz=self.parameters.clock_mhz,
        )

    def traffic_bits(self, network: Network, assignment: Assignment) -> Parts:
        """Returns the bits that all layers move per image and (level, operand), each (B, L)."""
        work = self._work(self._prepared.get(network, assignment), assignment)
        return {place: moved / self.parameters.images for place, moved in work.bits.items()}

    def bounds(self, network: Network, assignment: Assignment) -> Bounds:
        """Returns what holds every layer up; see `hwmodels.bounds.Explained`."""
        parameters, prepared = self.parameters, self._prepared.get(network, assignment)
        work, skipping = self._work(prepared, assignment), self.parameters.skipping
        macs = work.counts.macs if skipping is None else nonzero_macs(_load(prepared, work, assignment))
        roofline = Roofline(
            macs=macs / parameters.images,
            dram_bytes=dram_bits(work.bits) / (8.0 * parameters.images),
            peak_macs_per_cycle=float(parameters.array.elements * (skipping.macs_per_pe if skipping else 1)),
            dram_bytes_per_cycle=parameters.link_bits_per_cycle / 8.0,
        )
        return Bounds(limits(self._timing(prepared, work, assignment)), roofline)

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

    def _work(self, prepared: Prepared, assignment: Assignment) -> Work:
        extent = _extent(prepared, assignment)
        counts, widths = count(prepared.tiling, extent), self._widths(assignment)
        gates = self.parameters.extensions.gate_weights
        density = assignment.weight_density if gates else np.ones_like(assignment.weight_density)
        active = counts.macs * active_fraction(1.0 - prepared.zero_in, density)
        bits = self._traffic_bits(prepared, counts, widths, assignment.stored_bits)
        bits |= {
            ("rf", "weights"): active * widths.weights,
            ("rf", "inputs"): counts.macs * density * widths.inputs,
            ("rf", "outputs"): PSUM_SPAD_ACCESSES * active * widths.psums,
        }
        return Work(extent, counts, widths, bits, active)

    def _traffic_bits(self, prepared: Prepared, counts: Counts, widths: Widths, stored_bits: FloatArray) -> Parts:
        """Returns the bits moved between levels; feature maps are run-length coded in DRAM but for the image."""
        extensions, code = self.parameters.extensions, self.parameters.code
        stored = stored_bits if extensions.compress_filters else counts.weight_words * widths.weights
        read = stored * counts.filter_reads
        coded = np.where(prepared.coded_in > 0.0, coded_bits(code, prepared.zero_in, widths.inputs), widths.inputs)
        return {
            ("dram", "weights"): read,
            ("dram", "inputs"): counts.dram_inputs * coded,
            ("dram", "outputs"): counts.dram_outputs * coded_bits(code, prepared.zero_out, widths.outputs),
            ("glb", "weights"): read,
            ("glb", "inputs"): counts.glb_inputs * widths.inputs,
            ("glb", "outputs"): counts.glb_outputs * widths.psums,
            ("noc", "weights"): stored * counts.filter_deliveries,
            ("noc", "inputs"): counts.noc_inputs * widths.inputs,
            ("noc", "outputs"): counts.noc_outputs * widths.psums,
        }

    def _timing(self, prepared: Prepared, work: Work, assignment: Assignment) -> Timing:
        parameters, load = self.parameters, _load(prepared, work, assignment)
        link, images = parameters.link_bits_per_cycle, float(parameters.images)
        if parameters.skipping is None:
            return gating_timing(load, link, images)
        return skipping_timing(parameters.skipping, load, parameters.array.elements, link, images)

    def _normalised_pj(self, work: Work) -> Parts:
        """Returns units x unit_pj; a word's access costs the level's units, packed bits their share of it."""
        parameters, units = self.parameters, self.parameters.units
        unit_pj = parameters.unit_pj / parameters.images
        per_bit = {level: getattr(units, level) * unit_pj / parameters.array.word_bits for level in _MEMORIES}
        parts = {place: bits * per_bit[place[0]] for place, bits in work.bits.items()}
        parts["mac", "none"] = work.active_macs * work.widths.mac_fraction * (units.mac * unit_pj)
        return parts

    def _joules_pj(self, work: Work, cycles: FloatArray) -> Parts:
        """Returns the fitted chip energy: per nonzero MAC, per buffer word, per time; and DRAM beside the chip.

        The MAC's share beyond the ALU is spread over filter and partial-sum scratchpads as one to two accesses.
        """
        joules, images = self.parameters.joules, float(self.parameters.images)
        word_bits = float(self.parameters.array.word_bits)
        bits = {place: moved / images for place, moved in work.bits.items()}
        spad_pj = joules.nonzero_mac_pj * (1.0 - joules.alu_fraction) / (1.0 + PSUM_SPAD_ACCESSES) / word_bits
        parts = {place: moved * joules.dram_pj_per_bit for place, moved in bits.items() if place[0] == "dram"}
        parts |= {place: moved * (joules.glb_word_pj / word_bits) for place, moved in bits.items() if place[0] == "glb"}
        parts["rf", "weights"] = bits["rf", "weights"] * spad_pj
        parts["rf", "outputs"] = bits["rf", "outputs"] * spad_pj
        alu_pj = joules.nonzero_mac_pj * joules.alu_fraction / images
        parts["mac", "none"] = work.active_macs * work.widths.mac_fraction * alu_pj
        parts["static", "none"] = cycles * (joules.static_mw / self.parameters.clock_mhz * 1e3)
        return parts


_MEMORIES = ("dram", "glb", "noc", "rf")


def _extent(prepared: Prepared, assignment: Assignment) -> Extent:
    """Returns the channels that are left per group; kernel pieces count as channels."""
    left = kept_channels(prepared.groups, assignment)
    return Extent(
        channels=left.channels * prepared.pieces,
        filters=left.filters,
        groups=left.groups,
        positions=prepared.positions,
        kernel=prepared.kernel,
    )


def _load(prepared: Prepared, work: Work, assignment: Assignment) -> Load:
    """Returns what the timing of the layers depends on."""
    return Load(
        tiling=prepared.tiling,
        counts=work.counts,
        bits=work.bits,
        filters=work.extent.filters,
        nonzero_inputs=1.0 - prepared.zero_in,
        depthwise=prepared.depthwise,
        granularity=assignment.granularity,
        weight_density=assignment.weight_density,
    )


def _stack(tilings: Sequence[Tiling]) -> Tiling:
    return Tiling(
        **{field.name: np.concatenate([getattr(tiling, field.name) for tiling in tilings]) for field in fields(Tiling)}
    )
