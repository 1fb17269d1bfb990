"""Energy of the dense network and of a plan by memory level and layer, priced again by the hardware model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agent.record import network_of
from agent.transfer import transfer
from hwmodels.accelerator import LEVELS, VIEWS, Accelerator, Cost
from plan.assignment import FloatArray
from plan.document import Document, schemes_of
from plan.layer import Network

SIDES = ("dense", "plan")


@dataclass(frozen=True, eq=False)
class EnergySplit:
    """Energy in uJ for one image.

    Attributes:
        levels: view -> side ("dense" or "plan") -> memory level -> uJ, the hardware's own view first; their sum is the
            energy of that side.
        layers: side -> float64 (L,), in the hardware's own view.
    """

    levels: dict[str, dict[str, dict[str, float]]]
    layers: dict[str, FloatArray]

    @property
    def other_views(self) -> dict[str, tuple[float, float]]:
        """Energy of the dense network and of the plan in uJ, per view that the plan was not made in."""
        _, *others = self.levels.items()
        return {view: (sum(sides["dense"].values()), sum(sides["plan"].values())) for view, sides in others}


def energy_split(document: Document, network: Network, accelerator: Accelerator) -> EnergySplit:
    """Returns the energy of a plan and of the dense network at baseline bits, split.

    Args:
        document: a checked plan.
        network: its network; the zero fractions that the plan states are used.
        accelerator: its hardware.
    """
    stated = network_of(document, network)
    bits = document["baseline"]["weight_bits"]
    moved = transfer(stated, schemes_of(document), accelerator.capabilities, bits)
    assignment = moved.space.resolve(np.stack((moved.space.baseline, moved.choice)))
    view = document["hardware"]["energy_view"]
    others = [other for other in VIEWS if other != view]
    costs = {each: accelerator.evaluate(stated, assignment, view=each) for each in (view, *others)}
    own = costs[view].energy_pj * 1e-6
    return EnergySplit(
        levels={each: {side: _levels(cost, row) for row, side in enumerate(SIDES)} for each, cost in costs.items()},
        layers={side: own[row] for row, side in enumerate(SIDES)},
    )


def _levels(cost: Cost, row: int) -> dict[str, float]:
    return {level: float(cost.level_pj(level)[row].sum() * 1e-6) for level in LEVELS}
