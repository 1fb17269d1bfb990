"""A search that was killed on its way goes on from its state and ends in the same candidates."""

from pathlib import Path

import numpy as np
import pytest

from agent.hyperparameters import Hyperparameters
from agent.searchers.composite import CompositeSearcher
from agent.searchers.protocol import Searcher, Silent, Stop
from agent.searchers.registry import SEARCHERS, new_searcher
from agent.searchers.resumable import Resumable, read_state, write_state
from agent.searchers.single import SingleSearcher
from envs.problem import Problem
from plan.budget import Budget
from plan.errors import FileFormatError

LIMITS = Budget(drop_points=2.0)
HYPER = Hyperparameters(hidden=8, rollout_decisions=640, replay_decisions=2048, batch=32)
EXTRAS = {"nsga2": "pymoo", "tpe": "optuna"}
OTHERS = [name for name in SEARCHERS if name != "composite"]


class Killed(Exception):
    """Stands for a signal."""


class Killer(Silent):
    """Ends a search when it tells of its progress for the n-th time."""

    def __init__(self, after: int) -> None:
        self.left = after

    def progress(self, phase: str, done: int, total: int) -> None:
        self.left -= 1
        if self.left < 0:
            raise Killed


def made(name: str, folder: Path) -> Searcher:
    if name in EXTRAS:
        pytest.importorskip(EXTRAS[name], reason=f"{name} needs espalier[searchers]")
    if name == "composite":
        folder.mkdir(exist_ok=True)
        return CompositeSearcher(HYPER, folder)
    return SingleSearcher(name.removesuffix("-alone"), HYPER) if name.endswith("-alone") else new_searcher(name)


def stop_of(name: str) -> Stop:
    return Stop(steps=2560 if name == "composite" else 1280 if name.endswith("-alone") else 150, evaluations=1)


def searched(name: str, problem: Problem, searcher: Searcher, observer: Silent, seed: int = 1) -> bytes:
    return searcher.search(problem, LIMITS, stop=stop_of(name), seed=seed, observer=observer).tobytes()


@pytest.mark.parametrize("name", ["composite", "ddpg-alone", *OTHERS])
def test_a_killed_search_ends_as_an_undisturbed_one(chain: Problem, tmp_path: Path, name: str) -> None:
    """Killed twice, each time later, every continuation in a new searcher that is given the state alone."""
    whole = searched(name, chain, made(name, tmp_path / "whole"), Silent())
    state: dict[str, np.ndarray] = {}
    for turn, after in enumerate((3, 4)):
        searcher = made(name, tmp_path / f"killed{turn}")
        searcher.restore(state)
        try:
            searched(name, chain, searcher, Killer(after))
        except Killed:
            state = searcher.state()
    last = made(name, tmp_path / "last")
    last.restore(state)
    assert searched(name, chain, last, Silent()) == whole


@pytest.mark.parametrize("name", ["random", "greedy", "ilp"])
def test_a_continuation_does_only_what_is_left(chain: Problem, tmp_path: Path, name: str) -> None:
    class Counting(Silent):
        def __init__(self) -> None:
            self.told = 0

        def progress(self, phase: str, done: int, total: int) -> None:
            self.told += 1

    whole = Counting()
    first = made(name, tmp_path)
    expected = searched(name, chain, first, whole)
    again, rest = made(name, tmp_path), Counting()
    again.restore(first.state())
    assert searched(name, chain, again, rest) == expected
    assert rest.told < whole.told / 2


@pytest.mark.parametrize("name", ["nsga2", "rules"])
def test_a_finished_search_is_not_repeated(chain: Problem, tmp_path: Path, name: str) -> None:
    first, again = made(name, tmp_path), made(name, tmp_path)
    expected = searched(name, chain, first, Silent())
    again.restore(first.state())
    assert searched(name, chain, again, Killer(0)) == expected


def test_one_searcher_searches_anew_when_nothing_was_restored(chain: Problem) -> None:
    searcher = new_searcher("random")
    first, other = (searched("random", chain, searcher, Silent(), seed=seed) for seed in (1, 2))
    assert first != other
    assert searched("random", chain, searcher, Silent(), seed=1) == first


def test_a_state_survives_its_file(chain: Problem, tmp_path: Path) -> None:
    searcher = new_searcher("greedy")
    searched("greedy", chain, searcher, Silent())
    assert read_state(tmp_path) == {}
    write_state(tmp_path, searcher.state())
    found = read_state(tmp_path)
    assert set(found) == {"path"}
    np.testing.assert_array_equal(found["path"], searcher.state()["path"])
    assert [file.name for file in tmp_path.iterdir()] == ["searcher.npz"]
    (tmp_path / "searcher.npz").write_bytes(b"PK")
    with pytest.raises(FileFormatError, match="delete it to search again"):
        read_state(tmp_path)


def test_what_was_restored_is_used_once() -> None:
    memory = Resumable()
    memory.restore({"done": np.array(3)})
    assert memory.state() == {}
    assert int(memory.begin()["done"]) == 3
    assert memory.begin() == {}
