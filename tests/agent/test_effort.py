"""Default counts follow from the network and the request, and nothing else."""

from dataclasses import replace

import pytest

from agent.config import METHODS, Settings
from agent.effort import FEWEST_EVALUATIONS, FINALISTS, MOST_EVALUATIONS, Pace, effort_of, predicted_seconds
from agent.searchers.registry import SEARCHERS
from envs.problem import Problem

IMAGES = {"calibration": 200, "validation": 5000, "test": 5000}


def test_asked_counts_are_kept(chain: Problem) -> None:
    effort = effort_of(Settings("net", "hw", steps=123, evaluations=9), chain.network, IMAGES)
    assert (effort.steps, effort.evaluations, effort.calibration_plans) == (123, 9, 3)


def test_default_counts_are_bounded(chain: Problem) -> None:
    effort = effort_of(Settings("net", "hw"), chain.network, IMAGES)
    assert FEWEST_EVALUATIONS <= effort.evaluations <= MOST_EVALUATIONS
    assert effort.search_images == 2000
    assert effort.steps % len(chain.network.layers) == 0
    assert predicted_seconds(effort, chain.network, IMAGES) > 0


@pytest.mark.parametrize(("validation", "finalists"), [(5000, 1), (5001, FINALISTS)])
def test_finalists_take_time_where_they_see_more_images(chain: Problem, validation: int, finalists: int) -> None:
    """One confirms what a search found whose measurements speak of all images."""
    images = {**IMAGES, "validation": validation}
    effort, pace = (
        effort_of(Settings("net", "hw"), chain.network, images),
        Pace.of(chain.network, images["calibration"]),
    )
    more = predicted_seconds(replace(effort, search_images=100), chain.network, images)
    searched = effort.evaluations * (pace.evaluation(2000) - pace.evaluation(100))
    others = (FINALISTS - finalists) * pace.evaluation(validation)
    assert predicted_seconds(effort, chain.network, images) == pytest.approx(more + searched - others)


@pytest.mark.parametrize(("validation", "searched", "ranked"), [(1, 1, 1), (351, 176, 351), (50_000, 2000, 2000)])
def test_half_of_few_images_are_searched(chain: Problem, validation: int, searched: int, ranked: int) -> None:
    effort = effort_of(Settings("net", "hw"), chain.network, {**IMAGES, "validation": validation})
    assert (effort.search_images, effort.fidelity_images) == (searched, ranked)


def test_every_searcher_has_a_flag() -> None:
    assert set(METHODS) == set(SEARCHERS.names())
