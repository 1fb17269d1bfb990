import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch

from agent.continuous_env import ContinuousVecEnv, decoded
from agent.hyperparameters import Hyperparameters
from agent.sb3_vec import CompressionVecEnv
from agent.searchers.protocol import Silent, Stop
from agent.searchers.single import ALGORITHMS, SingleSearcher, ppo_alone
from envs.problem import Problem
from plan.budget import Budget
from plan.space import Choices

SMALL = Hyperparameters(hidden=8, rollout_decisions=640, replay_decisions=4096, batch=32)


def search(algorithm: str, problem: Problem, hyper: Hyperparameters = SMALL, steps: int = 1280) -> Choices:
    searcher = SingleSearcher(algorithm, hyper)
    return searcher.search(problem, Budget(drop_points=2.0), stop=Stop(steps, 1), seed=0, observer=Silent())


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_one_learner_gives_legal_undominated_plans(chain: Problem, algorithm: str) -> None:
    before = np.random.get_state()[1].tobytes(), torch.get_rng_state().numpy().tobytes()  # noqa: NPY002
    plans = search(algorithm, chain)
    assert before == (np.random.get_state()[1].tobytes(), torch.get_rng_state().numpy().tobytes())  # noqa: NPY002
    for plan in plans:
        chain.space.check(plan)
    metrics = chain.evaluate(plans)
    assert (np.diff(chain.objective_value(metrics)) > 0).all()
    assert chain.objective_value(metrics).min() < 0.5


def test_the_same_seed_gives_the_same_plans(chain: Problem) -> None:
    assert search("td3", chain).tobytes() == search("td3", chain).tobytes()


def test_an_action_of_zero_follows_the_hints(chain: Problem) -> None:
    env = ContinuousVecEnv(CompressionVecEnv(chain, 6, 0), SMALL)
    observations = env.reset()
    for _ in range(env.venv.layers):
        seen = torch.as_tensor(observations)
        methods, values = decoded(env.layout, observations, np.zeros((6, 4), dtype=np.float32))
        scores = torch.where(env.layout.mask_of(seen), env.layout.scores_of(seen), torch.inf)
        assert (scores[torch.arange(6), torch.as_tensor(methods)] == scores.min(dim=1).values).all()
        codes = torch.eye(env.layout.methods)[torch.as_tensor(methods)]
        hinted = env.layout.values_of(torch.cat((seen, codes), dim=1))
        assert np.allclose(values, hinted.numpy())
        observations, _, _, _ = env.step(np.zeros((6, 4), dtype=np.float32))


def test_every_action_is_legal_and_moves_values_as_told(chain: Problem) -> None:
    env = ContinuousVecEnv(CompressionVecEnv(chain, 64, 0), SMALL)
    observations, rng = env.reset(), np.random.default_rng(0)
    ended = np.zeros(64, dtype=np.bool_)
    for _ in range(env.venv.layers):
        actions = rng.uniform(-1, 1, (64, 4)).astype(np.float32)
        methods, values = decoded(env.layout, observations, actions)
        assert env.venv.action_masks()[np.arange(64), methods].all()
        assert ((values >= 0) & (values <= 1)).all()
        observations, _, ended, _ = env.step(actions)
    assert ended.all()


def test_ppo_alone_holds_ddpg_still() -> None:
    assert ppo_alone(SMALL).freeze_ddpg
    assert not ppo_alone(SMALL).freeze_ppo


def test_learning_leaves_no_folder_behind(chain: Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    search("ddpg", chain)
    assert list(tmp_path.iterdir()) == []
