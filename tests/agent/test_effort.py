"""Default counts follow from the network and the request, and nothing else."""

from dataclasses import replace

import pytest

from agent.config import METHODS, Settings
from agent.effort import FEWEST_EVALUATIONS, MOST_EVALUATIONS, Pace, effort_of, predicted_seconds
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


def test_finalists_take_time_where_they_see_more_images(chain: Problem) -> None:
    effort = effort_of(Settings("net", "hw"), chain.network, IMAGES)
    pace = Pace.of(chain.network, IMAGES["calibration"])
    alone = predicted_seconds(replace(effort, finalists=0), chain.network, IMAGES)
    spent = effort.finalists * pace.evaluation(IMAGES["validation"])
    assert predicted_seconds(effort, chain.network, IMAGES) == pytest.approx(alone + spent)


def test_few_images_are_all_used(chain: Problem) -> None:
    effort = effort_of(Settings("net", "hw"), chain.network, {**IMAGES, "validation": 350})
    assert (effort.search_images, effort.fidelity_images) == (350, 350)


def test_every_searcher_has_a_flag() -> None:
    assert set(METHODS) == set(SEARCHERS.names())
