import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from envs.pareto import pareto_mask


@given(arrays.arrays(np.float64, arrays.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(0, 4)))
def test_mask_against_definition(costs: np.ndarray) -> None:
    mask = pareto_mask(costs)
    kept = costs[mask]
    for point, is_kept in zip(costs, mask, strict=True):
        beaten = ((costs <= point).all(axis=1) & (costs < point).any(axis=1)).any()
        assert not (is_kept and beaten)
        assert (kept <= point).all(axis=1).any()
    assert len(np.unique(kept, axis=0)) == len(kept)


def test_by_hand() -> None:
    costs = np.array([[1.0, 5.0], [2.0, 2.0], [2.0, 2.0], [3.0, 3.0], [5.0, 1.0]])
    assert pareto_mask(costs).tolist() == [True, True, False, False, True]
