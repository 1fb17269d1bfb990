"""Sections that the files of several kinds of hardware have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hwmodels.schema import Field, Section, amount
from hwmodels.sparsity import RunLengthCode

NORMALISED: Section = {
    "mac_units": amount(),
    "rf_units": amount(),
    "noc_units": amount(),
    "glb_units": amount(),
    "dram_units": amount(),
    "unit_pj": amount(1e-9, 1e9),
}

RUN_LENGTH_CODE: Section = {"run_bits": Field("int", 1, 16), "packing_overhead_ratio": amount(1.0, 64.0)}


def run_length_code(section: Mapping[str, Any]) -> RunLengthCode:
    """Returns the code of a checked section."""
    return RunLengthCode(section["run_bits"], float(section["packing_overhead_ratio"]))
