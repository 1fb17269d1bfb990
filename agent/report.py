"""Command: one self-contained HTML page and PNG pictures of a run.

python -m agent.report RUN [--net NET]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from agent.plan_sources import check_same
from agent.preflight import check_hardware
from agent.report_content import run_plan
from agent.summary import apply_command
from agent.terminal import add_output_flags, write_json, write_next
from plan.command import DONE, Parser, run_command


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 after writing the report, 2 when the run, its network or its hardware cannot be used."""
    parser = Parser(
        prog="python -m agent.report", description="One HTML page and pictures of a run.", allow_abbrev=False
    )
    parser.add_argument("run", metavar="RUN", help="a run folder, as agent.train leaves it")
    parser.add_argument("--net", help="the network, when it moved or is code in a file (default: as the plan says)")
    add_output_flags(parser)
    return run_command(lambda: _report(parser, arguments))


def _report(parser: Parser, arguments: Sequence[str] | None) -> int:
    options = parser.parse_args(arguments)
    folder = Path(options.run)
    document = run_plan(folder)
    accelerator = check_hardware(document["hardware"]["source"], document["baseline"]["weight_bits"])
    check_same("hardware", document["hardware"]["fingerprint"], accelerator.fingerprint)
    from agent.plan_network import network_of_plan  # imported here: torch, which a broken run need not wait for
    from agent.report_files import write_report

    written = write_report(folder, document, network_of_plan(document, options.net), accelerator)
    if options.json:
        write_json({"files": [str(path) for path in written]})
    elif not options.quiet:
        sys.stdout.write("".join(f"{path}\n" for path in written))
        write_next(apply_command(document, folder / "plan.json"))
    return DONE


if __name__ == "__main__":
    sys.exit(main())
