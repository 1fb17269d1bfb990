"""Command: how well proxies rank random mixed plans that no fit has seen.

python -m experiments.fidelity --net NET --weights FILE --data DATA --hw eyeriss --out fidelity
    [--plans 100] [--images N] [--seed 0] [--proxies second-order ...]

Plans are measured on all images outside the calibration set, test images among them: a study, never a search. Every
measurement is on disk before the next begins, and a second call goes on. Eight pilots, which do not count, tell what a
predicted error costs in points. The plans are then drawn once, their predicted drops spread evenly over 0 to 10 points,
and kept: another proxy is scored on the same plans without measuring again.
The folder gathers networks: `fidelity.csv` holds a row per network and proxy, NETWORK.png the default proxy's
prediction against what was measured.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from agent.build import Assembly, use_threads
from agent.judge import Judge
from agent.prediction import cached_table
from agent.progress import Display, make_display
from agent.proxies import PROXIES
from agent.run_folder import short_name
from compress.measure import Measurer
from envs.accuracy.archive import Archive, Measurement
from envs.accuracy.balance import fit_balanced
from envs.accuracy.early_stop import Answers
from envs.accuracy.fidelity import fidelity, spearman
from envs.accuracy.statistics import drop_points
from envs.problem import Problem
from experiments.fidelity_plot import draw_fidelity
from experiments.mixed_plans import spread_plans
from experiments.study_inputs import add_source_flags, prepared, shown_on
from networks.images import Images
from plan.assignment import FloatArray
from plan.atomic import replacing
from plan.command import DONE, Parser, run_command
from plan.errors import FileFormatError, InvalidValueError, UnknownNameError
from plan.registry import close_names
from plan.rows import read_rows, write_rows
from plan.scheme import Scheme
from plan.space import Choices

POOL_PER_PLAN = 60
LOWEST_DROP, HIGHEST_DROP = 0.1, 10.0
PILOTS, LOWEST_PILOT = 8, 0.5
FITTED_PLANS = 64
BAND_POINTS = 3.0
FITS = 20
FOLDS = 5


@dataclass(frozen=True)
class Row:
    """One proxy on one network.

    ceiling: rank correlation of drops measured on two disjoint halves of the images: no proxy can be expected to agree
        better with either half
    band_error: mean absolute error in points of plans with a measured drop of 0 to 3 points, each predicted by a
        calibration fitted on 64 other plans (fewer where there are fewer)
    """

    network: str
    proxy: str
    plans: int
    images: int
    spearman: float
    low: float
    high: float
    kendall: float
    ceiling: float
    band_error: float


class _EveryImage:
    """Measures plans on all images outside the calibration set, as an `Archive` asks."""

    def __init__(self, judge: Judge, parts: Sequence[Images]) -> None:
        self.judge, self.parts = judge, parts

    @property
    def images_id(self) -> str:
        """Identifies network, weights, splits and calibration images."""
        return f"fidelity-{self.judge.subject.key}-{self.judge.measurer.profile.calibration_sha256[:16]}"

    def dense(self, images: int) -> NDArray[np.bool_]:
        """Returns whether the network as given is right on each image, bool (images,)."""
        return np.concatenate([self.judge.right_as_given(part) for part in self._parts(images)])

    def correct(self, schemes: Sequence[Scheme], images: int) -> NDArray[np.bool_]:
        """Returns whether a compressed network is right on each image, bool (images,)."""
        return np.concatenate([self.judge.right(tuple(schemes), part) for part in self._parts(images)])

    def correct_until(self, schemes: Sequence[Scheme], images: int, wrong: int) -> Answers:
        """Returns the same: a study wants every figure in full."""
        return Answers(self.correct(schemes, images), images)

    def _parts(self, images: int) -> list[Images]:
        """Returns the images with as many of every part as make up the number, an even share of each."""
        total = sum(map(len, self.parts))
        return [part.first(round(images * len(part) / total)) for part in self.parts]


def drawn_plans(
    problem: Problem, plans: int, seed: int, file: Path, measure: Callable[[Choices], FloatArray]
) -> Choices:
    """Returns plans whose predicted drops are spread evenly over 0 to 10 points, int16 (plans, L, 4).

    They are kept in the file, so that what is predicted later does not change them.

    Args:
        problem: of the network; what its errors cost in points is fitted on a few plans first
        plans: how many
        seed: draws them
        file: keeps them
        measure: takes plans and returns their drops in points

    Raises:
        FileFormatError: the file holds no such plans.
    """
    if file.is_file():
        return _kept_plans(problem, plans, file)
    rng = np.random.default_rng(seed)
    pilots = spread_plans(problem, rng, POOL_PER_PLAN * PILOTS, np.geomspace(LOWEST_PILOT, HIGHEST_DROP, PILOTS))
    fitted = problem.with_calibration(fit_balanced(problem.errors.parts(problem.space, pilots), measure(pilots)))
    drawn = spread_plans(fitted, rng, POOL_PER_PLAN * plans, np.linspace(LOWEST_DROP, HIGHEST_DROP, plans))
    with replacing(file, "free space or change --out") as partial, partial.open("wb") as stream:
        np.save(stream, drawn, allow_pickle=False)
    return drawn


def _kept_plans(problem: Problem, plans: int, file: Path) -> Choices:
    try:
        kept: Choices = np.load(file, allow_pickle=False)
    except (ValueError, EOFError) as problem_found:
        raise FileFormatError(str(file), [f"not an array of plans ({problem_found}); delete it"]) from problem_found
    wanted = (plans, problem.space.n_layers, 4)
    if kept.shape != wanted or kept.dtype != np.int16:
        raise FileFormatError(str(file), [f"plans {kept.dtype} {kept.shape}, int16 {wanted} is needed; delete it"])
    return kept


def measured_plans(
    plans: Choices, archive: Archive, images: int, display: Display, phase: str = "measure"
) -> list[Measurement]:
    """Returns the measurements of plans, those on disk among them."""
    display.phase(phase, len(plans))
    found = []
    for done, choice in enumerate(plans, start=1):
        found.append(archive.evaluate(choice, images))
        display.advance(done, len(plans), f"drop {found[-1].drop_points:.2f} points")
    return found


def row_of(assembly: Assembly, proxy: str, errors: FloatArray, entries: Sequence[Measurement], ceiling: float) -> Row:
    """Returns how well errors (n, 2) of weights and activations, in any unit, agree with n measured plans."""
    drops = np.array([entry.drop_points for entry in entries])
    found = fidelity(unseen_errors(errors, drops), drops, seed=0)
    return Row(
        network=assembly.network.name,
        proxy=proxy,
        plans=len(entries),
        images=entries[0].images,
        spearman=round(found.spearman, 4),
        low=round(found.spearman_interval[0], 4),
        high=round(found.spearman_interval[1], 4),
        kendall=round(found.kendall, 4),
        ceiling=round(ceiling, 4),
        band_error=round(band_error(errors, drops), 4),
    )


def unseen_errors(errors: FloatArray, drops: FloatArray) -> FloatArray:
    """Returns summed errors (n,) of plans, the share of activations fitted on the other folds' plans."""
    scaled, folds = _scaled(errors, drops), np.arange(len(drops)) % FOLDS
    summed = np.empty(len(drops))
    for fold in range(FOLDS):
        found = fit_balanced(scaled[folds != fold], drops[folds != fold])
        summed[folds == fold] = found.summed(scaled[folds == fold])
    return summed


def _scaled(errors: FloatArray, drops: FloatArray) -> FloatArray:
    """Returns errors of any unit at the scale that the calibration expects."""
    typical = max(float(np.median(errors.sum(axis=1))), 1e-300)
    return np.asarray(errors * (np.median(np.maximum(drops, 0.1)) / 100.0 / typical))


def band_error(errors: FloatArray, drops: FloatArray) -> float:
    """Returns the mean absolute error in points of drops up to 3, calibrated on other plans; nan without such plans.

    Args:
        errors: (n, 2), of weights and of activations, in any unit.
        drops: (n,), points.
    """
    scaled = _scaled(errors, drops)
    rng, gaps = np.random.default_rng(0), list[float]()
    count = min(FITTED_PLANS, len(drops) * 2 // 3)
    for _ in range(FITS):
        order = rng.permutation(len(drops))
        seen, left = order[:count], order[count:]
        left = left[(drops[left] >= 0) & (drops[left] <= BAND_POINTS)]
        found = fit_balanced(scaled[seen], drops[seen])
        predicted = found.points(found.summed(scaled[left]))
        gaps.extend(np.abs(predicted - drops[left]).tolist())
    return float(np.mean(gaps)) if gaps else float("nan")


def noise_ceiling(dense: NDArray[np.bool_], entries: Sequence[Measurement]) -> float:
    """Returns the rank correlation of the plans' drops on two disjoint halves of the images."""
    halves = slice(0, None, 2), slice(1, None, 2)
    first, second = (np.array([drop_points(dense[half], entry.correct[half]) for entry in entries]) for half in halves)
    return spearman(first, second)


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 after printing the table, 2 when network, data or folder cannot be used."""
    parser = Parser(prog="python -m experiments.fidelity", description="How well proxies rank plans.")
    add_source_flags(parser)
    parser.add_argument("--plans", type=int, default=100, help="plans to measure (default: 100)")
    parser.add_argument("--images", type=int, default=0, help="images (default: all outside the calibration set)")
    parser.add_argument("--seed", type=int, default=0, help="draws the plans")
    parser.add_argument("--proxies", nargs="+", default=list(PROXIES), help=f"of: {', '.join(PROXIES)}")
    parser.add_argument("--out", default="fidelity", help="folder of measurements, table and plots")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    return run_command(lambda: _run(parser.parse_args(arguments)))


def _run(options: Namespace) -> int:
    for name in options.proxies:
        if name not in PROXIES:
            hint = close_names(name, list(PROXIES))
            raise UnknownNameError(f"proxy '{name}' is unknown{hint} (known: {', '.join(PROXIES)})")
    if options.plans < 3 or options.images < 0:
        raise InvalidValueError(f"--plans {options.plans} --images {options.images} (allowed: 3 and 0 or more)")
    use_threads(torch.get_num_threads())
    with make_display(Console(stderr=True), quiet=options.quiet) as display:
        assembly, measurer = prepared(options, display)
        rows = _study(assembly, measurer, options, display)
    _show(rows)
    return DONE


@dataclass(frozen=True)
class _Measured:
    """The plans of one network, int16 (n, L, 4), their measurements, and the noise ceiling of these."""

    choices: Choices
    entries: list[Measurement]
    ceiling: float


def _study(assembly: Assembly, measurer: Measurer, options: Namespace, display: Display) -> list[Row]:
    """Returns the rows of all networks in the folder after this one's are written."""
    folder, name, shown = Path(options.out), short_name(assembly.network.name), shown_on(display)
    display.phase("error table")
    table = cached_table(assembly, measurer, next(iter(PROXIES)), shown)
    folder.mkdir(parents=True, exist_ok=True)
    measured = _measured(assembly.problem(table), Judge(assembly.subject, measurer), folder / name, options, display)
    display.phase("proxies", len(options.proxies))
    own = []
    for done, proxy in enumerate(options.proxies, start=1):
        errors = cached_table(assembly, measurer, proxy, shown).parts(assembly.space, measured.choices)
        own.append(row_of(assembly, proxy, errors, measured.entries, measured.ceiling))
        display.advance(done, len(options.proxies), proxy)
    drops = np.array([entry.drop_points for entry in measured.entries])
    predicted = unseen_errors(table.parts(assembly.space, measured.choices), drops)
    draw_fidelity(folder / f"{name}.png", name, predicted, drops)
    return _joined(folder / "fidelity.csv", own)


def _measured(problem: Problem, judge: Judge, stem: Path, options: Namespace, display: Display) -> _Measured:
    """Returns the study's plans of a network, measured; files that begin with `stem` keep plans and measurements."""
    splits = judge.subject.dataset.splits
    measure = _EveryImage(judge, (splits.validation, splits.test))
    images = options.images or len(splits.validation) + len(splits.test)
    archive = Archive(problem, measure, stem.with_name(f"{stem.name}.jsonl"))
    kept = stem.with_name(f"{stem.name}-{options.plans}-{options.seed}.npy")

    def pilots(plans: Choices) -> FloatArray:
        found = measured_plans(plans, archive, images, display, "pilots")
        return np.array([entry.drop_points for entry in found])

    choices = drawn_plans(problem, options.plans, options.seed, kept, pilots)
    entries = measured_plans(choices, archive, images, display)
    return _Measured(choices, entries, noise_ceiling(archive.dense(images), entries))


def _joined(file: Path, own: list[Row]) -> list[Row]:
    """Returns the rows of other networks and proxies that the file holds, and these, after writing all."""
    known = read_rows(file, Row, "a table of proxies")
    rows = [*(row for row in known if (row.network, row.proxy) not in _keys(own)), *own]
    write_rows(file, Row, rows)
    return rows


def _keys(rows: Sequence[Row]) -> set[tuple[str, str]]:
    return {(row.network, row.proxy) for row in rows}


def _show(rows: Sequence[Row]) -> None:
    table = Table(title="rank correlation of predicted with measured drop, on plans that no fit saw")
    for heading in ("network", "proxy", "plans", "images", "Spearman", "95 %", "Kendall", "ceiling", "error (points)"):
        table.add_column(heading, justify="left" if heading in ("network", "proxy") else "right")
    for row in rows:
        figures = f"{row.spearman:.3f}", f"[{row.low:.2f}, {row.high:.2f}]", f"{row.kendall:.3f}"
        rest = f"{row.ceiling:.3f}", f"{row.band_error:.2f}"
        table.add_row(row.network, row.proxy, str(row.plans), f"{row.images:,}", *figures, *rest)
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table)
    console.print("ceiling: two disjoint halves of the images against each other; error: plans losing 0 to 3 points")


if __name__ == "__main__":
    sys.exit(main())
