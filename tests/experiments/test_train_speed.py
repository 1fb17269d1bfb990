"""The benchmark of training: what it counts, and that the promised rate is kept."""

import pytest

from agent.composite import CompositeAgent
from agent.hyperparameters import Hyperparameters
from agent.sb3_vec import CompressionVecEnv
from envs.toy import toy_problem
from experiments.bench.train_speed import GOAL, main, measure

HYPER = Hyperparameters(hidden=8, rollout_decisions=96, minibatch=40, epochs=2, target_kl=1e9, batch=24)


def test_updates_are_counted_by_hand() -> None:
    """Rollouts of 96 decisions: 2 epochs of 3 minibatches, and one DDPG step of 24 decisions for every 32."""
    agent = CompositeAgent(
        CompressionVecEnv(toy_problem(), 16, 0),
        seed=0,
        hyper=Hyperparameters(**{**HYPER.to_json(), "decisions_per_update": 32}),
    )
    speed = measure(agent, 180)
    assert (speed.decisions, speed.ppo_steps, speed.ddpg_steps) == (192, 12, 6)
    assert (speed.ppo_passes, speed.ddpg_passes) == (2.0, 0.75)
    assert speed.per_processor_s > 0 < speed.per_wall_s


@pytest.mark.slow
def test_the_status_tells_whether_the_rate_is_reached(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["--net", "resnet20", "--decisions", "40000"])
    printed = capsys.readouterr().out
    row = next(line for line in printed.splitlines() if "resnet20" in line)
    assert status == int(float(row.split("│")[3].replace(",", "")) < GOAL)
    assert f"goal {GOAL:,} decisions" in printed
    assert "PPO 4.0, DDPG 2.0" in printed
