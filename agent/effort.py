"""How much a run does by default: counts that follow from the network's size, never from the clock."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from agent.config import Settings
from plan.layer import Network

SEARCH_IMAGES, SEARCH_SHARE = 2000, 0.5
"""Validation images that run for every plan that a search measures: so many at most, and so much of them. Final
candidates, and plans that tell how well the proxy ranks, which are seldom mild, run more."""
POOL = 2.5
"""Images that a measurement speaks of, for every one that runs; of those that do not, the network as given is sure,
and mild plans leave its answers as they are (docs/proxy.md)."""
CALIBRATION_PASS_IMAGES = 512
FLOPS_PER_SECOND, REPAIR_FLOPS_PER_SECOND = 4e10, 8e10
PROFILE_PASSES, TABLE_REPAIRS = 60, 6
REPAIR_PASSES = 10
SEARCH_SECONDS = 400.0
SEARCH_SECONDS_STAND_IN = 200.0
"""Where stand-in weights may have to be trained first; the same whether they are cached or not."""
FEWEST_EVALUATIONS, MOST_EVALUATIONS = 12, 48
DECISIONS_PER_SECOND = 14_000.0
DECISIONS = 150_000
FEWEST_EPISODES, MOST_EPISODES = 2_000, 8_000
MOST_ADAPTATION_PLANS = 6
FIDELITY_PLANS = 24
FINALISTS = 12
CHANGED_SHARE = 0.8
"""Share of the layers that a new plan changes, so that they are repaired anew."""


@dataclass(frozen=True)
class Effort:
    """Counts of one run.

    Attributes:
        steps: layer decisions that the agent trains on.
        evaluations: plans measured during the search, `calibration_plans` of them before it.
        adaptation_plans: of these, the agent's own from which it learns once more.
        search_images: validation images that run for every plan that the search measures.
        fidelity_plans, fidelity_images: plans that no fit sees, and the images that run for each.
        finalists: plans measured on all validation images, at most.
    """

    steps: int
    evaluations: int
    calibration_plans: int
    adaptation_plans: int
    search_images: int
    fidelity_plans: int
    fidelity_images: int
    finalists: int

    def to_json(self) -> dict[str, int]:
        """Returns the counts by name."""
        return asdict(self)


@dataclass(frozen=True)
class Pace:
    """About how long things take on two cores, in seconds; it only turns sizes into counts and forecasts.

    Attributes:
        image: one image through the network.
        repair: all layers repaired anew.
        passes: calibration images that every measured plan takes beside its own.
    """

    image: float
    repair: float
    passes: int

    @classmethod
    def of(cls, network: Network, calibration_images: int) -> Pace:
        """Returns the pace of a network."""
        repair = sum(2.0 * REPAIR_PASSES * layer.weights**2 / layer.K for layer in network.layers)
        passes = min(CALIBRATION_PASS_IMAGES, calibration_images)
        return cls(2.0 * network.macs / FLOPS_PER_SECOND, repair / REPAIR_FLOPS_PER_SECOND, passes)

    def evaluation(self, images: int) -> float:
        """Returns the seconds of one measured evaluation that changes most layers."""
        return self.image * (images + self.passes) + CHANGED_SHARE * self.repair


def effort_of(settings: Settings, network: Network, images: Mapping[str, int]) -> Effort:
    """Returns the counts of a run: as asked, else by the size of the network.

    Args:
        settings: may name steps and evaluations.
        network: its size decides the rest.
        images: number of calibration and validation images.
    """
    pace, validation = Pace.of(network, images["calibration"]), images["validation"]
    search_images = min(SEARCH_IMAGES, math.ceil(SEARCH_SHARE * validation))
    seconds = SEARCH_SECONDS_STAND_IN if settings.weights == "auto" else SEARCH_SECONDS
    affordable = round(seconds / pace.evaluation(search_images))
    evaluations = settings.evaluations or min(max(affordable, FEWEST_EVALUATIONS), MOST_EVALUATIONS)
    episodes = min(max(DECISIONS // len(network.layers), FEWEST_EPISODES), MOST_EPISODES)
    return Effort(
        steps=settings.steps or episodes * len(network.layers),
        evaluations=evaluations,
        calibration_plans=min(max(evaluations // 3, 2), 12),
        adaptation_plans=min(evaluations // 8, MOST_ADAPTATION_PLANS),
        search_images=search_images,
        fidelity_plans=FIDELITY_PLANS,
        fidelity_images=min(SEARCH_IMAGES, validation),
        finalists=FINALISTS,
    )


def predicted_seconds(effort: Effort, network: Network, images: Mapping[str, int]) -> float:
    """Returns about how long profile, table, learning and measuring take on two cores."""
    pace = Pace.of(network, images["calibration"])
    once = PROFILE_PASSES * pace.image * images["calibration"] + TABLE_REPAIRS * pace.repair
    learned = effort.steps / DECISIONS_PER_SECOND
    searched = effort.evaluations * pace.evaluation(effort.search_images)
    ranked = effort.fidelity_plans * pace.image * (effort.fidelity_images + pace.passes)
    finalists = effort.finalists if images["validation"] > POOL * effort.search_images else 1
    chosen = finalists * pace.evaluation(images["validation"])
    finished = 3 * pace.image * (images["validation"] + images["test"] + 2 * pace.passes)
    return once + learned + searched + ranked + chosen + finished
