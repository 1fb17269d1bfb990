"""Every number of a row-stationary accelerator."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwmodels.dataflow import PeArray
from hwmodels.mapping import LevelUnits, Mapper, MappingPolicy
from hwmodels.precision import MacEnergy, psum_bits
from hwmodels.sparsity import RunLengthCode, Skipping


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
