"""The validation card: published figure, model and error of every layer of every table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from hwmodels.accelerator import FloatArray
from hwmodels.assignments import dense
from hwmodels.eyeriss import Eyeriss
from hwmodels.validation.published import Figure10, MeasuredTable

QUANTITIES = ("processing_ms", "total_ms", "glb_mb", "dram_mb", "chip_energy_mj")


@dataclass(frozen=True)
class Row:
    """One figure of one layer, in the unit that `quantity` ends with; `reason` says why the model deviates."""

    layer: str
    quantity: str
    published: float
    model: float
    reason: str = ""

    @property
    def error(self) -> float:
        """Relative error, positive where the model is higher."""
        return self.model / self.published - 1.0


def measured_rows(chip: Eyeriss, table: MeasuredTable, *, mapping_given: bool) -> list[Row]:
    """Returns the rows of a measured table, with its own mappings or with those of the chip's policy."""
    given = table.mappings if mapping_given else {}
    model = chip.with_parameters(replace(chip.parameters, images=table.images), given)
    figures = _figures(model, table)
    return [
        Row(layer.name, quantity, float(getattr(measured, quantity)), float(figures[quantity][position]))
        for quantity in QUANTITIES
        for position, (layer, measured) in enumerate(zip(table.network.layers, table.measured, strict=True))
    ]


def _figures(model: Eyeriss, table: MeasuredTable) -> dict[str, FloatArray]:
    """Returns the model's figures for the whole batch, each (L,)."""
    everything = dense(table.network, 16)
    cost = model.evaluate(table.network, everything, view="joules")
    bits = model.traffic_bits(table.network, everything)
    link = model.parameters.link_bits_per_cycle
    feature_map_cycles = (bits["dram", "inputs"] + bits["dram", "outputs"]) / link
    to_ms = table.images / (cost.clock_mhz * 1e3)
    to_mb = table.images / 8e6
    return {
        "processing_ms": ((cost.latency_cycles - feature_map_cycles) * to_ms)[0],
        "total_ms": (cost.latency_cycles * to_ms)[0],
        "glb_mb": _level(bits, "glb")[0] * to_mb,
        "dram_mb": _level(bits, "dram")[0] * to_mb,
        "chip_energy_mj": (cost.energy_pj - cost.level_pj("dram"))[0] * table.images * 1e-9,
    }


def _level(bits: dict[tuple[str, str], FloatArray], level: str) -> FloatArray:
    return np.asarray(np.sum([moved for (at, _), moved in bits.items() if at == level], axis=0))


def figure10_rows(chip: Eyeriss, figure: Figure10, table: MeasuredTable) -> list[Row]:
    """Returns the rows of ISCA 2016, figure 10: energy-optimal mappings, no zeros, the figure's larger array."""
    array = replace(chip.parameters.array, rows=figure.rows, columns=figure.columns, buffer_words=figure.buffer_words)
    parameters = replace(chip.parameters, array=array, images=figure.images, policy="search", objective="energy")
    model = chip.with_parameters(parameters)
    network = table.network.with_zero_fractions([0.0] * len(table.measured), [0.0] * len(table.measured))
    cost = model.evaluate(network, dense(network, 16), view="normalised")
    scale = figure.images / parameters.unit_pj * 1e-9
    parts = {"alu": cost.level_pj("mac"), "dram": cost.level_pj("dram"), "rf": cost.level_pj("rf")}
    rows = [
        Row(layer.name, level, figure.units[layer.name][level], float(parts[level][0, position] * scale))
        for level in parts
        for position, layer in enumerate(network.layers)
    ]
    return [*rows, Row("total", "all", sum(r.published for r in rows), sum(r.model for r in rows))]


def mean_errors(rows: Sequence[Row]) -> dict[str, float]:
    """Returns the mean absolute relative error per quantity, in order of appearance."""
    quantities = dict.fromkeys(row.quantity for row in rows)
    return {
        quantity: float(np.mean([abs(row.error) for row in rows if row.quantity == quantity]))
        for quantity in quantities
    }
