"""Tasks side by side: in order, on one thread each, with the same results however many there are."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from compress.cache import ByteCache
from compress.measure import Measurer
from compress.profile import Profile
from compress.threads import side_by_side, single_thread
from networks.trace import TracedNetwork
from plan.scheme import Method, NofM, Scheme


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> int:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_results_come_in_order_and_each_task_has_one_thread(threads: int) -> None:
    def task(number: int) -> tuple[int, int]:
        return number, torch.get_num_threads()

    assert side_by_side([partial(task, number) for number in range(5)]) == [(number, 1) for number in range(5)]
    assert side_by_side([]) == []
    assert torch.get_num_threads() == threads


def test_an_error_reaches_the_caller_and_the_number_of_threads_comes_back(threads: int) -> None:
    def fails() -> int:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        side_by_side([fails, lambda: 1])
    assert torch.get_num_threads() == threads
    with single_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == threads


def test_threads_that_make_the_same_entry_share_one() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    cache: ByteCache[np.ndarray] = ByteCache(1 << 20)
    found = side_by_side([partial(cache.get, number % 3, lambda: np.zeros(10)) for number in range(60)])
    torch.set_num_threads(before)
    assert len(cache) == 3
    assert cache.used_bytes == 3 * 80
    assert all(any(entry is cache.get(key, dict) for key in range(3)) for entry in found)


def test_layers_repaired_side_by_side_are_those_repaired_alone(
    traced: TracedNetwork, profiled: Profile, images: Tensor
) -> None:
    schemes = [Scheme(Method(NofM(2, 4), "second-order"), 0.5, 4, 6)] * len(traced.network.layers)
    schemes[0] = Scheme(schemes[0].method, 0.5, 4, 6)
    found = {}
    before = torch.get_num_threads()
    for count in (1, 3):
        torch.set_num_threads(count)
        found[count] = Measurer(traced, profiled, images).cached_repairs(schemes)
    torch.set_num_threads(before)
    for one, other in zip(*found.values(), strict=True):
        assert np.array_equal(one.levels, other.levels)
        assert np.array_equal(one.scale, other.scale)
        assert np.array_equal(one.packed_mask, other.packed_mask)
