"""The file form of a weight-stationary array: its sections, what must agree in them, and the model they build."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hwmodels import capability_file
from hwmodels.accelerator import Nameplate
from hwmodels.schema import Field, Schema, amount, numbers, one_of, size
from hwmodels.systolic import DATAPATHS, AccessPicojoules, AccessUnits, Systolic, SystolicParameters
from plan.scheme import BlockPunched, granularity_from_json

SCHEMA: Schema = {
    "array": {
        "rows_pes": size(65536),
        "columns_pes": size(65536),
        "datapath": one_of(*DATAPATHS),
        "datapath_bits": Field("int", 1, capability_file.WIDEST_BITS),
        "accumulator_bits": Field("int", 1, 64),
        "element_area_um2": amount(1e-3, 1e9),
    },
    "buffer": {"scratchpad_kb": amount(1e-3, 1e9)},
    "clock": {"core_mhz": amount(1e-3, 1e5), "dram_bits_per_cycle": amount(1e-3, 1e8)},
    "energy_normalised": {
        "mac_units": amount(),
        "rf_units": amount(),
        "glb_units": amount(),
        "dram_units": amount(),
        "unit_pj": amount(1e-9),
    },
    "energy_joules": {
        "datapath_pj": amount(1e-9),
        "register_pj_per_bit": amount(),
        "scratchpad_pj_per_bit": amount(),
        "accumulator_pj_per_bit": amount(),
        "dram_pj_per_bit": amount(),
        "static_mw": amount(),
    },
    "capabilities": capability_file.SECTION,
}


def conflicts(content: Mapping[str, Any]) -> list[str]:
    """Returns what is wrong between fields that are each sound."""
    capabilities, array = content["capabilities"], content["array"]
    problems = []
    for key in ("weight_bits", "activation_bits"):
        if max(capabilities[key]) > array["datapath_bits"]:
            problems.append(f"[capabilities] {key} exceed datapath_bits of [array], {array['datapath_bits']}")
    return problems or _tile_problems(content)


def _tile_problems(content: Mapping[str, Any]) -> list[str]:
    """Returns the block-punched blocks that do not cover whole tiles: they are priced as skipped, so none may be."""
    rows, columns = content["array"]["rows_pes"], content["array"]["columns_pes"]
    blocks = [granularity_from_json(item) for item in content["capabilities"]["granularities"]]
    return [
        f"[capabilities] granularities: {block} does not cover whole tiles of {columns} filters x {rows} "
        "channels (columns_pes x rows_pes of [array])"
        for block in blocks
        if isinstance(block, BlockPunched) and (block.filters % columns or block.channels % rows)
    ]


def build(content: Mapping[str, Any], nameplate: Nameplate) -> Systolic:
    """Returns the accelerator of a checked file."""
    array, clock = content["array"], content["clock"]
    joules, units = numbers(content["energy_joules"]), numbers(content["energy_normalised"])
    parameters = SystolicParameters(
        rows=array["rows_pes"],
        columns=array["columns_pes"],
        datapath=array["datapath"],
        datapath_bits=array["datapath_bits"],
        datapath_pj=joules.pop("datapath_pj"),
        element_area_um2=float(array["element_area_um2"]),
        accumulator_bits=array["accumulator_bits"],
        scratchpad_bits=float(content["buffer"]["scratchpad_kb"]) * 8192.0,
        clock_mhz=float(clock["core_mhz"]),
        dram_bits_per_cycle=float(clock["dram_bits_per_cycle"]),
        joules=AccessPicojoules(**joules),
        units=AccessUnits(**{key.removesuffix("_units"): value for key, value in units.items()}),
    )
    return Systolic(nameplate, parameters)
