import numpy as np
import pytest

from envs.accuracy.fidelity import fidelity
from envs.accuracy.statistics import drop_points, paired_bootstrap, resampled_drops
from plan.errors import InvalidValueError, MismatchError


def answers(images: int, lost: int, won: int) -> tuple[np.ndarray, np.ndarray]:
    dense = np.zeros(images, dtype=bool)
    dense[: images // 2] = True
    plan = dense.copy()
    plan[:lost] = False
    plan[images // 2 : images // 2 + won] = True
    return dense, plan


def test_drop_by_hand() -> None:
    assert drop_points(*answers(200, 6, 2)) == pytest.approx(2.0)


def test_interval_matches_the_textbook() -> None:
    """Standard error of paired proportions: 100 * sqrt((lost + won - (lost - won)^2 / n)) / n."""
    images, lost, won = 2000, 60, 30
    low, high = paired_bootstrap(*answers(images, lost, won), seed=0)
    error = 100 * np.sqrt(lost + won - (lost - won) ** 2 / images) / images
    assert low == pytest.approx(1.5 - 1.96 * error, abs=0.06)
    assert high == pytest.approx(1.5 + 1.96 * error, abs=0.06)


def test_multinomial_draws_are_resampled_images() -> None:
    dense, plan = answers(50, 5, 2)
    rng = np.random.default_rng(1)
    index = rng.integers(0, 50, (20_000, 50))
    direct = 100 * (dense[index].mean(axis=1) - plan[index].mean(axis=1))
    drawn = resampled_drops(dense, plan, seed=0, resamples=20_000)
    np.testing.assert_allclose(np.quantile(drawn, [0.1, 0.5, 0.9]), np.quantile(direct, [0.1, 0.5, 0.9]), atol=1e-9)
    assert drawn.std() == pytest.approx(direct.std(), rel=0.02)


def test_same_seed_same_interval_and_no_change_no_width() -> None:
    pair = answers(300, 9, 4)
    assert paired_bootstrap(*pair, seed=5) == paired_bootstrap(*pair, seed=5)
    assert paired_bootstrap(pair[0], pair[0], seed=5) == (0.0, 0.0)


def test_bad_pairs() -> None:
    with pytest.raises(MismatchError, match="3 and 2 images"):
        paired_bootstrap(np.ones(3, bool), np.ones(2, bool), seed=0)
    with pytest.raises(InvalidValueError, match="no images"):
        paired_bootstrap(np.ones(0, bool), np.ones(0, bool), seed=0)


def test_fidelity_of_a_known_order() -> None:
    predicted = np.arange(10.0)
    measured = predicted.copy()
    measured[[0, 1]] = measured[[1, 0]]
    found = fidelity(predicted, measured, seed=0)
    assert found.spearman == pytest.approx(1 - 6 * 2 / (10 * 99))
    assert found.kendall == pytest.approx((45 - 2) / 45)
    assert found.mean_absolute_error_points == pytest.approx(0.2)
    assert found.spearman_interval[0] <= found.spearman <= found.spearman_interval[1]
    assert found.plans == 10


def test_fidelity_of_noise_has_a_wide_interval() -> None:
    rng = np.random.default_rng(0)
    found = fidelity(rng.random(24), rng.random(24), seed=0)
    assert found.spearman_interval[0] < 0 < found.spearman_interval[1]
    assert found == fidelity(np.random.default_rng(0).random(24), rng_second(), seed=0)


def rng_second() -> np.ndarray:
    rng = np.random.default_rng(0)
    rng.random(24)
    return rng.random(24)


def test_constant_side_is_no_correlation() -> None:
    found = fidelity(np.ones(5), np.arange(5.0), seed=0)
    assert (found.spearman, found.kendall) == (0.0, 0.0)


def test_too_few_plans() -> None:
    with pytest.raises(InvalidValueError, match="at least 3"):
        fidelity([1.0, 2.0], [1.0, 2.0], seed=0)


def test_json_holds_plain_numbers() -> None:
    content = fidelity(np.arange(4.0), np.arange(4.0), seed=0).to_json()
    assert content["spearman"] == pytest.approx(1.0)
    assert isinstance(content["spearman_interval"], list)
