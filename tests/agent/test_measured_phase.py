from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from agent.composite import CompositeAgent
from agent.hyperparameters import Hyperparameters
from agent.measured_phase import layer_corrections, play_recorded, rates_about
from agent.measuring import Measuring
from agent.sb3_vec import CompressionVecEnv
from agent.searchers.composite import CompositeSearcher
from agent.searchers.protocol import Silent, Stop
from envs.accuracy.archive import Archive
from envs.problem import Problem
from plan.budget import Budget
from plan.scheme import Scheme

HYPER = Hyperparameters(hidden=8, rollout_decisions=640, replay_decisions=2048, batch=32)
LIMITS = Budget(drop_points=0.5)
IMAGES = 500


class Harsher:
    """Accuracy that falls `factor` times as fast as predicted, and by 30 points more where layer 2 is pruned."""

    def __init__(self, problem: Problem, factor: float = 1.0, hidden: float = 0.0) -> None:
        self.problem = problem
        self.factor, self.hidden = factor, hidden
        self.images_id = f"harsher {factor} {hidden}"

    def dense(self, images: int) -> np.ndarray:
        return np.ones(images, dtype=np.bool_)

    def correct(self, schemes: tuple[Scheme, ...], images: int) -> np.ndarray:
        plan = self.problem.space.choice(schemes)
        points = self.factor * float(self.problem.evaluate(plan[None]).drop_points[0])
        points += self.hidden * (plan[2, 0] != 0)
        return np.arange(images) >= round(min(points, 100.0) / 100.0 * images)


@pytest.fixture(scope="module")
def agent_file(chain: Problem, tmp_path_factory: pytest.TempPathFactory) -> Path:
    agent = CompositeAgent(CompressionVecEnv(chain, 16, 0), seed=0, hyper=HYPER)
    agent.learn(640)
    file = tmp_path_factory.mktemp("agent") / "agent.zip"
    agent.save(file)
    return file


def loaded(chain: Problem, file: Path, **changes: bool) -> CompositeAgent:
    agent = CompositeAgent.load(file, CompressionVecEnv(chain, 16, 0))
    agent.hyper = replace(agent.hyper, **changes)
    return agent


def parameters(agent: CompositeAgent) -> tuple[torch.Tensor, torch.Tensor]:
    ppo = torch.cat([part.flatten() for part in agent.ppo.policy.parameters()]).detach().clone()
    return ppo, torch.cat([part.flatten() for part in agent.ddpg.policy.parameters()]).detach().clone()


def test_corrections_by_hand(chain: Problem, agent_file: Path) -> None:
    """A drop twice the predicted one takes rate x error / scale from an episode's rewards; layers share it by error."""
    agent = loaded(chain, agent_file)
    observer = agent._require_env().core.observer
    with agent._stream:
        played = play_recorded(agent.learners, observer, np.array([0.5, 2.0, 8.0]))
    predicted = chain.calibration.points(played.errors)
    assert layer_corrections(observer, played, predicted) == pytest.approx(0.0, abs=1e-9)
    worse = layer_corrections(observer, played, 2 * predicted)
    assert worse.sum(axis=0) == pytest.approx(played.rates * played.errors / observer.hints.error_scale, rel=1e-6)
    assert (worse >= 0).all()
    assert layer_corrections(observer, played, 50 * predicted) == pytest.approx(worse, rel=1e-6)
    better = layer_corrections(observer, played, predicted / 2)
    assert better == pytest.approx(-worse / 2, rel=1e-6)


def test_plans_are_played_about_the_limit(chain: Problem, agent_file: Path) -> None:
    agent = loaded(chain, agent_file)
    observer = agent._require_env().core.observer
    rates = rates_about(agent.learners, observer, LIMITS, 6)
    drops = chain.evaluate(agent.decide(observer, rates)).drop_points
    assert drops.min() < 0.5 < drops.max() < 2.0


def test_both_learners_learn_from_what_was_measured(chain: Problem, agent_file: Path) -> None:
    for frozen in ("freeze_ppo", "freeze_ddpg", ""):
        agent = loaded(chain, agent_file, **({frozen: True} if frozen else {}))
        archive, before = Archive(chain, Harsher(chain, hidden=30.0)), parameters(agent)
        assert agent.adapt(agent._require_env().core.observer, archive, LIMITS, plans=6, images=IMAGES) == 6
        assert 1 <= len(archive) <= 6
        moved = [bool((old != new).any()) for old, new in zip(before, parameters(agent), strict=True)]
        assert moved == [frozen != "freeze_ppo", frozen != "freeze_ddpg"]


def test_the_policy_learns_to_avoid_what_the_proxy_does_not_see(chain: Problem, agent_file: Path) -> None:
    """Pruning layer 2 costs 30 points that nothing predicts: its probability of staying dense must rise."""
    agent = loaded(chain, agent_file)
    agent.ppo.policy.optimizer.param_groups[0]["lr"] = 1e-2
    observer = agent._require_env().core.observer
    archive = Archive(chain, Harsher(chain, hidden=30.0))
    rates = rates_about(agent.learners, observer, LIMITS, 64)

    def dense_share() -> float:
        with agent._stream:
            return float((play_recorded(agent.learners, observer, rates).methods[2] == 0).mean())

    before = dense_share()
    for _ in range(8):
        agent.adapt(observer, archive, LIMITS, plans=16, images=IMAGES)
    assert dense_share() > before + 0.2


def test_an_interrupted_phase_begins_again_and_ends_alike(chain: Problem, tmp_path: Path) -> None:
    searcher = CompositeSearcher(HYPER, tmp_path)
    candidates = searcher.search(chain, LIMITS, stop=Stop(640, 20), seed=0, observer=Silent())
    ends = []
    for _ in range(2):
        archive = Archive(chain, Harsher(chain, 2.0))
        found = searcher.adapt(chain, archive, candidates, LIMITS, measuring=Measuring(IMAGES, 20), plans=5, seed=0)
        ends.append(
            (found.tobytes(), [entry.key for entry in archive.measurements], (tmp_path / "adapted.zip").read_bytes())
        )
    assert ends[0] == ends[1]
    assert (tmp_path / "agent.zip").is_file()
    alone = replace(searcher, folder=None)
    assert (
        alone.adapt(chain, archive, candidates, LIMITS, measuring=Measuring(IMAGES, 20), plans=5, seed=0).tobytes()
        == candidates.tobytes()
    )
