"""The [capabilities] section that every hardware file has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hwmodels.schema import Field, Section
from plan.capabilities import Capabilities
from plan.errors import InvalidValueError
from plan.scheme import granularity_from_json
from plan.storage import FORMATS

WIDEST_BITS = 16

SECTION: Section = {
    "weight_bits": Field("ints", 1, WIDEST_BITS),
    "activation_bits": Field("ints", 1, WIDEST_BITS),
    "storage_formats": Field("texts", choices=FORMATS),
    "granularities": Field("tables"),
}


def conflicts(section: Mapping[str, Any]) -> list[str]:
    """Returns what is wrong between or inside the lists: no dense alternative, unknown or repeated granularities."""
    problems = []
    if "dense" not in section["storage_formats"]:
        problems.append("[capabilities] storage_formats must include 'dense'")
    seen: list[object] = []
    for item in section["granularities"]:
        try:
            granularity_from_json(item)
        except InvalidValueError as error:
            problems.append(f"[capabilities] granularities: {error}")
        if item in seen:
            problems.append(f"[capabilities] granularities lists {item} twice")
        seen.append(item)
    if {"type": "dense"} not in seen:
        problems.append("[capabilities] granularities must include { type = 'dense' }")
    return problems


def build(section: Mapping[str, Any]) -> Capabilities:
    """Returns the capabilities of a checked section."""
    return Capabilities(
        granularities=tuple(granularity_from_json(item) for item in section["granularities"]),
        weight_bits=tuple(section["weight_bits"]),
        activation_bits=tuple(section["activation_bits"]),
        storage_formats=tuple(section["storage_formats"]),
    )
