"""Command: rebuild the compressed network from a plan, measure it, and compare with what the plan says.

python -m agent.evaluate plan.json [--net NET] [--weights WEIGHTS] [--data DATA] [--device auto|cpu|cuda]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from agent.plan_sources import Overrides, check_sources_of, sources_of
from agent.progress import make_display
from agent.summary import apply_command
from agent.terminal import add_device_flag, add_output_flags, console_for, write_json, write_next
from plan.command import DIFFERENT, DONE, Parser, run_command
from plan.document import Document, load


def plan_parser(program: str, description: str) -> Parser:
    """Returns a parser for a plan and overrides of its sources."""
    parser = Parser(prog=program, description=description, allow_abbrev=False)
    parser.add_argument("plan", metavar="PLAN", help="a plan.json")
    parser.add_argument("--net", help="the network, when it moved or is code in a file (default: as the plan says)")
    parser.add_argument("--weights", help="its weights (default: as the plan says)")
    parser.add_argument("--data", help="the data (default: as the plan says)")
    add_output_flags(parser, quiet="print nothing but differences and errors")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 when every figure is equal, 1 when any differs, 2 when the plan or a source cannot be used."""
    parser = plan_parser("python -m agent.evaluate", "Recompute every figure of a plan.")
    add_device_flag(
        parser, "where networks run (default: auto, as when the plan was made, where there is such a device)"
    )
    return run_command(lambda: _evaluate(parser, arguments))


def _evaluate(parser: Parser, arguments: Sequence[str] | None) -> int:
    options = parser.parse_args(arguments)
    document = load(Path(options.plan))
    sources = sources_of(document, Overrides(options.net, options.weights, options.data))
    accelerator = check_sources_of(document, sources)
    from agent.recomputation import recompute  # imported here: it brings torch, which a broken plan need not wait for

    with make_display(console_for(as_json=options.json), quiet=options.quiet) as display:
        recomputed = recompute(document, sources, accelerator, display, options.device)
    found = recomputed.comparison
    if options.json:
        write_json({**found.to_json(), "validation": recomputed.validation})
        return DIFFERENT if found.differences else DONE
    for difference in found.differences:
        sys.stdout.write(f"{difference}\n")
    if document["accuracy"]["validation"] is None:
        sys.stdout.write(f"{measured_line(recomputed.validation)}\n")
    if not options.quiet:
        verdict = f"{len(found.differences)} differ" if found.differences else "all equal"
        sys.stdout.write(f"{found.compared} values compared, {verdict} ({found.tolerance})\n")
        if not found.differences:
            write_next(apply_command(document, Path(options.plan)))
    return DIFFERENT if found.differences else DONE


def measured_line(validation: Document) -> str:
    """Returns what a plan that stated a prediction alone loses on validation images."""
    low, high = validation["interval"]
    drop = f"{validation['drop_points']:.2f} [{low:.2f}, {high:.2f}] points"
    return f"the plan was predicted, not measured; measured now: drop {drop} on {validation['images']} images"


if __name__ == "__main__":
    sys.exit(main())
