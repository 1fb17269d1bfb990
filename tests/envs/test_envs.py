import warnings
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st
from stable_baselines3.common.env_checker import check_env as check_env_for_sb3

from envs.compression_env import CompressionEnv
from envs.observation import Observer, build_observer
from envs.problem import Problem
from envs.vector_env import VectorCompressionEnv
from envs.views import ContinuousView, DiscreteView
from plan.errors import IllegalChoiceError, InvalidValueError

Step = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]


@pytest.fixture(scope="module")
def observer(coupled: Problem) -> Observer:
    return build_observer(coupled)


def random_actions(mask: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    methods = np.argmax(rng.random(mask.shape) * mask, axis=1)
    return {"method": methods, "values": rng.random((len(mask), 3), dtype=np.float32)}


def play(env: VectorCompressionEnv, rng: np.random.Generator) -> list[Step]:
    return [env.step(random_actions(env.action_masks(), rng)) for _ in range(env.problem.space.n_layers)]


def test_registered_env_passes_the_checker() -> None:
    env = gymnasium.make("espalier/Compression-v0")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped)
    assert env.spec is not None
    assert env.spec.max_episode_steps is None


def middle(observation: np.ndarray, method: int) -> np.ndarray:
    return np.full(3, 0.5, dtype=np.float32)


def first_legal(observation: np.ndarray, mask: np.ndarray) -> int:
    return int(np.flatnonzero(mask)[0])


@pytest.mark.parametrize(
    "build",
    [lambda: DiscreteView(CompressionEnv(), middle), lambda: ContinuousView(CompressionEnv(), first_legal)],
    ids=["discrete", "continuous"],
)
def test_views_pass_both_checkers(build: Callable[[], gymnasium.Env]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message="We recommend you to use a symmetric and normalized Box action space")
        check_env_for_sb3(build())
        check_env(build(), skip_render_check=True)


@given(seed=st.integers(0, 2**32 - 1), rate=st.floats(1e-3, 1e3))
@settings(max_examples=25)
def test_rewards_sum_to_the_change_of_the_potential(
    coupled: Problem, observer: Observer, seed: int, rate: float
) -> None:
    env = VectorCompressionEnv(coupled, 3, observer=observer)
    env.reset(seed=seed, options={"rates": np.full(3, rate)})
    steps = play(env, np.random.default_rng(seed))
    total, infos, scale = sum(step[1] for step in steps), steps[-1][4], observer.hints.error_scale
    metrics = coupled.evaluate(infos["choices"])
    before = coupled.objective_value(coupled.start) + rate * coupled.start.error / scale
    after = coupled.objective_value(metrics) + rate * metrics.error / scale
    np.testing.assert_allclose(total, before - after, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(infos["metrics"].error, metrics.error)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=25)
def test_masks_offer_only_legal_plans(coupled: Problem, observer: Observer, seed: int) -> None:
    env = VectorCompressionEnv(coupled, 4, observer=observer)
    env.reset(seed=seed)
    steps = play(env, np.random.default_rng(seed))
    for choice in steps[-1][4]["choices"]:
        coupled.space.check(choice)


def test_same_seed_same_bytes(coupled: Problem) -> None:
    first = VectorCompressionEnv(coupled, 5, seed=3)
    second = VectorCompressionEnv(coupled, 5, seed=3)
    assert first.reset()[0].tobytes() == second.reset()[0].tobytes()
    rngs = np.random.default_rng(0), np.random.default_rng(0)
    for _ in range(3):
        pairs = zip(play(first, rngs[0]), play(second, rngs[1]), strict=True)
        for one, other in pairs:
            assert one[0].tobytes() == other[0].tobytes()
            assert one[1].tobytes() == other[1].tobytes()


def test_single_env_is_a_batch_of_one(coupled: Problem, observer: Observer) -> None:
    batch, single = VectorCompressionEnv(coupled, 3, observer=observer), CompressionEnv(coupled, observer)
    rates = np.array([0.1, 1.0, 10.0])
    rng = np.random.default_rng(1)
    observations, _ = batch.reset(options={"rates": rates})
    played = []
    for _ in range(coupled.space.n_layers):
        mask, actions = batch.action_masks(), random_actions(batch.action_masks(), rng)
        following, rewards, *_ = batch.step(actions)
        played.append((observations, actions, mask, rewards))
        observations = following
    for plan in range(3):
        observation, _ = single.reset(options={"rate": rates[plan]})
        for seen, actions, mask, rewards in played:
            np.testing.assert_allclose(observation, seen[plan], rtol=1e-6, atol=1e-6)
            np.testing.assert_array_equal(single.action_masks(), mask[plan])
            action = {"method": actions["method"][plan], "values": actions["values"][plan]}
            observation, reward, terminated, truncated, info = single.step(action)
            assert reward == pytest.approx(rewards[plan])
        assert terminated
        assert not truncated
        assert set(info) == {"choices", "metrics"}


def test_last_step_begins_the_next_episode(coupled: Problem, observer: Observer) -> None:
    env = VectorCompressionEnv(coupled, 2, seed=0, observer=observer)
    _, infos = env.reset()
    first_rates = infos["rates"]
    steps = play(env, np.random.default_rng(0))
    assert [bool(step[2].any()) for step in steps] == [False] * 6 + [True]
    assert not any(step[3].any() for step in steps)
    np.testing.assert_array_equal(steps[-1][4]["rates"], first_rates)
    assert not steps[-1][4]["final_obs"].any()
    assert steps[-1][0] in env.observation_space
    assert env.episodes.state.layer == 0
    assert not np.array_equal(env.episodes.state.rates, first_rates)


def test_fixed_rates_stay(coupled: Problem, observer: Observer) -> None:
    env = VectorCompressionEnv(coupled, 2, seed=0, observer=observer)
    env.set_rates(np.array([0.5, 2.0]))
    env.reset()
    steps = play(env, np.random.default_rng(0))
    assert steps[-1][4]["rates"].tolist() == [0.5, 2.0]
    assert env.episodes.state.rates.tolist() == [0.5, 2.0]


def test_illegal_method_is_refused(coupled: Problem, observer: Observer) -> None:
    env = VectorCompressionEnv(coupled, 2, seed=0, observer=observer)
    env.reset()
    illegal = int(np.flatnonzero(~env.action_masks()[0])[0])
    with pytest.raises(IllegalChoiceError, match=r"layer stem: method \d+ is masked"):
        env.step({"method": np.array([0, illegal]), "values": np.zeros((2, 3))})
    with pytest.raises(IllegalChoiceError, match="-1 is masked"):
        env.step({"method": np.array([0, -1]), "values": np.zeros((2, 3))})
    single = CompressionEnv(coupled, observer)
    single.reset(seed=0)
    with pytest.raises(IllegalChoiceError, match="is masked"):
        single.step({"method": illegal, "values": np.zeros(3)})


@pytest.mark.parametrize("value", [-0.1, 1.1, np.nan])
def test_values_out_of_range_are_refused(coupled: Problem, observer: Observer, value: float) -> None:
    env = VectorCompressionEnv(coupled, 1, seed=0, observer=observer)
    env.reset()
    with pytest.raises(InvalidValueError, match=r"\[0, 1\]"):
        env.step({"method": np.array([0]), "values": np.array([[0.5, value, 0.5]])})


def test_step_needs_a_reset(coupled: Problem, observer: Observer) -> None:
    env = CompressionEnv(coupled, observer)
    with pytest.raises(InvalidValueError, match="call reset"):
        env.step({"method": 0, "values": np.zeros(3)})


def test_rates_must_be_positive(coupled: Problem, observer: Observer) -> None:
    env = VectorCompressionEnv(coupled, 2, observer=observer)
    with pytest.raises(InvalidValueError, match="2 positive numbers"):
        env.reset(options={"rates": np.array([1.0, 0.0])})
