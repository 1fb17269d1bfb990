"""Displays: nothing when quiet, lines when piped, a bar on a terminal."""

import io

import pytest
from rich.console import Console

from agent.progress import make_display


def shown(*, quiet: bool, terminal: bool) -> str:
    text = io.StringIO()
    with make_display(Console(file=text, force_terminal=terminal, width=100), quiet=quiet) as display:
        display.phase("measure", 4)
        display.advance(2, text="half")
        display.best("40 % less")
        display.best("40 % less")
        display.note("a note")
        display.phase("write")
    return text.getvalue()


def test_quiet_prints_nothing() -> None:
    assert shown(quiet=True, terminal=True) == ""


def test_lines_are_plain_and_say_each_thing_once() -> None:
    text = shown(quiet=False, terminal=False)
    assert "\x1b" not in text
    assert [line.partition("] ")[2] for line in text.splitlines()] == [
        "measure (4)",
        "best: 40 % less",
        "a note",
        "write",
    ]


@pytest.mark.parametrize("wanted", ["measure", "a note", "best: 40 % less"])
def test_a_terminal_shows_phase_note_and_best(wanted: str) -> None:
    assert wanted in shown(quiet=False, terminal=True)
