"""The published tables as data: layers with their shapes, mappings and measured figures."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping as Section
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from hwmodels.dataflow import Mapping
from plan.layer import InputSegment, Layer, Network

MEASURED_TABLES = ("alexnet", "vgg16")


@dataclass(frozen=True)
class Measured:
    """Figures of one layer for a whole batch: times in ms, mean chip power in mW, traffic in MB of 1e6 bytes."""

    processing_ms: float
    total_ms: float
    power_mw: float
    glb_mb: float
    dram_mb: float
    active_pes: int

    @property
    def chip_energy_mj(self) -> float:
        """Energy of the chip without DRAM, mJ."""
        return self.power_mw * self.total_ms * 1e-3


@dataclass(frozen=True)
class MeasuredTable:
    """One published table: a network with its measured zero fractions, a mapping and figures per layer."""

    name: str
    source: str
    images: int
    network: Network
    mappings: dict[str, Mapping]
    measured: tuple[Measured, ...]


@dataclass(frozen=True)
class Figure10:
    """Energy of AlexNet on a larger array, 1e9 MAC units for a batch; no on-chip buffer or network in the figure."""

    source: str
    rows: int
    columns: int
    buffer_words: int
    images: int
    units: dict[str, dict[str, float]]


def measured_table(name: str) -> MeasuredTable:
    """Returns the table of one of `MEASURED_TABLES`."""
    content = _read()[name]
    layers = [_layer(entry, position) for position, entry in enumerate(content["layers"])]
    first = layers[0]
    return MeasuredTable(
        name=name,
        source=content["source"],
        images=content["images_count"],
        network=Network(name, (first.C, first.H, first.W), tuple(layers), (), ()),
        mappings={entry["name"]: Mapping(**entry["mapping"]) for entry in content["layers"]},
        measured=tuple(
            Measured(**{key: entry[key] for key in Measured.__dataclass_fields__}) for entry in content["layers"]
        ),
    )


def figure10() -> Figure10:
    """Returns the published energy of AlexNet's convolutions on 256 elements."""
    content = _read()["figure10"]
    return Figure10(
        source=content["source"],
        rows=content["rows_pes"],
        columns=content["columns_pes"],
        buffer_words=content["capacity_words"],
        images=content["images_count"],
        units={
            entry["name"]: {key.removesuffix("_gigaunits"): value for key, value in entry.items() if key != "name"}
            for entry in content["layers"]
        },
    )


def _read() -> dict[str, Any]:
    return tomllib.loads((files("hwmodels.validation") / "published.toml").read_text(encoding="utf-8"))


def _layer(entry: Section[str, Any], position: int) -> Layer:
    shape = entry["shape"]
    return Layer(
        name=entry["name"],
        op="conv",
        **shape,
        input_tensor=f"tensor{position}",
        output_tensor=f"tensor{position + 1}",
        inputs=(InputSegment(position, shape["C"]),),
        output_group=position + 1,
        input_zero_fraction=entry["input_zero_fraction"],
        output_zero_fraction=entry["output_zero_fraction"],
    )
