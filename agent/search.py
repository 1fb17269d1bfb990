"""Command: the same problem and outputs as agent.train, with a searcher of choice.

python -m agent.search --method random|greedy|ilp|nsga2|tpe|amc|haq|rules|composite [--measured-only] --net NET --hw HW
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from agent.config import read_settings, settings_parser
from agent.train import start
from plan.command import run_command


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 after a finished run, 2 when the request cannot be used."""
    parser = settings_parser(
        "python -m agent.search", "Search with a method of choice.", leave_out=("algo", "init_from")
    )
    return run_command(lambda: start(read_settings(parser, arguments), "agent.search"))


if __name__ == "__main__":
    sys.exit(main())
