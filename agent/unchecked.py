"""Turns off torch's checks of distributions' arguments while an agent works: they take a tenth of its time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch.distributions import Distribution


@contextmanager
def unchecked_distributions() -> Iterator[None]:
    """Lets distributions be made without checking their arguments; puts the process's setting back afterwards."""
    before = Distribution._validate_args
    Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        Distribution.set_default_validate_args(before)
