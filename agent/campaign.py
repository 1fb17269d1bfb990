"""The measured part of a run: calibrate the proxy, search, choose on all validation images, test once."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from agent.build import Assembly
from agent.config import Settings
from agent.effort import Effort
from agent.exploration import FIRST_TARGETS, HIGHEST_DROP, LOWEST_DROP, jittered_plans, nearest
from agent.finalists import Round, choose
from agent.held_out import held_out_plans, study, unmeasured
from agent.judge import Judge, Right, SplitMeasure, StoredMeasure
from agent.measuring import Measuring
from agent.problem_file import save_problem
from agent.progress import Display
from agent.record import Found, Measurement, Order, describe
from agent.refine import fitted, refine
from agent.run_folder import RunFolder, versions
from agent.searchers.protocol import AdaptingSearcher, MeasuringSearcher, Searcher, Stop
from agent.searchers.resumable import Resumable, read_state, write_state
from compress.device import device_title
from envs.accuracy.archive import Archive
from envs.accuracy.archive import Measurement as Measured
from envs.problem import Problem
from networks.data import Splits
from networks.images import Images
from plan.document import Document
from plan.space import Choices

SPREAD_PLANS = 512
ROUND = 4
"""Plans that are measured between two fits of the calibration."""
KEPT_EVERY_SECONDS = 10.0
"""A search's state is written at most so often."""
CALIBRATION_STREAM, FIDELITY_STREAM = 1, 2
"""Children of the run's seed."""


class WatchedArchive(Archive):
    """An archive that tells about every plan as it is measured."""

    def __init__(self, problem: Problem, measure: StoredMeasure, tell: Callable[[Measured], None]) -> None:
        super().__init__(problem, measure)
        self._tell = tell

    def evaluate(self, choice: Choices, images: int, *, hopeless_points: float = math.inf) -> Measured:
        """Returns the measurement of a plan and tells about it when it is new."""
        before = len(self)
        found = super().evaluate(choice, images, hopeless_points=hopeless_points)
        if len(self) > before:
            self._tell(found)
        return found


@dataclass(frozen=True)
class Watcher:
    """Passes what a searcher tells on to the display and the metrics."""

    display: Display
    folder: RunFolder

    def progress(self, phase: str, done: int, total: int) -> None:
        """Moves the display's bar."""
        self.display.advance(done, total, "" if phase == "measure" else phase)

    def record(self, name: str, values: dict[str, float], step: int) -> None:
        """Writes figures of a phase."""
        self.folder.metrics(step, {f"{name}/{key}": value for key, value in values.items()})

    def improved(self, best: Measured) -> None:
        """Does nothing: the archive tells of better plans as they are measured."""


@dataclass(frozen=True)
class KeepingWatcher(Watcher):
    """A watcher of a search that also keeps its state from time to time; when, changes nothing that is found."""

    searcher: Searcher
    kept: list[float] = field(default_factory=lambda: [time.monotonic()])

    def progress(self, phase: str, done: int, total: int) -> None:
        """Moves the display's bar, and keeps the state if that was not done lately."""
        super().progress(phase, done, total)
        if time.monotonic() - self.kept[-1] > KEPT_EVERY_SECONDS:
            self.keep()

    def keep(self) -> None:
        """Writes the state of a searcher that has no files of its own."""
        if isinstance(self.searcher, Resumable):
            write_state(self.folder.checkpoint, self.searcher.state())
        self.kept[:] = [time.monotonic()]


@dataclass
class Campaign:
    """The state of a search between its phases.

    Attributes:
        problem: with the calibration fitted so far.
        spent: measured evaluations of the search, without the finalists' and the held-out plans'.
        alone: whether the searcher saw measured accuracy alone.
    """

    settings: Settings
    folder: RunFolder
    display: Display
    assembly: Assembly
    judge: Judge
    problem: Problem
    effort: Effort
    archive: WatchedArchive = field(init=False)
    spent: int = 0
    alone: bool = False
    fidelity: dict[str, Any] | None = None
    _best: str = ""
    _baselines: dict[int, Right] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Keeps the problem for later questions, and opens the measurements that an interrupted run left."""
        save_problem(self.folder.checkpoint, self.problem)
        measure = SplitMeasure(self.judge, self.splits.validation)
        store = Archive(self.problem, measure, self.folder.checkpoint / "evaluations.jsonl")
        self.archive = WatchedArchive(self.problem, StoredMeasure(store), self._measured)
        self._observer = Watcher(self.display, self.folder)

    @property
    def splits(self) -> Splits:
        """Calibration, validation and test images."""
        return self.assembly.subject.dataset.splits

    @property
    def order(self) -> Order:
        """What was asked for."""
        return Order(self.settings.objective, self.settings.limits)

    def rng(self, stream: int) -> np.random.Generator:
        """Returns a generator of its own for one purpose."""
        return np.random.default_rng([self.settings.seed, stream])

    def _measured(self, found: Measured) -> None:
        """Notes a measured plan, and writes it when it is the best so far."""
        best = self.archive.best(self.settings.limits, found.images)
        values = {
            "drop_points": found.drop_points,
            "objective": found.objective,
            "predicted_drop_points": self.problem.predicted_drop(found.choice),
            "images": found.images,
            "images_run": found.images_run,
        }
        if best is not None:
            values["best_objective"] = best.objective
        self.folder.metrics(len(self.archive), values)
        if best is not None and best.key != self._best and found.images == self.effort.search_images:
            self._best = best.key
            self.folder.save_plan(self.document(best, None))
            self.display.best(
                f"{100 * (1 - best.objective):.1f} % less {self.settings.objective} than dense "
                f"{self.settings.baseline_bits} bits, drop {best.drop_points:.2f} points"
            )

    def calibrate(self, deadline: float | None) -> None:
        """Measures plans spread over the drops that matter, and fits the map from errors to points."""
        self.archive.evaluate(self.problem.space.start, self.effort.search_images)
        pool = jittered_plans(self.problem, self.rng(CALIBRATION_STREAM), SPREAD_PLANS)
        wanted = self.effort.calibration_plans
        targets = np.array(FIRST_TARGETS[:wanted])
        while len(targets) and not (deadline is not None and time.monotonic() > deadline):
            fresh = unmeasured(self.archive, pool)
            for choice in nearest(self.problem, fresh, targets[: len(fresh)]):
                self.archive.evaluate(choice, self.effort.search_images)
                self.display.advance(len(self.archive))
            self.problem = fitted(self.problem, self.archive, self.effort.search_images)
            few = min(ROUND, wanted + 1 - len(self.archive), len(fresh) - len(targets))
            targets = np.geomspace(LOWEST_DROP, HIGHEST_DROP, max(few, 0) + 2)[1:-1]

    def propose(self, searcher: Searcher, deadline: float | None) -> Choices:
        """Returns the searcher's candidates, found on the proxy alone; it has half of the time that is left."""
        if isinstance(searcher, Resumable):
            searcher.restore(read_state(self.folder.checkpoint))
        now = time.monotonic()
        stop = Stop(self.effort.steps, self.effort.evaluations, None if deadline is None else (now + deadline) / 2)
        observer = KeepingWatcher(self.display, self.folder, searcher)
        found = searcher.search(
            self.problem, self.settings.limits, stop=stop, seed=self.settings.seed, observer=observer
        )
        observer.keep()
        return found

    def adapt(self, searcher: Searcher, candidates: Choices, deadline: float | None) -> Choices:
        """Returns the candidates after the measured phase of a searcher that has one."""
        if not isinstance(searcher, AdaptingSearcher):
            return candidates
        effort = self.effort
        found = searcher.adapt(
            self.problem,
            self.archive,
            candidates,
            self.settings.limits,
            measuring=Measuring(effort.search_images, effort.evaluations, deadline),
            plans=effort.adaptation_plans,
            seed=self.settings.seed,
        )
        self.problem = fitted(self.problem, self.archive, effort.search_images)
        return found

    def explore(self, searcher: MeasuringSearcher, deadline: float | None) -> None:
        """Lets a searcher spend all evaluations by itself, on measured accuracy alone."""
        self.alone = True
        self.archive.evaluate(self.problem.space.start, self.effort.search_images)
        measuring = Measuring(self.effort.search_images, self.effort.evaluations, deadline)
        searcher.measure(
            self.archive,
            self.settings.limits,
            measuring=measuring,
            seed=self.settings.seed,
            observer=self._observer,
        )
        self.problem = fitted(self.problem, self.archive, self.effort.search_images)
        self.spent = len(self.archive)

    def refine(self, candidates: Choices, deadline: float | None) -> None:
        """Measures plans around the limits until the evaluations are spent."""
        measuring = Measuring(self.effort.search_images, self.effort.evaluations, deadline)
        self.problem = refine(
            self.problem,
            self.archive,
            candidates,
            self.settings.limits,
            measuring=measuring,
            observer=self._observer,
        )
        self.spent = len(self.archive)

    def choose(self, deadline: float | None = None) -> Measured:
        """Returns the best plan that keeps the limits on all validation images.

        Args:
            deadline: of `time.monotonic`, after which the first such plan is the answer; None for never.

        Raises:
            InfeasibleError: none does.
        """
        images = self.effort.search_images, len(self.splits.validation)
        final = Round(self.settings.limits, *images, self.effort.finalists, not self.alone, deadline)
        return choose(self.problem, self.archive, final, self.display.advance)

    def rank(self) -> None:
        """Measures plans that no fit saw and notes how well the proxy ranked them."""
        effort = self.effort
        plans = held_out_plans(self.problem, self.archive, self.rng(FIDELITY_STREAM), effort.fidelity_plans)
        if len(plans) >= 3:
            tick = partial(self.display.advance, total=len(plans))
            found = study(self.problem, self.archive, plans, effort.fidelity_images, tick)
            self.fidelity = found.summary()
            self.folder.write_json("fidelity.json", {**found.to_json(), "early_stop": self.stopped()})

    def stopped(self) -> dict[str, int]:
        """Returns how many evaluations stopped early, and how many images did not have to run."""
        entries = self.archive.on(self.effort.search_images)
        return {
            "evaluations": len(entries),
            "stopped": sum(entry.stopped for entry in entries),
            "images": sum(entry.images for entry in entries),
            "images_saved": self.archive.images_saved,
        }

    def measurement(self, choice: Choices, images: Images) -> Measurement:
        """Returns which images the network as given, the baseline and a plan answer right."""
        space = self.problem.space
        return Measurement(
            self.judge.right_as_given(images),
            self.judge.right(space.schemes(space.baseline), images),
            self.judge.right(space.schemes(choice), images),
        )

    def document(self, entry: Measured, test: Measurement | None) -> Document:
        """Returns a measured plan as plan.json holds it."""
        images = entry.images
        validation = Measurement(self.archive.dense(images), self._baseline(images), entry.correct, entry.assumed)
        predicted = self.problem.predicted_drop(entry.choice)
        return describe(self.assembly, Found(entry.choice, predicted, validation, test), self.order, self.made_by())

    def _baseline(self, images: int) -> Right:
        """Returns which validation images the dense baseline answers right, so many run; pins may forbid it."""
        space = self.problem.space
        if (space.start == space.baseline).all():
            return self.archive.evaluate(space.baseline, images).correct
        if images not in self._baselines:
            measure = SplitMeasure(self.judge, self.splits.validation)
            self._baselines[images] = measure.correct(space.schemes(space.baseline), images)
        return self._baselines[images]

    def made_by(self) -> dict[str, Any]:
        """Returns how the plan came about; nothing in it depends on the clock or on paths written to."""
        return {
            "command": self.settings.command(),
            "searcher": self.settings.method,
            "seed": self.settings.seed,
            "config": {**self.settings.result_json(), "effort": self.effort.to_json()},
            "versions": versions(device_title(self.judge.measurer.device)),
            "measured_evaluations": self.spent or len(self.archive),
            "fidelity": self.fidelity,
            "calibration": self.problem.calibration.to_json(),
        }
