import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agent.elite import MOST_PLANS, Elite
from agent.unchecked import unchecked_distributions


def plans(count: int) -> np.ndarray:
    return np.arange(count * 4, dtype=np.int16).reshape(count, 1, 4)


def test_keeps_what_none_beats() -> None:
    """(objective, error): (1, 5) and (3, 2) stay; (2, 6) is beaten by the first, (3, 4) by the second."""
    elite = Elite(1)
    elite.add(plans(4), np.array([1.0, 2.0, 3.0, 3.0]), np.array([5.0, 6.0, 2.0, 4.0]))
    assert elite.scores.tolist() == [[1.0, 5.0], [3.0, 2.0]]
    assert elite.choices.tolist() == plans(4)[[0, 2]].tolist()
    elite.add(plans(1), np.array([0.5]), np.array([1.0]))
    assert elite.scores.tolist() == [[0.5, 1.0]]


@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 600))
def test_never_loses_an_end_and_stays_bounded(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    objective, error = rng.random(count), rng.random(count)
    elite = Elite(1)
    for part in np.array_split(np.arange(count), 3):
        elite.add(plans(count)[part], objective[part], error[part])
    assert len(elite.choices) == len(elite.scores) <= MOST_PLANS
    assert elite.scores[0, 0] == objective.min()
    assert elite.scores[-1, 1] == error.min()


def test_checks_are_off_only_inside() -> None:
    wrong = torch.tensor([0.5, float("nan")])
    with unchecked_distributions():
        torch.distributions.Categorical(probs=wrong)
    with pytest.raises(ValueError, match="probs"):
        torch.distributions.Categorical(probs=wrong)
