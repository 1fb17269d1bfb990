"""A Ctrl-C that Python had to ignore ends a run all the same."""

import signal
import weakref

import pytest

from agent.interrupts import Interruptible
from agent.progress import Display


class Shown(Display):
    def __init__(self) -> None:
        self.told: list[int] = []

    def advance(self, done: int, total: int | None = None, text: str = "") -> None:
        self.told.append(done)


class Thing:
    """Something that can be referred to weakly."""


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_lost_in_a_callback_is_raised_at_the_next_progress() -> None:
    display = Interruptible(Shown())
    before = signal.getsignal(signal.SIGINT)
    with display:
        thing = Thing()
        watch = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGINT))
        display.advance(1)
        del thing
        assert watch() is None
        with pytest.raises(KeyboardInterrupt):
            display.advance(2)
        display.heed()
        display.advance(3)
    assert signal.getsignal(signal.SIGINT) is before


def test_an_interrupt_is_raised_where_it_comes() -> None:
    display = Interruptible(Shown())
    with display, pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
