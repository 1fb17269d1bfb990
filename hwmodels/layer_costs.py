"""Cost of every layer of one plan in the units that reports show, and its CSV form."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hwmodels.accelerator import LATENCY_PARTS, LEVELS, OPERANDS, Cost
from plan.errors import UnwritableError
from plan.layer import Network


@dataclass(frozen=True)
class LayerCost:
    """Cost of one layer: uJ in all and per level and operand, ms in all and per part, stored kB."""

    name: str
    energy_uj: float
    level_uj: dict[str, float]
    operand_uj: dict[str, float]
    latency_ms: float
    part_ms: dict[str, float]
    size_kb: float

    @property
    def bound_by(self) -> str:
        """The largest part of the latency."""
        return max(self.part_ms, key=lambda part: self.part_ms[part])

    def record(self) -> dict[str, str | float]:
        """Returns one row of the CSV file; the quantity's unit ends its name."""
        return {
            "layer": self.name,
            "energy_uj": self.energy_uj,
            **{f"{level}_uj": value for level, value in self.level_uj.items()},
            **{f"{operand}_uj": value for operand, value in self.operand_uj.items()},
            "latency_ms": self.latency_ms,
            **{f"{part}_ms": value for part, value in self.part_ms.items()},
            "size_kb": self.size_kb,
            "bound_by": self.bound_by,
        }


def layer_costs(network: Network, cost: Cost) -> list[LayerCost]:
    """Returns the layers' costs under the first plan of a batch, and last their total."""
    names = [layer.name for layer in network.layers]
    return [_layer_cost(name, cost, slice(at, at + 1)) for at, name in enumerate(names)] + [
        _layer_cost("total", cost, slice(None))
    ]


def _layer_cost(name: str, cost: Cost, layers: slice) -> LayerCost:
    to_ms = 1.0 / (cost.clock_mhz * 1e3)
    return LayerCost(
        name=name,
        energy_uj=float(cost.energy_pj[0, layers].sum() * 1e-6),
        level_uj={level: float(cost.level_pj(level)[0, layers].sum() * 1e-6) for level in LEVELS},
        operand_uj={operand: float(cost.operand_pj(operand)[0, layers].sum() * 1e-6) for operand in OPERANDS},
        latency_ms=float(cost.latency_cycles[0, layers].sum() * to_ms),
        part_ms={part: float(cost.latency_parts_cycles[part][0, layers].sum() * to_ms) for part in LATENCY_PARTS},
        size_kb=float(cost.size_bits[0, layers].sum() / 8e3),
    )


def write_csv(path: Path, rows: Sequence[LayerCost]) -> None:
    """Writes one line a layer and one for the total.

    Raises:
        UnwritableError: the file cannot be written.
    """
    records = [row.record() for row in rows]
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(records[0]))
            writer.writeheader()
            writer.writerows(records)
    except OSError as error:
        raise UnwritableError(f"cannot write {path}: {error.strerror}; choose another --csv") from error
