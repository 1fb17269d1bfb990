"""One cell of the arena: one network, one contestant, one seed, in a folder of its own from which it resumes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from agent.build import Assembly, Terms, open_subject, prepare, use_threads
from agent.campaign import Campaign
from agent.config import Settings
from agent.effort import Effort, effort_of
from agent.plan_sources import Sources
from agent.prediction import cached_table
from agent.preflight import check_hardware, check_sources
from agent.progress import Display
from agent.run_folder import RunFolder, threads
from agent.searchers.registry import measuring_searcher
from compress.device import chosen_device, device_title
from compress.options import DEFAULT_OPTIONS
from envs.accuracy.archive import Measurement
from envs.accuracy.error_table import ErrorTable
from experiments.contestants import ALONE, Contestant
from experiments.shared_judge import SharedJudge
from plan.atomic import write_atomically
from plan.errors import FileFormatError, InfeasibleError

RESULT, ANSWERS = "cell.json", "answers"
"""File of a cell, and folder beside all cells in which they leave what plans answered."""
ROOMY = replace(DEFAULT_OPTIONS, problem_cache_bytes=1536 << 20)
"""As every run measures, with memory for the factors of all layers of ResNet-50 that lose no inputs: nothing else of it
depends on that, and contestants that only choose widths need no others."""


@dataclass(frozen=True)
class Point:
    """A measured plan: after how many evaluations and processor seconds, its drop on validation images, its costs."""

    evaluations: int
    seconds: float
    drop_points: float
    objective: float
    energy_uj: float
    latency_ms: float
    size_kb: float


@dataclass(frozen=True)
class Cell:
    """What a cell found: every measured plan in order, and the final plan's objective and drops (None: none kept)."""

    net: str
    contestant: str
    mode: str
    seed: int
    limit: float
    points: tuple[Point, ...]
    objective: float | None
    validation_drop: float | None
    test_drop: float | None
    seconds: float


@dataclass(frozen=True, eq=False)
class Stage:
    """A network made ready once for all its cells, and the judge whose answers they share."""

    settings: Settings
    assembly: Assembly
    judge: SharedJudge
    table: ErrorTable
    effort: Effort


@dataclass
class TimedFolder(RunFolder):
    """A run folder that also notes the processor time at which every plan was measured, by a clock in seconds."""

    clock: Callable[[], float] = time.process_time
    times: dict[int, float] = field(default_factory=dict)

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Writes metrics, and the time where they are a measured plan's."""
        if "drop_points" in values:
            self.times.setdefault(step, self.clock())
        super().metrics(step, values)


def open_stage(settings: Settings, answers: Path) -> Stage:
    """Returns a network with its profile and table, from the caches where they are there.

    Args:
        settings: of a search on the network.
        answers: folder of what measured plans answered, shared by all cells.

    Raises:
        EspalierError: a network, data or hardware that cannot be used.
    """
    accelerator = check_hardware(settings.hw, settings.baseline_bits)
    check_sources(settings.net, settings.weights, settings.data)
    use_threads(threads())
    subject = open_subject(settings.net, settings.weights, settings.data, equalise=settings.equalise)
    sources = Sources(settings.net, settings.weights, settings.data, settings.hw)
    terms, device = Terms(sources, settings.baseline_bits, options=ROOMY), chosen_device(settings.device)
    assembly, measurer = prepare(subject, accelerator, terms, _silent, device)
    table = cached_table(assembly, measurer, settings.proxy, _silent)
    effort = effort_of(settings, assembly.network, subject.image_counts)
    return Stage(settings, assembly, SharedJudge(subject, measurer, answers), table, effort)


def _silent(phase: str, done: int, total: int) -> None:
    """Ignores progress."""


def run_cell(stage: Stage, contestant: Contestant, seed: int, folder: Path) -> Cell:
    """Returns what a contestant finds with a seed; a cell that was interrupted goes on, a finished one is read.

    Args:
        stage: the network.
        contestant: who searches.
        seed: of everything random.
        folder: of the cell.
    """
    if (folder / RESULT).is_file():
        return read_cell(folder / RESULT)
    clock = stage.judge.clock
    begun, files = clock(), TimedFolder(folder, clock=clock)
    settings = replace(stage.settings, seed=seed)
    device = device_title(stage.judge.measurer.device)
    files.create(settings, ["python", "-m", "experiments.arena", contestant.title], device)
    campaign = _campaign(stage, settings, files, contestant)
    _search(campaign, contestant, files)
    cell = _result(campaign, contestant, files, begun)
    text = json.dumps(asdict(cell), sort_keys=True, allow_nan=False) + "\n"
    write_atomically(folder / RESULT, text.encode())
    return cell


def _campaign(stage: Stage, settings: Settings, files: TimedFolder, contestant: Contestant) -> Campaign:
    problem = stage.assembly.problem(stage.table, settings.objective)
    effort = stage.effort if contestant.measured_phase else replace(stage.effort, adaptation_plans=0)
    return Campaign(settings, files, Display(), stage.assembly, stage.judge, problem, effort)


def _search(campaign: Campaign, contestant: Contestant, files: RunFolder) -> None:
    """Spends all evaluations."""
    files.start_phase("arena")
    if contestant.mode == ALONE:
        campaign.explore(measuring_searcher(contestant.name), None)
    else:
        searcher = contestant.make(files.path)
        campaign.calibrate(None)
        candidates = campaign.propose(searcher, None)
        campaign.refine(campaign.adapt(searcher, candidates, None), None)
    files.end_phase()


def _result(campaign: Campaign, contestant: Contestant, files: TimedFolder, begun: float) -> Cell:
    """Chooses the final plan on all validation images, measures it on the test images, and gathers everything."""
    entries = campaign.archive.measurements
    spent = files.times.get(len(entries), files.clock()) - begun
    points = tuple(_point(number, entry, files.times, begun) for number, entry in enumerate(entries, start=1))
    try:
        best = campaign.choose()
    except InfeasibleError:
        found: tuple[float | None, float | None, float | None] = (None, None, None)
    else:
        test = campaign.measurement(best.choice, campaign.splits.test)
        found = best.objective, best.drop_points, test.drop_points
    settings = campaign.settings
    identity = settings.net, contestant.name, contestant.mode, settings.seed, settings.max_drop
    return Cell(*identity, points, *found, spent)


def _point(number: int, entry: Measurement, times: Mapping[int, float], begun: float) -> Point:
    cost = entry.cost
    seconds = times.get(number, begun) - begun
    return Point(number, seconds, entry.drop_points, entry.objective, cost.energy_uj, cost.latency_ms, cost.size_kb)


def read_cell(path: Path) -> Cell:
    """Returns a finished cell.

    Raises:
        FileFormatError: the file is none.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return Cell(**{**content, "points": tuple(Point(**point) for point in content["points"])})
    except (KeyError, TypeError, ValueError) as error:
        raise FileFormatError(str(path), [f"not a cell of the arena ({error}); delete it to fill it again"]) from error
