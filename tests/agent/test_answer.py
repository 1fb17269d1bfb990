import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agent.actor import load_actor
from agent.answer import answer, cautious_drop
from agent.composite import CompositeAgent
from agent.config import Settings
from agent.decide import rate_grid
from agent.hyperparameters import Hyperparameters
from agent.layer_errors import layer_errors
from agent.opened_run import OpenedRun, with_question
from agent.problem_file import load_problem, network_of, save_problem
from agent.refine import fitted
from agent.sb3_vec import CompressionVecEnv
from envs.accuracy.archive import Archive
from envs.accuracy.calibration import Calibration
from envs.episodes import Episodes
from envs.observation import build_observer
from envs.problem import Problem
from hwmodels.loader import load as load_hardware
from plan.errors import FileFormatError, MismatchError, MissingFileError
from plan.restrictions import NO_RESTRICTIONS
from tests.agent.falling import Falling

IMAGES = 1000
SETTINGS = Settings(net="chain", hw="eyeriss")


@pytest.fixture(scope="module")
def folder(chain: Problem, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns a run folder with an agent that hardly trained; it starts at the hints."""
    path = tmp_path_factory.mktemp("run")
    agent = CompositeAgent(
        CompressionVecEnv(chain, 8, 0), seed=0, hyper=Hyperparameters(hidden=8, rollout_decisions=80)
    )
    agent.learn(80)
    agent.save(path / "agent.zip")
    return path


def opened(chain: Problem, folder: Path, objective: str = "energy", **limits: float | None) -> OpenedRun:
    archive = Archive(chain, Falling(chain))
    rng = np.random.default_rng(0)
    for choice in (chain.space.start, *chain.space.sample(rng, 12)):
        archive.evaluate(choice, IMAGES)
    names = ("max_drop", "max_energy_uj", "max_latency_ms", "max_size_kb")
    settings = with_question(SETTINGS, objective, {name: limits.get(name) for name in names})
    problem = replace(fitted(chain, archive, IMAGES), objective=objective)
    return OpenedRun(folder, settings, problem, archive, {})


@pytest.mark.parametrize("points", [0.4, 1.0, 4.0])
def test_an_answer_keeps_its_limits_when_measured(chain: Problem, folder: Path, points: float) -> None:
    found = answer(opened(chain, folder, max_drop=points), 0.9)
    assert found.feasible
    error = float(chain.evaluate(found.choice[None]).error[0])
    assert 25.0 * error <= points + 1e-9
    chain.space.check(found.choice)


def test_more_room_is_never_dearer(chain: Problem, folder: Path) -> None:
    objectives = [answer(opened(chain, folder, max_drop=points), 0.9).objective for points in (0.5, 1.0, 2.0, 8.0)]
    assert objectives == sorted(objectives, reverse=True)
    assert objectives[-1] < objectives[0]


def test_limits_on_costs_join_the_drop(chain: Problem, folder: Path) -> None:
    quick = answer(opened(chain, folder, "latency", max_drop=4.0), 0.9)
    room = 1.1 * float(quick.metrics.latency_ms[0])
    found = answer(opened(chain, folder, max_drop=4.0, max_latency_ms=room), 0.9)
    assert found.feasible
    assert found.metrics.latency_ms[0] <= room


def test_another_objective_is_answered_by_the_same_agent(chain: Problem, folder: Path) -> None:
    small = answer(opened(chain, folder, "size", max_drop=4.0), 0.9)
    cheap = answer(opened(chain, folder, "energy", max_drop=4.0), 0.9)
    assert small.metrics.size_kb[0] <= cheap.metrics.size_kb[0]


def test_a_limit_out_of_reach_is_named_with_the_layer_that_binds(chain: Problem, folder: Path) -> None:
    found = answer(opened(chain, folder, max_drop=4.0, max_size_kb=1e-3), 0.9)
    assert not found.feasible
    assert "--max-size-kb 0.001 is out of reach whatever the accuracy" in found.reasons[0]
    assert any(layer.name in found.reasons[0] for layer in chain.network.layers)


def test_limits_that_exclude_each_other_are_named_together(chain: Problem, folder: Path) -> None:
    least = answer(opened(chain, folder, "size", max_drop=100.0), 0.9)
    found = answer(opened(chain, folder, max_drop=0.0, max_size_kb=1.05 * float(least.metrics.size_kb[0])), 0.9)
    assert not found.feasible
    assert "--max-drop 0 and --max-size-kb" in found.reasons[0]
    assert "cannot be kept together" in found.reasons[0]


def test_an_agent_for_other_methods_is_refused(chain: Problem, toy: Problem, folder: Path) -> None:
    run = replace(opened(chain, folder), problem=toy)
    with pytest.raises(MismatchError, match="methods"):
        answer(run, 0.9)
    with pytest.raises(MissingFileError, match=r"holds no agent\.zip"):
        answer(replace(opened(chain, folder), folder=folder / "elsewhere"), 0.9)


def test_caution_grows_with_confidence() -> None:
    """Spread 1: at one point a plan lies sqrt(0.3^2 + 0.2^2) = 0.36 off, so 0.9 (1.28 deviations) leaves about 0.6."""
    calibration = Calibration(spread=1.0)
    half, most = (cautious_drop(calibration, 1.0, confidence) for confidence in (0.5, 0.9))
    assert half == pytest.approx(1.0)
    assert most + 1.2816 * float(np.hypot(0.3, 0.2 * most)) == pytest.approx(1.0, abs=1e-3)
    assert cautious_drop(calibration, 0.1, 0.9) == pytest.approx(0.0, abs=1e-9)
    assert cautious_drop(calibration, float("inf"), 0.9) == float("inf")


def test_layer_errors_sum_to_the_plans(chain: Problem) -> None:
    plan = chain.space.sample(np.random.default_rng(1), 1)[0]
    assert layer_errors(chain, plan).sum() == pytest.approx(float(chain.evaluate(plan[None]).error[0]))


def test_an_actor_decides_as_the_agent_does(chain: Problem, folder: Path) -> None:
    agent, actor = CompositeAgent.load(folder / "agent.zip"), load_actor(folder / "agent.zip")
    assert actor.elite.tobytes() == agent.elite.choices.tobytes()
    observer = build_observer(chain)
    episodes = Episodes(observer, 16)
    observations = episodes.begin(rate_grid(16))
    for _ in range(chain.space.n_layers):
        mask = episodes.state.mask
        expected = agent.learners.decide(observations, mask, deterministic=True)
        found = actor.decider.decide(observations, mask, deterministic=True)
        assert np.array_equal(found.methods, expected.methods)
        assert np.allclose(found.values, expected.values, atol=1e-6)
        observations, _ = episodes.step(found.methods, found.values)


def test_an_actor_draws_nothing(folder: Path, chain: Problem) -> None:
    actor, features = load_actor(folder / "agent.zip"), build_observer(chain).size
    masks = np.ones((1, actor.interface.layout.methods), bool)
    with pytest.raises(ValueError, match="draws no methods"):
        actor.decider.decide(np.zeros((1, features), np.float32), masks, deterministic=False)


def test_a_problem_comes_back_from_its_files(chain: Problem, tmp_path: Path) -> None:
    save_problem(tmp_path, chain)
    content = json.loads((tmp_path / "problem.json").read_text())
    assert network_of(content["network"]) == chain.network
    with pytest.raises(MismatchError, match="eyeriss has changed"):
        load_problem(tmp_path, load_hardware("eyeriss"), NO_RESTRICTIONS, "energy")
    (tmp_path / "problem.json").write_text("{}")
    with pytest.raises(FileFormatError, match="not a problem of version 1"):
        load_problem(tmp_path, load_hardware("eyeriss"), NO_RESTRICTIONS, "energy")
    with pytest.raises(MissingFileError, match="--resume"):
        load_problem(tmp_path / "none", load_hardware("eyeriss"), NO_RESTRICTIONS, "energy")


def test_settings_come_back_from_json() -> None:
    settings = Settings(net="resnet20", hw="eyeriss", max_latency_ms=3.0, pin=("conv1:w8a8",), steps=5)
    assert Settings.from_json(json.loads(json.dumps(settings.to_json()))) == settings
    with pytest.raises(TypeError):
        Settings.from_json({"net": "resnet20", "hw": "eyeriss", "unknown": 1})
