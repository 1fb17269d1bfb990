"""Command: what compression costs in accuracy, setting by setting, with every repair and without each.

python -m experiments.compression_study --net NET --weights FILE --data DATA --csv study.csv
    [--settings "4/5 bits" ...] [--variants all plain ...] [--images N] [--draws N]

Settings are uniform: one scheme for all layers but the first and the last, which stay dense at 8/8 bits. Figures are on
all images that calibration did not see. A repair that changes a few roundings moves a drop by as much as repairs are
worth: `--draws` repeats everything with other calibration images and shows the mean of the drops. Every line is written
as soon as it is measured; a second call measures what is missing.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor

from agent.build import Subject, open_subject, use_threads
from agent.progress import Display, make_display
from compress.divergence import divergence, log_probabilities
from compress.equalise import equalised
from compress.measure import Measurer
from compress.options import MeasureOptions
from compress.profile import Profile, profile
from compress.quantize import DEFAULT_ACTIVATIONS, ActivationQuantiser, WeightQuantiser
from compress.repair import RepairOptions
from compress.repair_record import ROUNDING_STEPS, SEQUENTIAL_IMAGES
from envs.accuracy.statistics import drop_points, paired_bootstrap
from experiments.uniform_setting import SETTINGS, Setting, schemes_of
from networks.data import Splits
from networks.images import Images
from networks.trace import TracedNetwork
from plan.command import DONE, Parser, run_command
from plan.errors import InvalidValueError, UnknownNameError
from plan.registry import close_names
from plan.rows import read_rows, write_rows

BOOTSTRAP_SEED = 0
FloatArray = NDArray[np.float32]
Key = tuple[str, str, str, int, int, str, str]


@dataclass(frozen=True)
class Variant:
    """A way to carry a setting out.

    options: which repairs run, and how the levels of weights are placed; activations: how those of tensors are;
    magnitude: whether weights are ranked by magnitude; equalise: whether the network is equalised first
    """

    options: MeasureOptions
    activations: ActivationQuantiser = DEFAULT_ACTIVATIONS
    magnitude: bool = False
    equalise: bool = False


ALL = MeasureOptions(sequential_images=SEQUENTIAL_IMAGES)


def _with(repair: RepairOptions) -> Variant:
    return Variant(replace(ALL, repair=repair))


VARIANTS: dict[str, Variant] = {
    "all": Variant(ALL),
    "plain": Variant(MeasureOptions(repair=RepairOptions(update=False), recalibrate=False), magnitude=True),
    "without sequential refit": Variant(replace(ALL, sequential_images=0)),
    "without weight update": _with(RepairOptions(update=False)),
    "without growing masks": _with(RepairOptions(rounds=1)),
    "without exchanges": _with(RepairOptions(exchanges=0)),
    "without descent": _with(RepairOptions(passes=0)),
    "without refitted scales": _with(RepairOptions(scales=0)),
    "without other starts": _with(RepairOptions(starts=1)),
    "without negative scales": _with(RepairOptions(signed=False)),
    "without spread": Variant(replace(ALL, spread=False)),
    "with rounding optimisation": Variant(replace(ALL, rounding_steps=ROUNDING_STEPS)),
    "without re-estimation": Variant(replace(ALL, recalibrate=False)),
    "weights min-max": _with(RepairOptions(quantiser=WeightQuantiser(ranges="min-max"))),
    "weights percentile": _with(RepairOptions(quantiser=WeightQuantiser(ranges="percentile"))),
    "weights per tensor": _with(RepairOptions(quantiser=WeightQuantiser(per_channel=False))),
    "weights per tensor, equalised": replace(
        _with(RepairOptions(quantiser=WeightQuantiser(per_channel=False))), equalise=True
    ),
    "with equalisation": Variant(ALL, equalise=True),
    "weights asymmetric": _with(RepairOptions(quantiser=WeightQuantiser(symmetric=False))),
    "activations min-max": Variant(ALL, ActivationQuantiser(ranges="min-max")),
    "activations percentile": Variant(ALL, ActivationQuantiser(ranges="percentile")),
    "activations symmetric": Variant(ALL, ActivationQuantiser(symmetric=True)),
}


@dataclass(frozen=True)
class Line:
    """One measurement: accuracies in percent, drop in points with its 95 % interval, processor seconds of repairs.

    divergence: of the outputs from the dense network's, nats per image; it tells smaller differences apart than drops
    draw: of the calibration images: 0 for the network's own, the others from all training images
    """

    network: str
    weights: str
    split: str
    draw: int
    setting: str
    variant: str
    images: int
    dense_accuracy: float
    accuracy: float
    drop_points: float
    low: float
    high: float
    divergence: float
    repair_seconds: float

    @property
    def key(self) -> Key:
        """What is measured once."""
        return (self.network, self.weights, self.split, self.draw, self.images, self.setting, self.variant)


class Study:
    """Measures settings under variants on one network.

    Args:
        subject: network and labelled data.
        images: how many images are measured, 0 for all outside calibration.
        display: told about progress.
        draw: of the calibration images.
    """

    def __init__(self, subject: Subject, images: int, display: Display, draw: int = 0) -> None:
        splits = subject.dataset.splits
        if splits.validation.labels is None or splits.test.labels is None:
            raise InvalidValueError("the data have no labels; a study of accuracy needs them")
        self.subject, self.display, self.draw = subject, display, draw
        self.calibration = subject.tensor(drawn_calibration(splits, draw))
        parts = (splits.validation, splits.test)
        wanted = images or sum(map(len, parts))
        self.images: Tensor = torch.cat([subject.tensor(part) for part in parts])[:wanted]
        self.labels = np.concatenate([splits.validation.labels, splits.test.labels])[:wanted]
        self._profiles: dict[tuple[ActivationQuantiser, bool], Profile] = {}
        self._measurer: tuple[str, Measurer] | None = None
        self._dense: FloatArray | None = None

    def key(self, setting: str, variant: str) -> Key:
        """Returns the key of a line that may be measured."""
        subject = self.subject
        name, split = subject.traced.network.name, subject.dataset.splits.sha256
        return (name, subject.weights_sha256, split, self.draw, len(self.labels), setting, variant)

    def measurer(self, name: str) -> Measurer:
        """Returns what measures a variant; only the last one is kept."""
        if self._measurer is None or self._measurer[0] != name:
            variant = VARIANTS[name]
            traced = self._equalised if variant.equalise else self.subject.traced
            if (variant.activations, variant.equalise) not in self._profiles:
                self.display.note(f"profile for '{name}'")
                found = profile(traced, self.calibration, activations=variant.activations)
                self._profiles[variant.activations, variant.equalise] = found
            found = self._profiles[variant.activations, variant.equalise]
            self._measurer = name, Measurer(traced, found, self.calibration, options=variant.options)
        return self._measurer[1]

    @cached_property
    def _equalised(self) -> TracedNetwork:
        return equalised(self.subject.traced, self.calibration)

    def line(self, setting: Setting, name: str) -> Line:
        """Returns the measurement of one setting under one variant."""
        measurer = self.measurer(name)
        if self._dense is None:
            self._dense = measurer.dense_outputs(self.images)
        schemes = schemes_of(setting.plain() if VARIANTS[name].magnitude else setting, self.subject.traced.network)
        start = time.process_time()
        measurer.load(schemes)
        seconds = time.process_time() - start
        outputs = measurer.outputs(schemes, self.images)
        dense, right = (found.argmax(1) == self.labels for found in (self._dense, outputs))
        low, high = paired_bootstrap(dense, right, seed=BOOTSTRAP_SEED)
        network, weights, split, draw, images, *_ = self.key(setting.name, name)
        return Line(
            network=network,
            weights=weights,
            split=split,
            draw=draw,
            setting=setting.name,
            variant=name,
            images=images,
            dense_accuracy=100.0 * float(dense.mean()),
            accuracy=100.0 * float(right.mean()),
            drop_points=drop_points(dense, right),
            low=low,
            high=high,
            divergence=divergence(torch.from_numpy(outputs), log_probabilities(torch.from_numpy(self._dense))),
            repair_seconds=round(seconds, 2),
        )


def drawn_calibration(splits: Splits, draw: int) -> Images:
    """Returns the network's own calibration images for draw 0, else as many others of its training images.

    Raises:
        InvalidValueError: there are no more training images than calibration images.
    """
    if draw == 0:
        return splits.calibration
    count, training = len(splits.calibration), splits.train
    if len(training) < count:
        raise InvalidValueError(
            f"{len(training)} training images are left, {count} calibrate; these data allow --draws 1"
        )
    picked = np.random.default_rng(draw).choice(len(training), count, replace=False)
    labels = None if training.labels is None else training.labels[picked]
    return Images(training.store, training.indices[picked], labels)


def measured(
    study: Study, settings: Sequence[Setting], variants: Sequence[str], known: Sequence[Line]
) -> Iterator[Line]:
    """Yields the lines that are not known yet, variant by variant."""
    done = {line.key for line in known}
    wanted = [(name, setting) for name in variants for setting in settings]
    missing = [pair for pair in wanted if study.key(pair[1].name, pair[0]) not in done]
    study.display.phase("settings", len(missing))
    for count, (name, setting) in enumerate(missing, start=1):
        yield study.line(setting, name)
        study.display.advance(count, len(missing), f"{setting.name}, {name}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 after printing the table, 2 when the network, the data or the file cannot be used."""
    parser = Parser(prog="python -m experiments.compression_study", description="What compression costs in accuracy.")
    parser.add_argument("--net", required=True, help="as of agent.train")
    parser.add_argument("--weights", default="auto", help="as of agent.train")
    parser.add_argument("--data", default="digits", help="as of agent.train")
    parser.add_argument("--csv", required=True, help="read if it is there, and written line by line")
    parser.add_argument("--settings", nargs="+", help="names of settings (default: all)")
    parser.add_argument("--variants", nargs="+", default=["all", "plain"], help="names of variants, or 'every'")
    parser.add_argument("--images", type=int, default=0, help="measured images (default: all outside calibration)")
    parser.add_argument("--draws", type=int, default=1, help="sets of calibration images (default: 1)")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    return run_command(lambda: _run(parser, arguments))


def _run(parser: Parser, arguments: Sequence[str] | None) -> int:
    options = parser.parse_args(arguments)
    known_settings = {setting.name: setting for setting in SETTINGS}
    settings = [known_settings[name] for name in _checked(options.settings or list(known_settings), known_settings)]
    variants = list(VARIANTS) if options.variants == ["every"] else _checked(options.variants, VARIANTS)
    if options.images < 0:
        raise InvalidValueError(f"--images {options.images} (allowed: 0 for all, or more)")
    if options.draws < 1:
        raise InvalidValueError(f"--draws {options.draws} (allowed: 1 or more)")
    use_threads(torch.get_num_threads())
    path = Path(options.csv)
    lines = read_rows(path, Line, "a study")
    with make_display(Console(stderr=True), quiet=options.quiet) as display:
        subject = open_subject(options.net, options.weights, options.data)
        for draw in range(options.draws):
            for line in measured(Study(subject, options.images, display, draw), settings, variants, lines):
                lines.append(line)
                write_rows(path, Line, lines)
    for title, name, digits in TABLES:
        _show(lines, variants, title, name, digits)
    return DONE


def _checked(names: Sequence[str], known: dict[str, Setting] | dict[str, Variant]) -> list[str]:
    for name in names:
        if name not in known:
            raise UnknownNameError(f"'{name}' is unknown{close_names(name, list(known))} (known: {', '.join(known)})")
    return list(names)


TABLES = (
    ("accuracy points lost, against the network as given", "drop_points", 2),
    ("divergence of the outputs from the network's as given (nats)", "divergence", 4),
)


def _show(lines: Sequence[Line], variants: Sequence[str], title: str, name: str, digits: int) -> None:
    """Prints a row per network and setting: one figure under each variant, its mean where there are draws."""
    found: dict[tuple[tuple[str, str, str, int, str], str], list[float]] = {}
    for line in lines:
        row = (line.network, line.weights, line.split, line.images, line.setting)
        found.setdefault((row, line.variant), []).append(getattr(line, name))
    table = Table(title=title)
    for heading in ("network", "images", "setting", *variants):
        table.add_column(heading)
    for row in dict.fromkeys(row for row, _ in found):
        network, _, _, images, setting = row
        cells = (_cell(found.get((row, variant), []), digits) for variant in variants)
        table.add_row(network, f"{images:,}", setting, *cells)
    Console(width=None if sys.stdout.isatty() else 60 + 24 * len(variants)).print(table)


def _cell(values: Sequence[float], digits: int) -> str:
    """Returns a figure, or the mean of several with its standard error and their number."""
    if len(values) < 2:
        return "".join(f"{value:.{digits}f}" for value in values)
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return f"{np.mean(values):.{digits}f} +- {error:.{digits}f} ({len(values)})"


if __name__ == "__main__":
    sys.exit(main())
