"""Cost of every layer of one plan in the units that reports show, and its CSV form."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hwmodels.accelerator import LATENCY_PARTS, LEVELS, OPERANDS, Cost, FloatArray
from hwmodels.bounds import Bounds, Roofline
from plan.errors import UnwritableError
from plan.layer import Network


@dataclass(frozen=True)
class Work:
    """Where a layer stands under the roofline: MACs per byte of DRAM and per cycle, and the peak of the latter."""

    macs_per_byte: float
    macs_per_cycle: float
    peak_macs_per_cycle: float

    @property
    def utilisation(self) -> float:
        """Fraction of the datapath's peak that is reached."""
        return self.macs_per_cycle / self.peak_macs_per_cycle


@dataclass(frozen=True)
class LayerCost:
    """Cost of one layer: uJ in all and per level and operand, ms in all, per part and per limit, stored kB.

    limit_ms: for how long each of `hwmodels.timing.LIMITS` held the layer up; their sum is the latency
    work: None where the hardware's ceilings are not known
    """

    name: str
    energy_uj: float
    level_uj: dict[str, float]
    operand_uj: dict[str, float]
    latency_ms: float
    part_ms: dict[str, float]
    limit_ms: dict[str, float]
    work: Work | None
    size_kb: float

    @property
    def bound_by(self) -> str:
        """What held the layer up for the longest time."""
        return max(self.limit_ms, key=lambda limit: self.limit_ms[limit])

    def record(self) -> dict[str, str | float]:
        """Returns one row of the CSV file; the quantity's unit ends its name."""
        ratios = (self.work.macs_per_byte, self.work.macs_per_cycle, self.work.utilisation) if self.work else [""] * 3
        return {
            "layer": self.name,
            "energy_uj": self.energy_uj,
            **{f"{level}_uj": value for level, value in self.level_uj.items()},
            **{f"{operand}_uj": value for operand, value in self.operand_uj.items()},
            "latency_ms": self.latency_ms,
            **{f"{part}_ms": value for part, value in self.part_ms.items()},
            "size_kb": self.size_kb,
            "bound_by": self.bound_by,
            **{f"bound_by_{limit}_ms": value for limit, value in self.limit_ms.items()},
            **dict(zip(("macs_per_dram_byte", "macs_per_cycle", "utilisation"), ratios, strict=True)),
        }


def layer_costs(network: Network, cost: Cost, bounds: Bounds) -> list[LayerCost]:
    """Returns the layers' costs under the first plan of a batch, and last their total."""
    places = [(layer.name, slice(at, at + 1)) for at, layer in enumerate(network.layers)]
    return [_layer_cost(name, cost, bounds, layers) for name, layers in [*places, ("total", slice(None))]]


def _layer_cost(name: str, cost: Cost, bounds: Bounds, layers: slice) -> LayerCost:
    def total(values: FloatArray, scale: float) -> float:
        return float(values[0, layers].sum() * scale)

    to_ms = 1.0 / (cost.clock_mhz * 1e3)
    return LayerCost(
        name=name,
        energy_uj=total(cost.energy_pj, 1e-6),
        level_uj={level: total(cost.level_pj(level), 1e-6) for level in LEVELS},
        operand_uj={operand: total(cost.operand_pj(operand), 1e-6) for operand in OPERANDS},
        latency_ms=total(cost.latency_cycles, to_ms),
        part_ms={part: total(cost.latency_parts_cycles[part], to_ms) for part in LATENCY_PARTS},
        limit_ms={limit: total(cycles, to_ms) for limit, cycles in bounds.cycles.items()},
        work=_work(bounds.roofline, total(cost.latency_cycles, 1.0), layers),
        size_kb=total(cost.size_bits, 1.0 / 8e3),
    )


def _work(roofline: Roofline | None, cycles: float, layers: slice) -> Work | None:
    if roofline is None:
        return None
    macs = float(roofline.macs[0, layers].sum())
    moved = float(roofline.dram_bytes[0, layers].sum())
    return Work(macs / moved, macs / cycles, roofline.peak_macs_per_cycle)


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
