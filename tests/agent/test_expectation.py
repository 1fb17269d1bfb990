"""What a part of the images and the predictions say of the drop on all images, by hand."""

import numpy as np
import pytest

from agent.expectation import BIAS_PRIOR, SURE_SPREAD, VARIANCE, VARIANCE_PRIOR, Expectation
from agent.exploration import jittered_plans, nearest
from envs.accuracy.archive import Archive, Measurement
from envs.problem import Problem
from plan.scheme import Scheme

SEARCHED, ALL = 400, 1000
SHARE = SEARCHED / ALL


class Off:
    """Plans lose `first` points on the first 400 images, and `rest` on the others, whatever they are."""

    images_id = "off"

    def __init__(self, first: float, rest: float) -> None:
        self.first, self.rest = first, rest

    def dense(self, images: int) -> np.ndarray:
        return np.ones(images, dtype=np.bool_)

    def correct(self, schemes: tuple[Scheme, ...], images: int) -> np.ndarray:
        right = np.ones(ALL, dtype=np.bool_)
        right[: round(self.first / 100 * SEARCHED)] = False
        right[SEARCHED : SEARCHED + round(self.rest / 100 * (ALL - SEARCHED))] = False
        return right[:images]


def measured(problem: Problem, finalists: int) -> tuple[tuple[Measurement, ...], tuple[Measurement, ...]]:
    archive = Archive(problem, Off(1.0, 2.0))
    plans = nearest(problem, jittered_plans(problem, np.random.default_rng(0), 200), np.array([0.5, 1.0, 2.0]))
    for plan in plans:
        archive.evaluate(plan, SEARCHED)
    for plan in plans[:finalists]:
        archive.evaluate(plan, ALL)
    return archive.on(SEARCHED), archive.on(ALL)


def test_without_finalists_the_rest_is_as_predicted(chain: Problem) -> None:
    searched, found = measured(chain, 0)
    expectation = Expectation.of(chain, searched, found, ALL)
    predicted = np.array([chain.predicted_drop(entry.choice) for entry in searched])
    assert expectation.bias_points == 0.0
    assert expectation.of_searched(searched) == pytest.approx(SHARE * 1.0 + (1 - SHARE) * predicted)
    assert expectation.of_new([entry.choice for entry in searched]) == pytest.approx(predicted)


def test_finalists_tell_what_plans_lose_beyond_predictions(chain: Problem) -> None:
    searched, found = measured(chain, 2)
    expectation = Expectation.of(chain, searched, found, ALL)
    worse = [2.0 - chain.predicted_drop(entry.choice) for entry in found]
    bias = sum(worse) / (2 + BIAS_PRIOR)
    assert expectation.bias_points == pytest.approx(bias)
    last = searched[2]
    predicted = chain.predicted_drop(last.choice)
    assert expectation.of_searched([last]) == pytest.approx([SHARE + (1 - SHARE) * (predicted + bias)])
    assert expectation.of_new([last.choice]) == pytest.approx([predicted + (1 - SHARE) * bias])


def test_spread_by_hand(chain: Problem) -> None:
    searched, found = measured(chain, 0)
    shown = sum(SEARCHED * (1.0 - chain.predicted_drop(entry.choice)) ** 2 for entry in searched)
    variance = (VARIANCE_PRIOR * VARIANCE + shown) / (VARIANCE_PRIOR + len(searched))
    expectation = Expectation.of(chain, searched, found, ALL)
    assert expectation.new_spread == pytest.approx(np.sqrt(variance / ALL))
    rest = np.sqrt(variance / (ALL - SEARCHED))
    assert expectation.searched_spread == pytest.approx(np.hypot((1 - SHARE) * rest, SURE_SPREAD))


def test_nothing_searched_leaves_the_predictions(chain: Problem) -> None:
    expectation = Expectation.of(chain, (), (), ALL)
    start = chain.space.start
    assert expectation.of_new([start]) == pytest.approx([chain.predicted_drop(start)])
    assert expectation.of_searched([]).shape == (0,)
    assert expectation.new_spread == pytest.approx(np.sqrt(VARIANCE / ALL))
