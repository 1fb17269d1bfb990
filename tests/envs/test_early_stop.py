"""The number of wrong answers at which a limit is out of reach is exact."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from envs.accuracy.early_stop import Answers, most_wrong
from envs.accuracy.statistics import drop_points


def test_by_hand() -> None:
    dense = np.arange(100) < 90
    assert most_wrong(dense, 1.0) == 11
    assert most_wrong(dense, 0.99) == 10
    assert most_wrong(dense, 100.0) == 100
    assert most_wrong(np.arange(100) < 0, 0.0) == 100
    assert most_wrong(np.ones(10, dtype=np.bool_), -1.0) == -1


@given(
    st.lists(st.booleans(), min_size=1, max_size=60),
    st.floats(0.0, 30.0),
    st.randoms(use_true_random=False),
)
def test_stopping_there_never_changes_whether_a_plan_keeps_the_limit(dense, limit, random) -> None:  # type: ignore[no-untyped-def]
    given_right = np.array(dense)
    plan = np.array([random.random() < 0.7 for _ in dense])
    wrong = most_wrong(given_right, limit)
    assert (int((~plan).sum()) <= wrong) == (drop_points(given_right, plan) <= limit)


def test_stopped_tells_whether_images_are_left() -> None:
    right = np.ones(4, dtype=np.bool_)
    assert Answers(right, 3).stopped
    assert not Answers(right, 4).stopped
