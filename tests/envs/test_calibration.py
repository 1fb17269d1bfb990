import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from envs.accuracy.calibration import DEFAULT_POINTS_PER_NAT, Calibration
from plan.errors import InvalidValueError

ERRORS = np.geomspace(1e-5, 10, 200)


def plans(count: int, seed: int, noise: float = 0.3) -> tuple[np.ndarray, np.ndarray]:
    """Returns errors and measured drops that follow 40 * error^1.3 with noise."""
    rng = np.random.default_rng(seed)
    errors = np.exp(rng.uniform(np.log(0.005), np.log(0.3), count))
    truth = 40 * errors**1.3
    return errors, truth + rng.normal(0, noise + 0.1 * truth)


def test_default_is_a_line() -> None:
    unfitted = Calibration()
    np.testing.assert_allclose(
        unfitted.points([0.0, 0.01, 0.04]), np.array([0, 0.01, 0.04]) * DEFAULT_POINTS_PER_NAT, atol=1e-9
    )
    assert unfitted.points(1e9) == 100
    assert unfitted.plans == 0


def test_no_plans_give_the_default() -> None:
    assert Calibration.fit([], []).to_json() == Calibration().to_json()


@given(st.lists(st.tuples(st.floats(1e-6, 5), st.floats(-3, 90)), min_size=1, max_size=30))
def test_always_monotone_and_finite(measured: list[tuple[float, float]]) -> None:
    errors, drops = zip(*measured, strict=True)
    points = Calibration.fit(errors, drops).points(ERRORS)
    assert np.isfinite(points).all()
    assert (np.diff(points) >= -1e-12).all()
    assert (points >= 0).all()
    assert (points <= 100).all()


@pytest.mark.parametrize(("count", "allowed"), [(8, 0.6), (16, 0.45), (64, 0.25)])
def test_recovers_a_power_law(count: int, allowed: float) -> None:
    """Mean over five draws of the mean absolute error in the band of 0 to 3 points."""
    wrong = []
    for seed in range(5):
        fitted = Calibration.fit(*plans(count, seed))
        errors = np.geomspace(0.006, (3 / 40) ** (1 / 1.3), 50)
        wrong.append(np.abs(fitted.points(errors) - 40 * errors**1.3).mean())
    assert np.mean(wrong) < allowed


def test_outliers_do_not_rule() -> None:
    errors, drops = plans(32, 0, noise=0.1)
    drops[[3, 7]] += 40
    fitted = Calibration.fit(errors, drops)
    assert fitted.points(0.1) == pytest.approx(40 * 0.1**1.3, rel=0.35)


def test_bounds_push_only_upwards() -> None:
    errors, drops = plans(24, 1, noise=0.0)
    exact = Calibration.fit(errors, drops)
    lowered = np.where(drops > 2, 2.0, drops)
    censored = Calibration.fit(errors, lowered, censored=drops > 2)
    taken_at_face_value = Calibration.fit(errors, lowered)
    at = errors[drops > 2].max()
    assert taken_at_face_value.points(at) < 4
    assert censored.points(at) > 2 * taken_at_face_value.points(at)
    assert censored.points(0.02) == pytest.approx(float(exact.points(0.02)), rel=0.35)


def test_weights_count() -> None:
    errors, drops = np.full(8, 0.1), np.array([2.0] * 4 + [4.0] * 4)
    low = Calibration.fit(errors, drops, weights=[50] * 4 + [1] * 4).points(0.1)
    high = Calibration.fit(errors, drops, weights=[1] * 4 + [50] * 4).points(0.1)
    assert 1.7 < low < 2.6 < high < 4.1


def test_uncertainty_follows_the_residuals() -> None:
    quiet, loud = Calibration.fit(*plans(48, 2, noise=0.05)), Calibration.fit(*plans(48, 2, noise=1.5))
    assert quiet.uncertainty(0.1) < loud.uncertainty(0.1) < Calibration().uncertainty(1.0)
    assert quiet.uncertainty(0.01) < quiet.uncertainty(0.2)


@given(points=st.floats(0.05, 50))
def test_error_at_inverts(points: float) -> None:
    fitted = Calibration.fit(*plans(16, 3))
    error = fitted.error_at(points)
    assert fitted.points(error) <= points * (1 + 1e-9)
    assert fitted.points(error * 1.001) >= points * (1 - 1e-9)


def test_json_and_back() -> None:
    fitted = Calibration.fit(*plans(16, 4))
    again = Calibration.from_json(json.loads(json.dumps(fitted.to_json())))
    np.testing.assert_array_equal(again.points(ERRORS), fitted.points(ERRORS))
    assert again.plans == 16
    with pytest.raises(InvalidValueError, match="not a calibration"):
        Calibration.from_json({"log_errors": [0.0]})


def test_refit_is_deterministic() -> None:
    first, second = Calibration.fit(*plans(16, 5)), Calibration.fit(*plans(16, 5))
    assert json.dumps(first.to_json()) == json.dumps(second.to_json())


@pytest.mark.parametrize(
    ("errors", "drops"), [([0.1], [1.0, 2.0]), ([np.nan], [1.0]), ([0.1], [np.inf])], ids=["length", "nan", "inf"]
)
def test_bad_input(errors: list[float], drops: list[float]) -> None:
    with pytest.raises(InvalidValueError):
        Calibration.fit(errors, drops)
