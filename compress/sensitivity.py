"""Command: the drop that every scheme costs when a single layer has it, as a CSV file and a heat map.

python -m compress.sensitivity --net NET [--weights FILE] [--data DATA] --csv drops.csv [--plot drops.png]
    [--schemes w4a16 "w8a8,element:0.5" ...] [--images N]

Measured on validation images against the network as given; the other layers stay dense at 16 bits. Lines are written
as they are measured; a second call with the same file measures what is missing.
"""

from __future__ import annotations

import math
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from agent.build import cached_profile, open_subject, use_threads
from agent.progress import Display, make_display
from agent.rebuild import shown
from agent.terminal import add_device_flag
from compress.device import chosen_device, device_title
from compress.layer_drops import DEFAULT_SCHEMES, LayerDrop, LayerDrops, parse_scheme
from compress.measure import Measurer
from plan.command import DONE, Parser, run_command
from plan.errors import InvalidValueError, UnwritableError
from plan.rows import read_rows, write_rows

IMAGES = 1000


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 after writing the files, 2 when the network, the data, a scheme or a file cannot be used."""
    parser = Parser(prog="python -m compress.sensitivity", description="The measured drop of every layer and scheme.")
    parser.add_argument("--net", required=True, help="as of agent.train")
    parser.add_argument("--weights", default="auto", help="as of agent.train")
    parser.add_argument("--data", default="digits", help="as of agent.train")
    parser.add_argument("--csv", required=True, help="written line by line, and continued when it is there")
    parser.add_argument("--plot", help="also draw a heat map into this PNG file")
    parser.add_argument("--schemes", nargs="+", default=list(DEFAULT_SCHEMES), help="as w4a8 or w8a8,element:0.5")
    parser.add_argument("--images", type=int, default=IMAGES, help=f"validation images, at most (default {IMAGES})")
    parser.add_argument("--threads", type=int, default=2, help="that compute (default 2)")
    add_device_flag(parser, "where networks run, as of agent.train")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    return run_command(lambda: _run(parser, arguments))


def _run(parser: Parser, arguments: Sequence[str] | None) -> int:
    options = parser.parse_args(arguments)
    if options.images < 1 or options.threads < 1:
        raise InvalidValueError(f"--images {options.images}, --threads {options.threads} (allowed: 1 or more)")
    for text in options.schemes:
        parse_scheme(text)
    use_threads(options.threads)
    path, device = Path(options.csv), chosen_device(options.device)
    drops = read_rows(path, LayerDrop, "a sensitivity report")
    with make_display(Console(stderr=True), quiet=options.quiet) as display:
        display.note(f"networks run on {device_title(device)}")
        found = _layer_drops(options, device, display)
        total = len(found.network.layers) * len(options.schemes)
        display.phase("layers", total)
        for drop in found.every(options.schemes, drops):
            drops.append(drop)
            write_rows(path, LayerDrop, drops)
            display.advance(len(drops), total, f"{drop.layer} {drop.scheme}")
    if options.plot:
        draw(drops, Path(options.plot))
    _tell(drops)
    return DONE


def _layer_drops(options: Namespace, device: torch.device, display: Display) -> LayerDrops:
    display.phase("network, weights, data")
    subject = open_subject(options.net, options.weights, options.data, progress=display.advance)
    display.phase("profile")
    calibration = subject.tensor(subject.dataset.splits.calibration)
    profile = cached_profile(subject, calibration, shown(display), device)
    measurer = Measurer(subject.traced, profile, calibration, device=device)
    chosen = subject.dataset.splits.validation.first(options.images)
    pixels = subject.tensor(chosen)
    if chosen.labels is None:
        display.note("the data have no labels: agreement with the dense network is measured")
        return LayerDrops(measurer, pixels, measurer.dense_outputs(pixels).argmax(1).astype(np.int64))
    return LayerDrops(measurer, pixels, chosen.labels)


def draw(drops: Sequence[LayerDrop], path: Path) -> None:
    """Draws the drops as a heat map, a row per layer and a column per scheme; cells that are not legal stay empty.

    Raises:
        UnwritableError: the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # imported here: the table needs no plots
    from matplotlib.figure import Figure

    layers, schemes = (list(dict.fromkeys(getattr(drop, name) for drop in drops)) for name in ("layer", "scheme"))
    values = np.full((len(layers), len(schemes)), np.nan)
    for drop in drops:
        values[layers.index(drop.layer), schemes.index(drop.scheme)] = drop.drop_points
    figure = Figure(figsize=(2 + 0.5 * len(schemes), 2 + 0.25 * len(layers)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    largest = float(np.nanmax(values, initial=1e-9))
    image = axes.imshow(values, aspect="auto", cmap="viridis", vmin=0.0, vmax=largest)
    axes.set_xticks(range(len(schemes)), schemes, rotation=90)
    axes.set_yticks(range(len(layers)), layers)
    axes.set_title("accuracy points lost when one layer is compressed")
    figure.colorbar(image, label="points")
    try:
        figure.savefig(path, format="png", dpi=100)
    except OSError as error:
        raise UnwritableError(f"cannot write {path}: {error.strerror}; choose another --plot") from error


def _tell(drops: Sequence[LayerDrop]) -> None:
    """Prints the five costliest cells."""
    console = Console()
    known = [drop for drop in drops if not math.isnan(drop.drop_points)]
    console.print("costliest, accuracy points lost:", highlight=False)
    for drop in sorted(known, key=lambda drop: -drop.drop_points)[:5]:
        console.print(f"  {drop.drop_points:6.2f}  {drop.layer}  {drop.scheme}", highlight=False, markup=False)


if __name__ == "__main__":
    sys.exit(main())
