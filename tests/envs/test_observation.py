import numpy as np
import pytest

from envs.hints import RATES
from envs.observation import Observer, build_observer
from envs.problem import Problem
from envs.reward import find_error_scale, linear_objective
from envs.vector_env import VectorCompressionEnv
from plan.space import ACTIVATION_BITS
from tests.envs.listed import every_alternative


@pytest.fixture(scope="module")
def observer(coupled: Problem) -> Observer:
    return build_observer(coupled)


def scores(problem: Problem, layer: int, rate: float, scale: float) -> tuple[np.ndarray, np.ndarray]:
    found = every_alternative(problem, layer)
    return found.choices, found.metrics[:, :3] @ linear_objective(problem) + rate * found.metrics[:, 3] / scale


@pytest.mark.parametrize("row", [0, 7, 12, 24])
def test_hints_are_the_best_alternatives(coupled: Problem, observer: Observer, row: int) -> None:
    space = coupled.space
    for layer in range(space.n_layers):
        inherited = int(space.start[layer, ACTIVATION_BITS])
        choices, expected = scores(coupled, layer, RATES[row], observer.hints.error_scale)
        for method in np.flatnonzero(space.legal[layer].any(axis=1)):
            cell = observer.hints.cells[row, layer, inherited, method]
            best = expected[choices[:, 0] == method].min()
            assert cell[0] + RATES[row] * cell[1] == pytest.approx(best, rel=1e-4, abs=1e-4)


def test_hinted_values_choose_the_hinted_cell(coupled: Problem, observer: Observer) -> None:
    space = coupled.space
    for layer in range(space.n_layers):
        inherited = int(space.start[layer, ACTIVATION_BITS])
        for method in np.flatnonzero(space.legal[layer].any(axis=1)):
            cell = observer.hints.cells[12, layer, inherited, method].astype(np.float64)
            chosen = space.from_unit(layer, np.array([method]), cell[None, 2:], space.start[None])
            differences = coupled.table.differences(layer, chosen)[0]
            assert differences[:3] @ linear_objective(coupled) == pytest.approx(cell[0], abs=1e-6)
            assert differences[3] / observer.hints.error_scale == pytest.approx(cell[1], rel=1e-5, abs=1e-6)


def test_observations_are_bounded_and_laid_out(coupled: Problem, observer: Observer) -> None:
    env = VectorCompressionEnv(coupled, 16, seed=0, observer=observer)
    observations, _ = env.reset()
    rng = np.random.default_rng(0)
    for _ in range(2 * coupled.space.n_layers):
        assert observations in env.observation_space
        mask = env.action_masks()
        np.testing.assert_array_equal(observations[:, observer.mask_columns] == 1, mask)
        hinted = observations[:, observer.score_columns]
        assert (hinted[~mask] == 1).all()
        best = np.where(mask, hinted, np.inf).min(axis=1)
        np.testing.assert_array_equal(best, -1)
        methods = np.argmax(rng.random(mask.shape) * mask, axis=1)
        observations, *_ = env.step({"method": methods, "values": rng.random((16, 3))})


def test_size_depends_on_the_methods_alone(toy: Problem, coupled: Problem, observer: Observer) -> None:
    small = build_observer(toy)
    per_method = 5
    assert observer.size - small.size == per_method * (len(coupled.space.methods) - len(toy.space.methods))


def test_following_the_hints_is_the_additive_optimum(toy: Problem) -> None:
    observer = build_observer(toy)
    env = VectorCompressionEnv(toy, len(RATES), observer=observer)
    observations, _ = env.reset(options={"rates": RATES})
    for _ in range(toy.space.n_layers):
        methods = observations[:, observer.score_columns].argmin(axis=1)
        values = observations[:, observer.value_columns].reshape(len(RATES), -1, 3)[np.arange(len(RATES)), methods]
        observations, _, _, _, infos = env.step({"method": methods, "values": values})
    scale = observer.hints.error_scale
    reached = toy.objective_value(infos["metrics"]) + RATES * infos["metrics"].error / scale
    best = np.zeros(len(RATES))
    for layer in range(3):
        best += [scores(toy, layer, rate, scale)[1].min() for rate in RATES]
    np.testing.assert_allclose(reached, 1.0 + best, rtol=1e-9)


def test_error_scale_is_half_way(toy: Problem) -> None:
    scale = find_error_scale(toy)

    def gained(rate: float) -> float:
        found = [scores(toy, layer, rate, scale)[1].argmin() for layer in range(3)]
        rows = [every_alternative(toy, layer).metrics[best] for layer, best in enumerate(found)]
        return float(np.sum([row[:3] @ linear_objective(toy) for row in rows]))

    assert gained(1e-6) == pytest.approx(-0.75)
    assert gained(0.5) <= -0.375 <= gained(1.0)
