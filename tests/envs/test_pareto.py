import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from envs.pareto import undominated


@given(arrays.arrays(np.float64, st.tuples(st.integers(1, 12), st.just(2)), elements=st.integers(0, 4)))
def test_rows_against_definition(points: np.ndarray) -> None:
    rows = undominated(points[:, 0], points[:, 1])
    kept = points[rows]
    for index, point in enumerate(points):
        beaten = ((points <= point).all(axis=1) & (points < point).any(axis=1)).any()
        assert not (index in rows and beaten)
        assert (kept <= point).all(axis=1).any()
    assert len(np.unique(kept, axis=0)) == len(kept)
    assert (np.diff(kept[:, 0]) > 0).all()


def test_by_hand() -> None:
    costs, errors = np.array([5.0, 2.0, 2.0, 3.0, 1.0]), np.array([1.0, 2.0, 2.0, 3.0, 5.0])
    assert undominated(costs, errors).tolist() == [4, 1, 0]
