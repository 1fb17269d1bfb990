"""The file form of a processor core: its sections, what must agree in them, and the model they build."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hwmodels import capability_file
from hwmodels.accelerator import Nameplate
from hwmodels.schema import Field, Schema, amount, numbers, size
from hwmodels.simd import Rates, Simd, SimdCosts
from plan.scheme import BlockColumn, BlockPunched, Granularity, granularity_from_json

SCHEMA: Schema = {
    "rates": {
        "dense_macs_per_ns": amount(1e-6, 1e6),
        "block_macs_per_ns": amount(1e-6, 1e6),
        "vector_filters_count": size(4096),
        "block_ns": amount(0.0, 1e9),
        "gather_ns": amount(0.0, 1e9),
        "layer_ns": amount(0.0, 1e12),
        "dram_bits_per_ns": amount(1e-6, 1e6),
    },
    "energy_normalised": {
        "mac_units": amount(1e-9),
        "cache_units": amount(),
        "dram_units": amount(),
        "word_bits": Field("int", 1, 64),
        "unit_pj": amount(1e-9, 1e9),
    },
    "energy_joules": {
        "mac_pj": amount(1e-9),
        "cache_pj_per_bit": amount(),
        "dram_pj_per_bit": amount(),
        "static_mw": amount(),
    },
    "capabilities": capability_file.SECTION,
}
INDEXED = ("dense", "block", "pattern")


def conflicts(content: Mapping[str, Any]) -> list[str]:
    """Returns what is wrong between fields that are each sound."""
    capabilities = content["capabilities"]
    problems = []
    if not set(capabilities["storage_formats"]) <= set(INDEXED):
        problems.append(f"[capabilities] storage_formats must be among {list(INDEXED)}: other indices skip nothing")
    return problems or _block_problems(capabilities)


def _block_problems(capabilities: Mapping[str, Any]) -> list[str]:
    """Returns the granularities whose blocks are not filters at one input: their size could not be told from them."""
    listed = [granularity_from_json(item) for item in capabilities["granularities"]]
    return [
        f"[capabilities] granularities: {granularity} has no blocks of filters at one input and would not skip"
        for granularity in listed
        if not _priceable(granularity)
    ]


def _priceable(granularity: Granularity) -> bool:
    if isinstance(granularity, BlockPunched):
        return granularity.channels == 1
    return isinstance(granularity, BlockColumn) or granularity.kind not in ("kernel", "block-row")


def build(content: Mapping[str, Any], nameplate: Nameplate) -> Simd:
    """Returns the accelerator of a checked file."""
    units, rates = numbers(content["energy_normalised"]), numbers(content["rates"])
    per_bit = units["unit_pj"] / units["word_bits"]
    normalised = SimdCosts(
        mac_pj=units["mac_units"] * units["unit_pj"],
        cache_pj_per_bit=units["cache_units"] * per_bit,
        dram_pj_per_bit=units["dram_units"] * per_bit,
        static_mw=0.0,
    )
    vector_filters = int(rates.pop("vector_filters_count"))
    return Simd(
        nameplate,
        Rates(vector_filters=vector_filters, **rates),
        {"normalised": normalised, "joules": SimdCosts(**numbers(content["energy_joules"]))},
    )
