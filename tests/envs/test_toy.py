import itertools

import numpy as np
import pytest

from envs.problem import Problem

CHOICES = ((0, 31, 1, 0), (0, 31, 0, 0), (1, 15, 1, 0), (1, 15, 0, 0))
"""Dense at 8 and 4 bits, 2:4 at 8 and 4 bits."""


def every_plan() -> np.ndarray:
    return np.array(list(itertools.product(CHOICES, repeat=3)), dtype=np.int16)


def test_sixty_four_plans(toy: Problem) -> None:
    plans = every_plan()
    assert len(plans) == 64
    for plan in plans:
        toy.space.check(plan)
    assert toy.space.log10_size == pytest.approx(np.log10(64))


@pytest.mark.parametrize(
    ("points", "energy_uj", "chosen"),
    [
        (0.2, 1.11, (0, 0, 0)),
        (0.35, 1.105, (0, 0, 1)),
        (2.0, 0.555, (1, 1, 1)),
        (5.5, 0.31, (3, 1, 0)),
        (8.0, 0.2775, (3, 3, 3)),
    ],
)
def test_known_answers(toy: Problem, points: float, energy_uj: float, chosen: tuple[int, ...]) -> None:
    """By hand: energies 1, 0.1 and 0.01 uJ halve at 4 bits and again at 2:4; errors as in `envs.toy.ERRORS`."""
    plans = every_plan()
    metrics = toy.evaluate(plans)
    within = np.flatnonzero(metrics.drop_points <= points + 1e-9)
    best = within[np.argmin(metrics.energy_uj[within])]
    assert metrics.energy_uj[best] == pytest.approx(energy_uj)
    assert plans[best].tolist() == [list(CHOICES[index]) for index in chosen]


def test_table_is_exact(toy: Problem) -> None:
    plans = every_plan()
    metrics = toy.evaluate(plans)
    exact = np.column_stack((metrics.costs(), metrics.error))
    np.testing.assert_allclose(toy.table.totals(plans), exact, rtol=1e-12, atol=1e-12)
