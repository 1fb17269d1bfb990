"""What episodes are played for: rates, mixes of costs, limits."""

import numpy as np
import pytest

from envs.conditions import LIMIT_PRICE, MIXES, Conditions, mixed_objective, mixes_within, own_mix
from envs.draws import LOOSEST, TIGHTEST, TRAINED_RATES, Draws, least_limits
from envs.observation import EPISODE_FEATURES, LAYER_FEATURES, Observer, build_observer
from envs.problem import Problem
from envs.vector_env import VectorCompressionEnv
from plan.errors import InvalidValueError


@pytest.fixture(scope="module")
def observer(coupled: Problem) -> Observer:
    return build_observer(coupled, range(len(MIXES)))


def column(name: str) -> int:
    return len(LAYER_FEATURES) + EPISODE_FEATURES.index(name)


def play(env: VectorCompressionEnv, seed: int) -> tuple[np.ndarray, dict]:
    """Returns the summed rewards of one random episode per env, and the last infos."""
    rng, total = np.random.default_rng(seed), np.zeros(env.num_envs)
    for _ in range(env.problem.space.n_layers):
        mask = env.action_masks()
        methods = np.argmax(rng.random(mask.shape) * mask, axis=1)
        _, rewards, _, _, infos = env.step({"method": methods, "values": rng.random((len(mask), 3))})
        total += rewards
    return total, infos


def test_mixes_are_geometric_means_by_hand(coupled: Problem) -> None:
    costs = coupled.baseline.costs() * np.array([[0.25, 0.5, 0.64]])
    every = mixed_objective(coupled, np.repeat(costs, len(MIXES), axis=0), np.arange(len(MIXES)))
    assert every[:3] == pytest.approx([0.25, 0.5, 0.64])
    assert every[3] == pytest.approx(np.sqrt(0.25 * 0.5))
    assert every[6] == pytest.approx((0.25 * 0.5 * 0.64) ** (1 / 3))


def test_an_objective_has_its_mix(coupled: Problem) -> None:
    found = [own_mix(coupled.with_objective(name)) for name in ("energy", "latency", "size", "edp")]
    assert MIXES[found].tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.5, 0]]
    assert mixes_within(coupled, ()) == (0,)
    assert MIXES[list(mixes_within(coupled, (1,)))].tolist() == [[1, 0, 0], [0.5, 0.5, 0]]
    assert len(mixes_within(coupled, (1, 2))) == 4


def test_excess_by_hand(coupled: Problem) -> None:
    limits = np.array([[10.0, np.inf, 4.0, 0.1]])
    conditions = Conditions.of(coupled, np.ones(1), limits=limits)
    assert conditions.excess(np.array([[15.0, 1e9, 2.0, 0.3]])) == pytest.approx([0.5 + 2.0])
    assert conditions.excess(np.array([[10.0, 1e9, 4.0, 0.1]])) == pytest.approx([0.0])


@pytest.mark.parametrize("limits", [np.zeros((2, 4)), np.ones((3, 4))])
def test_limits_out_of_range_are_refused(coupled: Problem, limits: np.ndarray) -> None:
    with pytest.raises(InvalidValueError, match="limits must be positive"):
        Conditions.of(coupled, np.ones(2), limits=limits)


def test_unknown_mixes_are_refused(coupled: Problem) -> None:
    with pytest.raises(InvalidValueError, match="0 to 6"):
        Conditions.of(coupled, np.ones(1), mixes=np.array([7]))


def test_rewards_sum_to_the_change_of_the_potential_under_any_conditions(coupled: Problem, observer: Observer) -> None:
    env = VectorCompressionEnv(coupled, 64, observer=observer)
    drawn = Draws(mixed=1.0, limited=1.0).draw(np.random.default_rng(3), observer, 64)
    env.reset(options={"rates": drawn.rates, "mixes": drawn.mixes, "limits": drawn.limits})
    rows = env.episodes.state.rows
    total, infos = play(env, 0)
    hints, metrics = observer.hints, infos["metrics"]
    start, end = coupled.table.start, np.column_stack((metrics.costs(), metrics.error))

    def value(totals: np.ndarray, projected: np.ndarray) -> np.ndarray:
        paid = mixed_objective(coupled, totals[:, :3], drawn.mixes)
        paid += drawn.rates * totals[:, 3] / hints.error_scales[rows]
        return paid + LIMIT_PRICE * hints.gains[rows] * drawn.excess(projected)

    before = np.repeat(start[None], 64, axis=0)
    expected = value(before, before + hints.to_come[rows, 0]) - value(end, end)
    np.testing.assert_allclose(total, expected, rtol=1e-8, atol=1e-8)
    assert (drawn.excess(end) > 0).any()


def test_conditions_are_observed(coupled: Problem, observer: Observer) -> None:
    """Halving what the hints use of energy is a limit that they exceed by all of itself."""
    env = VectorCompressionEnv(coupled, 2, observer=observer)
    rates, mixes = np.ones(2), np.array([0, 4])
    hinted = coupled.table.start + observer.hints.to_come[observer.hints.rows(rates, mixes), 0]
    limits = np.full((2, 4), np.inf)
    limits[0, 0] = hinted[0, 0] / 2
    seen, _ = env.reset(options={"rates": rates, "mixes": mixes, "limits": limits})
    assert seen[0, column("energy left")] == pytest.approx(-1.0)
    assert seen[0, column("limit on energy")] == pytest.approx(limits[0, 0] / coupled.baseline.energy_uj[0], rel=1e-5)
    assert seen[1, column("energy left")] == seen[0, column("size left")] == 1.0
    weights = slice(column("objective by energy"), column("objective by size") + 1)
    assert seen[:, weights].tolist() == [[1.0, 0.0, 0.0], [0.5, 0.0, 0.5]]
    assert seen in env.observation_space


def test_hints_to_come_end_where_the_hinted_plan_does(toy: Problem, coupled: Problem, observer: Observer) -> None:
    """All layers together change what the plan really costs; uncoupled, more weight on error never costs less."""
    for problem, features in ((coupled, observer), (toy, build_observer(toy))):
        reached = problem.table.start + features.hints.to_come[:, 0]
        assert (reached[:, :3] > 0).all()
        assert (features.hints.to_come[:, -1] == 0).all()
    assert (np.diff(reached[:25, 0]) >= -1e-9).all()
    assert (np.diff(reached[:25, 3]) <= 1e-12).all()


def test_drawn_limits_lie_about_what_the_hints_use(coupled: Problem, observer: Observer) -> None:
    drawn = Draws(mixed=0.5, limited=0.5).draw(np.random.default_rng(0), observer, 4000)
    assert (drawn.rates >= TRAINED_RATES[0]).all()
    assert (drawn.rates <= TRAINED_RATES[1]).all()
    rows = observer.hints.rows(drawn.rates, drawn.mixes)
    hinted = coupled.table.start + observer.hints.to_come[rows, 0]
    least = least_limits(observer, rows)
    assert (drawn.limits >= least).all()
    share = (drawn.limits / hinted)[np.isfinite(drawn.limits) & (hinted * TIGHTEST > least)]
    assert TIGHTEST <= share.min() < share.max() <= LOOSEST * (1 + 1e-9)
    assert np.isfinite(drawn.limits).mean() == pytest.approx(0.25, abs=0.03)
    assert (drawn.mixes != own_mix(coupled)).mean() == pytest.approx(0.5 * 6 / 7, abs=0.04)


def test_what_is_not_to_vary_does_not(coupled: Problem, observer: Observer) -> None:
    drawn = Draws((2.0, 2.0), mixed=0.0, limited=0.0).draw(np.random.default_rng(0), observer, 50)
    assert drawn.rates == pytest.approx(2.0)
    assert (drawn.mixes == own_mix(coupled)).all()
    assert np.isinf(drawn.limits).all()


def test_hints_of_a_mix_that_was_left_out_are_refused(coupled: Problem) -> None:
    env = VectorCompressionEnv(coupled, 1, observer=build_observer(coupled))
    with pytest.raises(InvalidValueError, match="mixes"):
        env.reset(options={"rates": np.ones(1), "mixes": np.array([1])})
    assert env.reset(options={"rates": np.ones(1), "mixes": np.array([0])})[0].shape[0] == 1
