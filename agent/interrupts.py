"""Ctrl-C that is never lost: an interrupt that Python had to ignore is raised at the next sign of progress."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Self

from agent.progress import Display


class Interruptible(Display):
    """Shows what another display shows, and raises KeyboardInterrupt for a Ctrl-C that was lost on the way.

    Python drops an exception that a signal raises inside a finaliser or a callback of a weak reference; a run has
    thousands of these, and would go on for hours.

    Args:
        shown: the display.
    """

    def __init__(self, shown: Display) -> None:
        self._shown = shown
        self._pressed = False
        self._before: object = None

    def __enter__(self) -> Self:
        """Starts the display, and listens where signals can be heard: in the main thread."""
        self._shown.__enter__()
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._press)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends the display and puts the handler from before back."""
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)  # type: ignore[arg-type]
        self._shown.__exit__(kind, error, trace)

    def heed(self) -> None:
        """Takes note that the interrupt was dealt with."""
        self._pressed = False

    def phase(self, name: str, total: int | None = None) -> None:
        """Starts a phase of the display."""
        self._check()
        self._shown.phase(name, total)

    def advance(self, done: int, total: int | None = None, text: str = "") -> None:
        """Moves the display on."""
        self._check()
        self._shown.advance(done, total, text)

    def best(self, text: str) -> None:
        """Tells the display about the best plan so far."""
        self._check()
        self._shown.best(text)

    def note(self, text: str) -> None:
        """Prints a line that stays."""
        self._shown.note(text)

    def _press(self, number: int, frame: FrameType | None) -> None:
        self._pressed = True
        raise KeyboardInterrupt

    def _check(self) -> None:
        if self._pressed:
            raise KeyboardInterrupt
