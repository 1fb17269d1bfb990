"""How much activations' errors count is learned from measured plans."""

import numpy as np
import pytest

from envs.accuracy.balance import fit_balanced
from envs.accuracy.calibration import Calibration
from envs.problem import Problem


def plans_of(share: float, plans: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    errors = np.exp(rng.normal(np.log(0.02), 1.0, (plans, 2)))
    return errors, 70.0 * (errors @ (1.0, share)) * np.exp(0.05 * rng.standard_normal(plans))


@pytest.mark.parametrize("share", [0.3, 0.5, 1.0, 2.0])
def test_the_share_behind_drops_is_found(share: float) -> None:
    errors, drops = plans_of(share, 64)
    found = fit_balanced(errors, drops)
    assert found.activation_share == pytest.approx(share, rel=0.15)
    assert found.points(errors @ (1.0, found.activation_share)) == pytest.approx(drops, rel=0.3, abs=0.3)


def test_two_plans_move_the_share_little() -> None:
    errors, drops = plans_of(0.3, 2)
    assert fit_balanced(errors, drops).activation_share > 0.5


def test_a_bound_that_is_kept_moves_nothing() -> None:
    errors, drops = plans_of(0.5, 20)
    lower = np.append(drops, 0.0)
    more = np.vstack((errors, [[0.001, 0.5]]))
    kept = fit_balanced(more, lower, censored=np.arange(21) == 20)
    assert kept.activation_share == fit_balanced(errors, drops).activation_share


def test_a_share_survives_its_file() -> None:
    errors, drops = plans_of(0.5, 20)
    found = fit_balanced(errors, drops)
    assert Calibration.from_json(found.to_json()) == found
    older = {name: value for name, value in found.to_json().items() if name != "activation_share"}
    assert Calibration.from_json(older).activation_share == 1.0


def test_every_view_of_a_problem_counts_by_the_share(coupled: Problem) -> None:
    plans = coupled.space.sample(np.random.default_rng(1), 16)
    coupled.table  # noqa: B018 - built once, carried over below
    halved = coupled.with_calibration(Calibration(activation_share=0.5))
    expected = coupled.errors.parts(coupled.space, plans) @ (1.0, 0.5)
    np.testing.assert_allclose(halved.evaluate(plans).error, expected, rtol=1e-9)
    np.testing.assert_allclose(halved.table.totals(plans)[:, 3], expected, rtol=1e-9)
    np.testing.assert_allclose([halved.predicted_drop(plan) for plan in plans], halved.evaluate(plans).drop_points)
