"""Where a command writes: its result to stdout, what it shows meanwhile beside it when the result is JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console

from agent.config import DEVICES


def console_for(*, as_json: bool) -> Console:
    """Returns where progress and tables go: stdout, or stderr when stdout is kept for one JSON object."""
    return Console(stderr=as_json)


def add_output_flags(parser: argparse.ArgumentParser, *, quiet: str = "print nothing but errors") -> None:
    """Gives a command the flags `--quiet`, with its help text, and `--json`."""
    parser.add_argument("--quiet", action="store_true", help=quiet)
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout, progress on stderr")


def add_device_flag(parser: argparse.ArgumentParser, text: str) -> None:
    """Gives a command the flag `--device`, with its help text."""
    parser.add_argument("--device", choices=DEVICES, default=DEVICES[0], help=text)


def write_json(content: Mapping[str, Any]) -> None:
    """Writes one JSON object with sorted keys and a line end to stdout."""
    sys.stdout.write(json.dumps(content, sort_keys=True, allow_nan=False) + "\n")
    sys.stdout.flush()


def write_next(command: str) -> None:
    """Writes the next useful command to stdout."""
    sys.stdout.write(f"next:\n  {command}\n")
