"""How many threads torch computes with: one where a second one only waits, one for each of several tasks at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

Item = TypeVar("Item")


@contextmanager
def single_thread() -> Iterator[None]:
    """Lets torch compute with one thread; puts the process's number back afterwards.

    An agent of 64 hidden units learns no faster with two, which then take twice the processor time, and two and a half
    times slower with them beside other work; with one it learns the same whatever number a run was given.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def side_by_side(tasks: Sequence[Callable[[], Item]]) -> list[Item]:
    """Returns what every task gives, in their order; as many run at a time as torch has threads, on one thread each.

    Small matrices gain little from a second thread, and what comes out does not depend on how many there are.
    """
    threads = torch.get_num_threads()
    with single_thread():
        if threads == 1 or len(tasks) < 2:
            return [task() for task in tasks]
        with ThreadPoolExecutor(threads) as pool:
            return [future.result() for future in [pool.submit(task) for task in tasks]]
