"""The files of a report: the page and its pictures, written beside the plan that they show."""

from __future__ import annotations

from pathlib import Path

from agent.report_content import read_content
from agent.report_energy import energy_split
from agent.report_page import page
from agent.report_pictures import pictures
from hwmodels.accelerator import Accelerator
from plan.atomic import write_atomically
from plan.document import Document
from plan.layer import Network

PAGE = "report.html"


def write_report(folder: Path, document: Document, network: Network, accelerator: Accelerator) -> list[Path]:
    """Writes the page and the pictures of a run, each whole or not at all; returns their paths, the page first.

    Args:
        folder: of the run.
        document: its best plan so far.
        network: that the plan is for; zero fractions come from the plan.
        accelerator: that it was made for.

    Raises:
        FileFormatError: a file of the folder is broken.
        UnwritableError: a file cannot be written.
    """
    content = read_content(folder, document, energy_split(document, network, accelerator))
    made = {PAGE: page(content).encode(), **pictures(content)}
    for name, data in made.items():
        write_atomically(folder / name, data)
    return [folder / name for name in made]
