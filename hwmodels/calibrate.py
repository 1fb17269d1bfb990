"""Command: measures this machine's core and writes its constants as a hardware file.

OMP_NUM_THREADS=1 python -m hwmodels.calibrate my_cpu.toml [--repeats 9]
"""

from __future__ import annotations

import argparse
import platform
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hwmodels.loader import parse, preset_text
from hwmodels.microbenchmark import (
    BLOCKS,
    DENSITIES,
    FILTERS,
    INPUTS,
    POSITIONS,
    Calibration,
    measure,
    memory_bits_per_ns,
)
from hwmodels.microbenchmark import fit as fit_constants
from hwmodels.new import write
from plan.command import DONE, Parser, run_command
from plan.errors import InvalidValueError

TEMPLATE = "mobile_cpu"
MOST_REPEATS = 1000


def calibrated(found: Calibration, name: str) -> str:
    """Returns the text of the preset with measured rates under a name, and where they come from as their source."""
    rates = found.rates
    source = (
        f"measured by hwmodels.calibrate on one {platform.machine()} core with numpy {np.__version__} in float32: "
        f"{FILTERS} x {INPUTS} weights, {', '.join(map(str, POSITIONS))} positions, blocks of "
        f"{', '.join(map(str, BLOCKS))} filters at densities {', '.join(map(str, DENSITIES))}; "
        f"mean error of the fit {found.mean_error:.0%}"
    )
    values = {
        "dense_macs_per_ns": rates.dense_macs_per_ns,
        "block_macs_per_ns": rates.block_macs_per_ns,
        "vector_filters_count": rates.vector_filters,
        "block_ns": rates.block_ns,
        "gather_ns": rates.gather_ns,
        "layer_ns": rates.layer_ns,
        "dram_bits_per_ns": rates.dram_bits_per_ns,
    }
    section = "\n".join(
        ["[rates]", f'source = "{source}"', *(f"{key} = {_digits(v)}" for key, v in values.items()), ""]
    )
    text = re.sub(r"\[rates\]\n(?:[^\[\n].*\n)*", lambda _: section, preset_text(TEMPLATE), count=1)
    return re.sub(r'^name = ".*"', lambda _: f'name = "{name}"', text, count=1, flags=re.MULTILINE)


def _digits(value: float) -> str:
    """Returns a number as TOML, with four significant digits where it is no whole number."""
    return str(value) if isinstance(value, int) else repr(float(f"{value:.4g}"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 after writing the file, 2 when the path or a value cannot be used."""
    parser = Parser(prog="python -m hwmodels.calibrate", description=__doc__)
    parser.add_argument("path", help="file to write, ending in .toml")
    parser.add_argument("--repeats", type=int, default=9, help="the best of so many runs counts (default 9)")
    return run_command(lambda: _calibrate(parser.parse_args(arguments)))


def _calibrate(options: argparse.Namespace) -> int:
    if not 1 <= options.repeats <= MOST_REPEATS:
        raise InvalidValueError(f"--repeats {options.repeats} is out of range (allowed: 1 to {MOST_REPEATS})")
    found = fit_constants(measure(options.repeats, seed=0), memory_bits_per_ns(options.repeats))
    text = calibrated(found, Path(options.path).stem)
    parse(text, options.path)
    write(Path(options.path), text)
    sys.stdout.write(
        f"wrote {options.path}: {found.rates.dense_macs_per_ns:.3g} MAC/ns dense, "
        f"{found.rates.block_macs_per_ns:.3g} in blocks, mean error of the fit {found.mean_error:.1%}\n"
    )
    return DONE


if __name__ == "__main__":
    sys.exit(main())
