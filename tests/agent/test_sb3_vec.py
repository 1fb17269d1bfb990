import numpy as np
import pytest
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.utils import get_action_masks, is_masking_supported
from stable_baselines3.common.env_checker import check_env

from agent.composite import CompositeAgent
from agent.decide import play, rate_grid, worth
from agent.sb3_vec import CompressionVecEnv
from envs.compression_env import CompressionEnv
from envs.draws import TRAINED_RATES
from envs.problem import Problem
from envs.vector_env import VectorCompressionEnv
from envs.views import ContinuousView, DiscreteView


def legal(env: CompressionVecEnv, rng: np.random.Generator) -> dict[str, np.ndarray]:
    masks = env.action_masks()
    values = rng.random((env.num_envs, 3)).astype(np.float32)
    return {"method": np.argmax(rng.random(masks.shape) * masks, axis=1), "values": values}


def test_same_dynamics_as_the_vector_env(chain: Problem) -> None:
    env = CompressionVecEnv(chain, 8, seed=4)
    core = VectorCompressionEnv(chain, 8, seed=4, observer=env.core.observer)
    observations = env.reset()
    drawn = env.core.episodes.state.conditions
    expected, _ = core.reset(options={"rates": drawn.rates, "mixes": drawn.mixes, "limits": drawn.limits})
    np.testing.assert_array_equal(observations, expected)
    rng = np.random.default_rng(0)
    for step in range(env.layers):
        actions = legal(env, rng)
        observations, rewards, ended, infos = env.step(actions)
        expected, paid, terminated, _, _ = core.step(actions)
        np.testing.assert_allclose(rewards, paid, rtol=1e-6)
        np.testing.assert_array_equal(ended, terminated)
        assert ended.all() == (step + 1 == env.layers)
        if not ended.all():
            np.testing.assert_array_equal(observations, expected)
    chain.space.check(infos[0]["choices"])
    assert infos[0]["terminal_observation"].shape == observations[0].shape


def test_every_episode_has_new_rates_in_the_trained_range(chain: Problem) -> None:
    env = CompressionVecEnv(chain, 8, seed=4)
    env.reset()
    seen = []
    for _ in range(2):
        seen.append(env.core.episodes.state.rates)
        for _ in range(env.layers):
            env.step(legal(env, np.random.default_rng(0)))
    assert not np.array_equal(*seen)
    assert np.all((np.array(seen) >= TRAINED_RATES[0]) & (np.array(seen) <= TRAINED_RATES[1]))


def test_random_state_continues(chain: Problem) -> None:
    env = CompressionVecEnv(chain, 8, seed=1)
    state = env.random_state()
    first, _ = env.reset(), env.reset()
    env.set_random_state(state)
    np.testing.assert_array_equal(env.reset(), first)


def test_seeding_repeats(chain: Problem) -> None:
    env = CompressionVecEnv(chain, 8, seed=1)
    env.seed(7)
    first = env.reset()
    env.seed(7)
    np.testing.assert_array_equal(env.reset(), first)


def test_masks_reach_stable_baselines(chain: Problem) -> None:
    env = CompressionVecEnv(chain, 8, seed=1)
    assert is_masking_supported(env)
    np.testing.assert_array_equal(get_action_masks(env), env.action_masks())
    assert env.get_attr("num_envs") == [8] * 8
    assert env.env_is_wrapped(CompressionEnv) == [False] * 8  # type: ignore[arg-type]


def test_hinted_gains_are_what_hinted_episodes_earn(toy: Problem) -> None:
    """Where layers do not touch each other's costs, a hinted greedy episode earns the summed best hints."""
    env = CompressionVecEnv(toy, 7, seed=0)
    rates = rate_grid(25)[4:11]
    env.core.reset(options={"rates": rates})
    agent = CompositeAgent(env, seed=0)
    outcome = play(agent.learners, env.core.observer, rates)
    ended = worth(env.core.observer, outcome)
    assert env.gains() == pytest.approx(1.0 - ended, rel=1e-5)


def test_views_pass_the_checker_with_a_trained_partner(toy: Problem) -> None:
    """The two single-agent views: methods with DDPG's values, values with PPO's methods."""
    agent = CompositeAgent(CompressionVecEnv(toy, 8, 0), seed=0)

    def values(observation: np.ndarray, method: int) -> np.ndarray:
        only = np.arange(agent.interface.layout.methods) == method
        return agent.predict(observation, deterministic=True, action_masks=only)[0]["values"]

    def method(observation: np.ndarray, mask: np.ndarray) -> int:
        return int(agent.predict(observation, deterministic=True, action_masks=mask)[0]["method"])

    check_env(DiscreteView(CompressionEnv(toy), values), warn=True)
    check_env(ContinuousView(CompressionEnv(toy), method), warn=True)
    model = MaskablePPO("MlpPolicy", DiscreteView(CompressionEnv(toy), values), n_steps=12, batch_size=12, seed=0)
    model.learn(12)
    assert model.num_timesteps == 12
