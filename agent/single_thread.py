"""One thread for networks so small that a second one only waits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


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
