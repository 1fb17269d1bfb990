"""What a command shows while it works: a live display on a terminal, lines when piped, nothing when quiet."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

SECONDS_BETWEEN_LINES = 15.0


class Display:
    """Shows nothing; the base of the displays that do. Use it as a context manager."""

    def __enter__(self) -> Self:
        """Starts the display."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends the display."""

    def phase(self, name: str, total: int | None = None) -> None:
        """Starts a phase of `total` units of work (unknown when None) and ends the one before."""

    def advance(self, done: int, total: int | None = None, text: str = "") -> None:
        """Tells how much of the phase is done, with a short text about its state."""

    def best(self, text: str) -> None:
        """Tells about the best plan so far."""

    def note(self, text: str) -> None:
        """Prints a line that stays."""


class LineDisplay(Display):
    """One plain line per phase and per few seconds, for logs."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._name, self._best = "", ""
        self._start = self._shown = time.monotonic()
        self._begun = self._start
        self._total: int | None = None

    def phase(self, name: str, total: int | None = None) -> None:
        """Prints the name of the phase with the seconds since the start."""
        self._name, self._shown, self._begun = name, time.monotonic(), time.monotonic()
        self._total = total
        self._line(name if total is None else f"{name} ({total})")

    def advance(self, done: int, total: int | None = None, text: str = "") -> None:
        """Prints a line when the last is old enough or the phase is done."""
        now = time.monotonic()
        if now - self._shown < SECONDS_BETWEEN_LINES:
            return
        self._shown, total = now, self._total if total is None else total
        rate = done / max(now - self._begun, 1e-9)
        counted = f"{done}" if total is None else f"{done}/{total}"
        left = "" if total is None or not rate else f", {max(total - done, 0) / rate:.0f} s left"
        self._line(f"{self._name}: {counted}, {rate:,.1f}/s{left} {text}".rstrip())

    def best(self, text: str) -> None:
        """Prints the best plan when it changed."""
        if text != self._best:
            self._best = text
            self._line(f"best: {text}")

    def note(self, text: str) -> None:
        """Prints the text."""
        self._line(text)

    def _line(self, text: str) -> None:
        seconds = time.monotonic() - self._start
        self._console.print(f"[{seconds:6.1f} s] {text}", markup=False, highlight=False, soft_wrap=True)


class LiveDisplay(Display):
    """One bar for the phase in hand, under it the best plan so far; finished phases stay as lines."""

    def __init__(self, console: Console) -> None:
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[counted]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[text]}"),
        )
        self._best = Text("")
        self._live = Live(Group(self._bars, self._best), console=console, transient=True, refresh_per_second=4)
        self._phase: TaskID | None = None
        self._name, self._begun = "", time.monotonic()
        self._total: int | None = None

    def __enter__(self) -> Self:
        """Starts the live display."""
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Clears the live display; the lines of the phases stay."""
        self._finish()
        self._live.stop()

    def phase(self, name: str, total: int | None = None) -> None:
        """Replaces the bar by one for the new phase."""
        self._finish()
        self._name, self._begun, self._total = name, time.monotonic(), total
        self._phase = self._bars.add_task(name, total=total, counted="", text="")

    def advance(self, done: int, total: int | None = None, text: str = "") -> None:
        """Moves the bar."""
        total = self._total if total is None else total
        if self._phase is not None:
            rate = done / max(time.monotonic() - self._begun, 1e-9)
            counted = f"{done:,}" + ("" if total is None else f"/{total:,}") + f"  {rate:,.1f}/s"
            self._bars.update(self._phase, completed=done, total=total, counted=counted, text=text)

    def best(self, text: str) -> None:
        """Shows the best plan under the bar."""
        self._best.plain = f"  best: {text}"

    def note(self, text: str) -> None:
        """Prints the text above the bar."""
        self._live.console.print(text, markup=False, highlight=False)

    def _finish(self) -> None:
        if self._phase is not None:
            self._bars.remove_task(self._phase)
            self.note(f"{self._name}: {time.monotonic() - self._begun:.1f} s")
        self._phase = None


def make_display(console: Console, *, quiet: bool) -> Display:
    """Returns the display that fits: none when quiet, live on a terminal, lines otherwise."""
    if quiet:
        return Display()
    return LiveDisplay(console) if console.is_terminal else LineDisplay(console)
