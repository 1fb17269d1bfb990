"""Command: the compressed network of a plan as a file, pruned channels physically removed.

python -m agent.apply plan.json --out m.safetensors | m.pt2 [--net NET] [--weights WEIGHTS] [--data DATA]
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from agent.command import DONE, run_command
from agent.evaluate import plan_parser
from agent.plan_sources import Overrides
from agent.progress import make_display
from agent.summary import next_command
from agent.terminal import console_for, write_json, write_next
from plan.document import load
from plan.errors import InvalidValueError, UnwritableError

SUFFIXES = (".safetensors", ".pt2")


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 after the file was written, 2 when the plan, a source or the file cannot be used."""
    parser = plan_parser("python -m agent.apply", "Write the compressed network of a plan.")
    parser.add_argument("--out", required=True, help="file to write, ending in " + " or ".join(SUFFIXES))
    return run_command(lambda: _apply(parser.parse_args(arguments)))


def _apply(options: argparse.Namespace) -> int:
    document, out = load(Path(options.plan)), Path(options.out)
    _check_output(out)
    from agent import materialization  # imported here: it brings torch, which a broken plan need not wait for

    with make_display(console_for(as_json=options.json), quiet=options.quiet) as display:
        given = Overrides(options.net, options.weights, options.data)
        told = materialization.write(document, given, out, display)
    if options.json:
        write_json({"file": str(out), "file_bytes": out.stat().st_size, "plan": options.plan, "text": told})
    elif not options.quiet:
        sys.stdout.write(f"{told}\n")
        write_next(next_command("agent.evaluate", document, Path(options.plan)))
    return DONE


def _check_output(out: Path) -> None:
    if out.suffix not in SUFFIXES:
        raise InvalidValueError(f"--out {out} ends in neither of {', '.join(SUFFIXES)}; choose one of these")
    if not out.parent.is_dir() or not os.access(out.parent, os.W_OK):
        raise UnwritableError(f"--out {out}: its folder does not exist or cannot be written; choose another")


if __name__ == "__main__":
    sys.exit(main())
