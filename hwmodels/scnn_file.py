"""The file form of an array of Cartesian products: its sections, what must agree in them, and the model they build."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hwmodels import capability_file
from hwmodels.accelerator import Nameplate
from hwmodels.schema import Field, Schema, amount, numbers, size
from hwmodels.scnn import LevelCosts, Scnn, ScnnParameters
from hwmodels.sections import NORMALISED, RUN_LENGTH_CODE, run_length_code

SCHEMA: Schema = {
    "array": {
        "rows_pes": size(4096),
        "columns_pes": size(4096),
        "weight_lanes_count": size(256),
        "input_lanes_count": size(256),
        "accumulator_words": size(1e7),
        "accumulator_bits": Field("int", 1, 64),
        "word_bits": Field("int", 1, capability_file.WIDEST_BITS),
    },
    "buffer": {"activations_kb": amount(1e-3, 1e9)},
    "clock": {"core_mhz": amount(1e-3, 1e5), "dram_bits_per_cycle": amount(1e-3, 1e8)},
    "energy_normalised": NORMALISED,
    "energy_joules": {
        "mac_pj": amount(1e-9),
        "rf_pj_per_bit": amount(),
        "noc_pj_per_bit": amount(),
        "glb_pj_per_bit": amount(),
        "dram_pj_per_bit": amount(),
        "static_mw": amount(),
    },
    "run_length_code": RUN_LENGTH_CODE,
    "capabilities": capability_file.SECTION,
}


def conflicts(content: Mapping[str, Any]) -> list[str]:
    """Returns what is wrong between fields that are each sound."""
    capabilities, word_bits = content["capabilities"], content["array"]["word_bits"]
    problems = []
    units = content["energy_normalised"]
    if not any(units[key] for key in units if key.endswith("_units")):
        problems.append(
            "[energy_normalised] at least one of mac_units, rf_units, noc_units, glb_units, dram_units must be above 0"
        )
    for key in ("weight_bits", "activation_bits"):
        if max(capabilities[key]) > word_bits:
            problems.append(f"[capabilities] {key} exceed word_bits of [array], {word_bits}, the multipliers' width")
    return problems


def build(content: Mapping[str, Any], nameplate: Nameplate) -> Scnn:
    """Returns the accelerator of a checked file."""
    array, clock = content["array"], content["clock"]
    parameters = ScnnParameters(
        rows=array["rows_pes"],
        columns=array["columns_pes"],
        weight_lanes=array["weight_lanes_count"],
        input_lanes=array["input_lanes_count"],
        accumulator_entries=array["accumulator_words"],
        accumulator_bits=array["accumulator_bits"],
        activation_bits=float(content["buffer"]["activations_kb"]) * 8192.0,
        clock_mhz=float(clock["core_mhz"]),
        dram_bits_per_cycle=float(clock["dram_bits_per_cycle"]),
        code=run_length_code(content["run_length_code"]),
        normalised=_normalised(content["energy_normalised"], float(array["word_bits"])),
        joules=LevelCosts(**numbers(content["energy_joules"])),
    )
    return Scnn(nameplate, parameters)


def _normalised(section: Mapping[str, Any], word_bits: float) -> LevelCosts:
    """Returns units per word of the datapath as pJ per bit."""
    unit = float(section["unit_pj"])
    levels = ("rf", "noc", "glb", "dram")
    per_bit = {f"{level}_pj_per_bit": float(section[f"{level}_units"]) * unit / word_bits for level in levels}
    return LevelCosts(mac_pj=float(section["mac_units"]) * unit, static_mw=0.0, **per_bit)
