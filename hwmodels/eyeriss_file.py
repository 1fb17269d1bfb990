"""The file form of a row-stationary accelerator: its sections, what must agree in them, and the model they build."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hwmodels import capability_file
from hwmodels.accelerator import Nameplate
from hwmodels.dataflow import PeArray
from hwmodels.eyeriss import Eyeriss
from hwmodels.eyeriss_parameters import Extensions, EyerissParameters, JouleCosts
from hwmodels.mapping import OBJECTIVES, POLICIES, LevelUnits
from hwmodels.precision import MacEnergy
from hwmodels.schema import Field, Schema, amount, numbers, one_of, size
from hwmodels.sections import NORMALISED, RUN_LENGTH_CODE, run_length_code
from hwmodels.sparsity import Skipping

SCHEMA: Schema = {
    "array": {
        "rows_pes": size(4096),
        "columns_pes": size(4096),
        "ifmap_spad_words": size(),
        "filter_spad_words": size(),
        "psum_spad_words": size(4096),
        "word_bits": Field("int", 1, capability_file.WIDEST_BITS),
    },
    "buffer": {"capacity_words": size(1e9), "filter_preload_words": size(1e9)},
    "buses": {
        "ifmap_words_per_cycle": amount(1e-3, 1e6),
        "filter_words_per_cycle": amount(1e-3, 1e6),
        "psum_words_per_cycle": amount(1e-3, 1e6),
    },
    "clock": {"core_mhz": amount(1e-3, 1e5), "link_mb_per_s": amount(1e-3, 1e8)},
    "energy_normalised": NORMALISED,
    "energy_joules": {
        "nonzero_mac_pj": amount(),
        "alu_fraction": amount(0.0, 1.0),
        "glb_word_pj": amount(),
        "static_mw": amount(),
        "dram_pj_per_bit": amount(),
    },
    "mac_energy": {"multiply_8x8_pj": amount(1e-9), "add_32b_pj": amount(), "guard_bits": Field("int", 0, 64)},
    "run_length_code": RUN_LENGTH_CODE,
    "extensions": {"gate_weights": Field("bool"), "compress_filters": Field("bool"), "pack_traffic": Field("bool")},
    "mapping": {
        "policy": one_of(*POLICIES),
        "objective": one_of(*OBJECTIVES),
        "row_words": size(1e9),
        "images_count": size(1024),
        "weight_bits": Field("int", 1, capability_file.WIDEST_BITS),
        "activation_bits": Field("int", 1, capability_file.WIDEST_BITS),
    },
    "capabilities": capability_file.SECTION,
}

SKIPPING_SCHEMA: Schema = {
    **SCHEMA,
    "skipping": {"macs_per_pe_count": size(2), "weight_bits_per_cycle": amount(1e-3, 1e9)},
}


def conflicts(content: Mapping[str, Any]) -> list[str]:
    """Returns what is wrong between fields that are each sound."""
    capabilities, mapping = content["capabilities"], content["mapping"]
    problems = []
    word_bits, packed = content["array"]["word_bits"], content["extensions"]["pack_traffic"]
    for key in ("weight_bits", "activation_bits"):
        if not packed and capabilities[key] != [word_bits]:
            problems.append(f"[capabilities] {key} must be [{word_bits}], word_bits of [array], without pack_traffic")
        if packed and mapping[key] < max(capabilities[key]):
            problems.append(
                f"[mapping] {key} {mapping[key]} is below {max(capabilities[key])}, the widest of [capabilities]: "
                "a held mapping would not fit"
            )
    if not content["extensions"]["compress_filters"] and capabilities["storage_formats"] != ["dense"]:
        problems.append("[capabilities] storage_formats must be ['dense'] without compress_filters")
    return problems


def build(content: Mapping[str, Any], nameplate: Nameplate) -> Eyeriss:
    """Returns the accelerator of a checked file."""
    return Eyeriss(nameplate, _parameters(content))


def _parameters(content: Mapping[str, Any]) -> EyerissParameters:
    clock, mapping = content["clock"], content["mapping"]
    units = {key.removesuffix("_units"): value for key, value in numbers(content["energy_normalised"]).items()}
    unit_pj = units.pop("unit_pj")
    return EyerissParameters(
        array=_array(content),
        clock_mhz=float(clock["core_mhz"]),
        link_mb_per_s=float(clock["link_mb_per_s"]),
        images=mapping["images_count"],
        units=LevelUnits(**units),
        unit_pj=unit_pj,
        joules=JouleCosts(**numbers(content["energy_joules"])),
        mac=_mac_energy(content["mac_energy"]),
        code=run_length_code(content["run_length_code"]),
        extensions=_extensions(content["extensions"]),
        policy=mapping["policy"],
        objective=mapping["objective"],
        row_words=mapping["row_words"],
        mapping_weight_bits=mapping["weight_bits"],
        mapping_input_bits=mapping["activation_bits"],
        skipping=_skipping(content),
    )


def _skipping(content: Mapping[str, Any]) -> Skipping | None:
    section = content.get("skipping")
    if section is None:
        return None
    return Skipping(section["macs_per_pe_count"], float(section["weight_bits_per_cycle"]))


def _array(content: Mapping[str, Any]) -> PeArray:
    array, buses = content["array"], content["buses"]
    return PeArray(
        rows=array["rows_pes"],
        columns=array["columns_pes"],
        ifmap_spad_words=array["ifmap_spad_words"],
        filter_spad_words=array["filter_spad_words"],
        psum_spad_words=array["psum_spad_words"],
        buffer_words=content["buffer"]["capacity_words"],
        preload_words=content["buffer"]["filter_preload_words"],
        word_bits=array["word_bits"],
        ifmap_words_per_cycle=float(buses["ifmap_words_per_cycle"]),
        filter_words_per_cycle=float(buses["filter_words_per_cycle"]),
        psum_words_per_cycle=float(buses["psum_words_per_cycle"]),
    )


def _mac_energy(section: Mapping[str, Any]) -> MacEnergy:
    return MacEnergy(float(section["multiply_8x8_pj"]), float(section["add_32b_pj"]), section["guard_bits"])


def _extensions(section: Mapping[str, Any]) -> Extensions:
    return Extensions(section["gate_weights"], section["compress_filters"], section["pack_traffic"])
