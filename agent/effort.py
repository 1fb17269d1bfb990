"""How much a run does by default: counts that follow from the network's size, never from the clock."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from agent.config import Settings
from plan.layer import Network

SEARCH_IMAGES = 2000
"""Validation images on which a search measures; final candidates see all of them."""
CALIBRATION_PASS_IMAGES = 512
FLOPS_PER_SECOND = 4e10
"""Of a small convolution network on two cores; only turns sizes into counts."""
REPAIR_PASSES = 10
SEARCH_SECONDS = 200.0
FEWEST_EVALUATIONS, MOST_EVALUATIONS = 24, 64
DECISIONS_PER_SECOND = 8_000.0
DECISIONS = 150_000
FEWEST_EPISODES, MOST_EPISODES = 2_000, 8_000
FIDELITY_PLANS = 24
FINALISTS = 6
CHANGED_SHARE = 0.5
"""Share of the layers that a new plan changes, so that they are repaired anew."""


@dataclass(frozen=True)
class Effort:
    """Counts of one run.

    Attributes:
        steps: layer decisions that the agent trains on.
        evaluations: plans measured during the search, `calibration_plans` of them before it.
        search_images: validation images that the search measures on.
        fidelity_plans, fidelity_images: plans that no fit sees, and the images that they are measured on.
        finalists: plans measured on all validation images, at most.
    """

    steps: int
    evaluations: int
    calibration_plans: int
    search_images: int
    fidelity_plans: int
    fidelity_images: int
    finalists: int

    def to_json(self) -> dict[str, int]:
        """Returns the counts by name."""
        return asdict(self)


def evaluation_seconds(network: Network, images: int) -> float:
    """Returns about how long one measured evaluation takes on two cores."""
    forward = 2.0 * network.macs * (images + CALIBRATION_PASS_IMAGES)
    repair = sum(2.0 * REPAIR_PASSES * layer.weights**2 / layer.K for layer in network.layers)
    return (forward + CHANGED_SHARE * repair) / FLOPS_PER_SECOND


def effort_of(settings: Settings, network: Network, validation_images: int) -> Effort:
    """Returns the counts of a run: as asked, else by the size of the network."""
    images = min(SEARCH_IMAGES, validation_images)
    affordable = round(SEARCH_SECONDS / evaluation_seconds(network, images))
    evaluations = settings.evaluations or min(max(affordable, FEWEST_EVALUATIONS), MOST_EVALUATIONS)
    episodes = min(max(DECISIONS // len(network.layers), FEWEST_EPISODES), MOST_EPISODES)
    return Effort(
        steps=settings.steps or episodes * len(network.layers),
        evaluations=evaluations,
        calibration_plans=min(max(evaluations // 3, 2), 12),
        search_images=images,
        fidelity_plans=FIDELITY_PLANS,
        fidelity_images=images,
        finalists=FINALISTS,
    )


def predicted_seconds(effort: Effort, network: Network) -> float:
    """Returns about how long learning and measuring take on two cores."""
    measured = effort.evaluations + effort.fidelity_plans + 2 * effort.finalists
    return measured * evaluation_seconds(network, effort.search_images) + effort.steps / DECISIONS_PER_SECOND
