"""Command: fit a network to an accelerator with the composite agent.

python -m agent.train --net NET --hw HW
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from agent.config import Settings, read_settings, settings_parser
from agent.preflight import check_agent_file, check_device, check_hardware, check_sources
from agent.run_folder import RunFolder, choose_folder, given_command
from agent.terminal import console_for
from plan.command import DONE, run_command


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 after a finished run, 2 when the request cannot be used."""
    parser = settings_parser(
        "python -m agent.train", "Fit a network to an accelerator.", leave_out=("method", "measured_only")
    )
    return run_command(lambda: start(read_settings(parser, arguments), "agent.train"))


def start(settings: Settings, program: str) -> int:
    """Checks a request, opens its run folder and runs it.

    Raises:
        EspalierError: whatever the user can mend.
    """
    accelerator = check_hardware(settings.hw, settings.baseline_bits)
    folder = RunFolder(choose_folder(settings))
    check_sources(settings.net, settings.weights, settings.data)
    check_device(settings.device)
    if settings.init_from is not None:
        check_agent_file(settings.init_from, settings.algo)
    if settings.measured_only:
        from agent.searchers.registry import measuring_searcher

        measuring_searcher(settings.method)
    console = console_for(as_json=settings.json)
    if settings.dry_run:
        from agent.dry_run import print_outlook  # imported here, like the pipeline below: both bring torch

        print_outlook(console, settings, accelerator)
        return DONE
    from agent.pipeline import Pipeline  # a faulty request need not wait for it

    return Pipeline(settings, accelerator, folder, console).run(given_command(program))


if __name__ == "__main__":
    sys.exit(main())
