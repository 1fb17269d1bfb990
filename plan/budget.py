"""What a plan costs and what it may cost: one type for measurements and for limits."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from plan.errors import InvalidValueError

FLAGS = {
    "drop_points": "--max-drop",
    "energy_uj": "--max-energy-uj",
    "latency_ms": "--max-latency-ms",
    "size_kb": "--max-size-kb",
}


@dataclass(frozen=True)
class Budget:
    """Accuracy points lost, energy, latency and stored size; infinity means unconstrained in a limit."""

    drop_points: float = math.inf
    energy_uj: float = math.inf
    latency_ms: float = math.inf
    size_kb: float = math.inf

    def satisfied_by(self, cost: Budget) -> bool:
        """Returns whether a measured cost keeps every limit of this budget."""
        return all(getattr(cost, field.name) <= getattr(self, field.name) for field in fields(self))

    def excess(self, cost: Budget) -> dict[str, float]:
        """Returns by how much each broken limit is exceeded, empty when all are kept."""
        over = {field.name: getattr(cost, field.name) - getattr(self, field.name) for field in fields(self)}
        return {name: amount for name, amount in over.items() if amount > 0}

    def broken_share(self, cost: Budget) -> float:
        """Returns by which share of themselves the broken limits are exceeded in total, 0 when all are kept."""
        return float(sum(amount / max(getattr(self, name), 1e-9) for name, amount in self.excess(cost).items()))

    def to_json(self) -> dict[str, float]:
        """Returns the constrained limits as {"max_<quantity>": value}."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {f"max_{name}": float(value) for name, value in values.items() if math.isfinite(value)}

    @classmethod
    def limits(cls, *, drop_points: float, energy_uj: float, latency_ms: float, size_kb: float) -> Budget:
        """Returns limits checked for sense: the drop not negative, the rest positive.

        Raises:
            InvalidValueError: names the flag and the value.
        """
        given = {"drop_points": drop_points, "energy_uj": energy_uj, "latency_ms": latency_ms, "size_kb": size_kb}
        for name, value in given.items():
            low = 0.0 if name == "drop_points" else math.ulp(0.0)
            high = 100.0 if name == "drop_points" else math.inf
            if math.isnan(value) or not low <= value <= high:
                allowed = "0 to 100 points" if name == "drop_points" else "above 0"
                raise InvalidValueError(f"{FLAGS[name]} {value} is out of range (allowed: {allowed})")
        return cls(**given)
