"""Where a command writes: its result to stdout, what it shows meanwhile beside it when the result is JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console


def console_for(*, as_json: bool) -> Console:
    """Returns where progress and tables go: stdout, or stderr when stdout is kept for one JSON object."""
    return Console(stderr=as_json)


def write_json(content: Mapping[str, Any]) -> None:
    """Writes one JSON object with sorted keys and a line end to stdout."""
    sys.stdout.write(json.dumps(content, sort_keys=True, allow_nan=False) + "\n")
    sys.stdout.flush()


def write_next(command: str) -> None:
    """Writes the next useful command to stdout."""
    sys.stdout.write(f"next:\n  {command}\n")
