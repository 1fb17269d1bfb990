"""What the experiments that compare searchers are asked: their common flags, and the settings that these say."""

from __future__ import annotations

import argparse

from agent.config import Settings
from plan.command import Parser
from plan.errors import InvalidValueError

FEWEST_EVALUATIONS = 4


def add_flags(parser: Parser, *, evaluations: int, out: str) -> None:
    """Gives a command the flags that say on what, within which limit and how long is searched.

    Args:
        parser: of the command.
        evaluations: default of --evaluations.
        out: default of --out.
    """
    parser.add_argument("--hw", default="eyeriss", help="accelerator (default: eyeriss)")
    parser.add_argument("--data", default="digits", help="as --data of agent.train (default: digits)")
    parser.add_argument("--weights", default="auto", help="as --weights of agent.train (default: auto)")
    parser.add_argument("--max-drop", type=float, default=1.0, help="limit that is searched for (default: 1.0)")
    parser.add_argument("--steps", type=int, help="layer decisions that learners train on (default: by size)")
    parser.add_argument(
        "--evaluations", type=int, default=evaluations, help=f"measured evaluations each (default: {evaluations})"
    )
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0, 1, ... (default: 3)")
    parser.add_argument("--out", default=out, help=f"folder of what is found (default: {out})")


def check_counts(options: argparse.Namespace) -> None:
    """Checks what would otherwise be found only after networks were made ready.

    Raises:
        InvalidValueError: no seed, or too few evaluations.
    """
    if options.seeds < 1 or options.evaluations < FEWEST_EVALUATIONS:
        raise InvalidValueError(
            f"--seeds {options.seeds} --evaluations {options.evaluations}: "
            f"--seeds must be 1 or more and --evaluations {FEWEST_EVALUATIONS} or more"
        )


def settings_of(options: argparse.Namespace, net: str) -> Settings:
    """Returns the settings of a search on one network."""
    return Settings(
        net=net,
        hw=options.hw,
        weights=options.weights,
        data=options.data,
        max_drop=options.max_drop,
        steps=options.steps,
        evaluations=options.evaluations,
    )


def worker_count(text: str) -> int:
    """Returns how many cells run at a time.

    Raises:
        InvalidValueError: not a whole number from 1.
    """
    if not text.isdigit() or int(text) == 0:
        raise InvalidValueError(f"--workers {text} is no count (allowed: a whole number from 1)")
    return int(text)
