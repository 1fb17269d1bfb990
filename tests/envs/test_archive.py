import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from envs.accuracy.archive import Archive
from envs.accuracy.early_stop import Answers
from envs.problem import Problem
from plan.budget import Budget
from plan.errors import FileFormatError, MismatchError, UnwritableError
from plan.scheme import Scheme

IMAGES = 20


class CountingMeasure:
    """Loses one image for every pruned layer and every layer at 4 bits."""

    def __init__(self, images_id: str = "validation") -> None:
        self.images_id = images_id
        self.calls = 0

    def dense(self, images: int) -> np.ndarray:
        return np.ones(images, dtype=bool)

    def correct(self, schemes: Sequence[Scheme], images: int) -> np.ndarray:
        self.calls += 1
        lost = sum((scheme.density < 1) + (scheme.weight_bits < 8) for scheme in schemes)
        right = np.ones(images, dtype=bool)
        right[:lost] = False
        return right

    def correct_until(self, schemes: Sequence[Scheme], images: int, wrong: int) -> Answers:
        """Runs the images one by one, the wrong ones first."""
        right = self.correct(schemes, images)
        lost = int((~right).sum())
        run = wrong + 1 if lost > wrong else images
        return Answers(right | (np.arange(images) >= run), run)


def plan(problem: Problem, *changes: tuple[int, tuple[int, int, int, int]]) -> np.ndarray:
    choice = problem.space.start.copy()
    for layer, row in changes:
        choice[layer] = row
    return choice


NARROW, PRUNED, BOTH = (0, 31, 0, 0), (1, 15, 1, 0), (1, 15, 0, 0)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "archive.jsonl"


def test_every_plan_is_measured_once(toy: Problem) -> None:
    measure = CountingMeasure()
    archive = Archive(toy, measure)
    first = archive.evaluate(plan(toy, (0, NARROW)), IMAGES)
    again = archive.evaluate(plan(toy, (0, NARROW)), IMAGES)
    assert first is again
    assert (measure.calls, archive.evaluations) == (1, 1)
    archive.evaluate(plan(toy, (0, NARROW)), IMAGES // 2)
    archive.evaluate(plan(toy, (0, PRUNED)), IMAGES)
    assert (measure.calls, len(archive)) == (3, 3)
    assert archive.known(plan(toy, (2, BOTH)), IMAGES) is None


def test_measurement_by_hand(toy: Problem) -> None:
    entry = Archive(toy, CountingMeasure()).evaluate(plan(toy, (0, BOTH)), IMAGES)
    assert entry.drop_points == pytest.approx(10.0)
    assert entry.cost.energy_uj == pytest.approx(0.25 + 0.11)
    assert entry.objective == pytest.approx(0.36 / 1.11)
    assert entry.images == IMAGES


def test_key_names_plan_images_and_network(toy: Problem) -> None:
    archive, other = Archive(toy, CountingMeasure()), Archive(toy, CountingMeasure("test"))
    keys = {
        archive.key(plan(toy), IMAGES),
        archive.key(plan(toy), IMAGES + 1),
        archive.key(plan(toy, (0, NARROW)), IMAGES),
        other.key(plan(toy), IMAGES),
    }
    assert len(keys) == 4


def test_best_within_limits(toy: Problem) -> None:
    archive = Archive(toy, CountingMeasure())
    for changes in ([(0, BOTH)], [(0, NARROW)], [(1, NARROW)], []):
        archive.evaluate(plan(toy, *changes), IMAGES)
    best = archive.best(Budget(drop_points=5.0))
    assert best is not None
    np.testing.assert_array_equal(best.choice, plan(toy, (0, NARROW)))
    cheap = archive.best(Budget(energy_uj=0.4))
    assert cheap is not None
    np.testing.assert_array_equal(cheap.choice, plan(toy, (0, BOTH)))
    assert archive.best(Budget(drop_points=5.0, energy_uj=0.4)) is None
    assert archive.best(Budget(), images=7) is None


def test_frontier(toy: Problem) -> None:
    archive = Archive(toy, CountingMeasure())
    for changes in ([(0, BOTH)], [(0, NARROW)], [(1, NARROW)], [], [(1, NARROW), (2, NARROW)]):
        archive.evaluate(plan(toy, *changes), IMAGES)
    found = [(entry.drop_points, round(entry.objective * 1.11, 3)) for entry in archive.frontier()]
    assert found == [(0.0, 1.11), (5.0, 0.61), (10.0, 0.36)]
    assert Archive(toy, CountingMeasure()).frontier() == ()


def test_a_hopeless_plan_stops_and_is_no_candidate(toy: Problem) -> None:
    measure = CountingMeasure()
    archive = Archive(toy, measure)
    kept = archive.evaluate(plan(toy, (0, NARROW)), IMAGES, hopeless_points=5.0)
    stopped = archive.evaluate(plan(toy, (0, BOTH), (1, BOTH)), IMAGES, hopeless_points=5.0)
    assert (kept.stopped, kept.drop_points, kept.images_run) == (False, 5.0, IMAGES)
    assert (stopped.stopped, stopped.drop_points, stopped.images_run) == (True, 10.0, 2)
    assert archive.images_saved == IMAGES - 2
    assert archive.complete() == (kept,) == archive.frontier()
    assert archive.on(IMAGES) == (kept, stopped)
    assert archive.best(Budget(drop_points=15.0)) is kept


def test_a_stopped_plan_is_measured_in_full_when_asked(toy: Problem, file: Path) -> None:
    """And a continued run hears the same answers to the same questions, in the same order."""
    measure, both = CountingMeasure(), plan(toy, (0, BOTH), (1, BOTH))
    archive = Archive(toy, measure, file)
    stopped = archive.evaluate(both, IMAGES, hopeless_points=5.0)
    assert archive.evaluate(both, IMAGES, hopeless_points=5.0) is stopped
    full = archive.evaluate(both, IMAGES)
    assert (full.stopped, full.drop_points, measure.calls, len(archive)) == (False, 20.0, 2, 1)
    again = Archive(toy, CountingMeasure(), file)
    replayed = again.evaluate(both, IMAGES, hopeless_points=5.0)
    assert (replayed.images_run, replayed.cost) == (stopped.images_run, stopped.cost)
    assert again.evaluate(both, IMAGES).cost == full.cost
    assert again.measurements[0].drop_points == 20.0
    assert again.images_saved == archive.images_saved == IMAGES - 2
    assert again.evaluate(both, IMAGES, hopeless_points=50.0).drop_points == 20.0


def test_an_impossible_number_of_images_is_refused(toy: Problem, file: Path) -> None:
    archive = Archive(toy, CountingMeasure(), file)
    archive.evaluate(plan(toy, (0, BOTH), (1, BOTH)), IMAGES, hopeless_points=5.0)
    file.write_text(file.read_text().replace('"run": 2', '"run": 200'))
    with pytest.raises(FileFormatError, match="200 of 20 images ran"):
        Archive(toy, CountingMeasure(), file)


def test_restored_archive_is_the_same(toy: Problem, file: Path) -> None:
    archive = Archive(toy, CountingMeasure(), file)
    for changes in ([(0, BOTH)], [(0, NARROW)], []):
        archive.evaluate(plan(toy, *changes), IMAGES)
    measure = CountingMeasure()
    again = Archive(toy, measure, file)
    assert again.restored == again.evaluations == 3
    assert [entry.key for entry in again.measurements] == [entry.key for entry in archive.measurements]
    for one, other in zip(again.measurements, archive.measurements, strict=True):
        np.testing.assert_array_equal(one.correct, other.correct)
        assert one.cost == other.cost
    again.evaluate(plan(toy, (0, BOTH)), IMAGES)
    assert measure.calls == 0


def test_line_cut_short_by_a_kill_is_dropped(toy: Problem, file: Path) -> None:
    archive = Archive(toy, CountingMeasure(), file)
    archive.evaluate(plan(toy, (0, BOTH)), IMAGES)
    archive.evaluate(plan(toy), IMAGES)
    whole = file.read_bytes()
    file.write_bytes(whole[:-15])
    again = Archive(toy, CountingMeasure(), file)
    assert again.restored == 1
    again.evaluate(plan(toy), IMAGES)
    assert file.read_bytes() == whole


def test_killed_before_the_first_line(toy: Problem, file: Path) -> None:
    file.write_bytes(b'{"archive"')
    assert Archive(toy, CountingMeasure(), file).restored == 0
    assert len(file.read_text().splitlines()) == 1


def test_foreign_file(toy: Problem, coupled: Problem, file: Path) -> None:
    Archive(toy, CountingMeasure(), file)
    with pytest.raises(MismatchError, match="network, methods, bits"):
        Archive(coupled, CountingMeasure(), file)
    with pytest.raises(MismatchError, match="images_id"):
        Archive(toy, CountingMeasure("other"), file)


@pytest.mark.parametrize("damage", ["not json", "[1, 2]", '{"key": 1}'])
def test_damaged_line(toy: Problem, file: Path, damage: str) -> None:
    Archive(toy, CountingMeasure(), file).evaluate(plan(toy), IMAGES)
    file.write_text(file.read_text() + damage + "\n")
    with pytest.raises(FileFormatError, match="line 4"):
        Archive(toy, CountingMeasure(), file)


def test_edited_plan(toy: Problem, file: Path) -> None:
    Archive(toy, CountingMeasure(), file).evaluate(plan(toy), IMAGES)
    lines = file.read_text().splitlines()
    content = json.loads(lines[2])
    content["choice"][0][2] = 0
    file.write_text("\n".join([*lines[:2], json.dumps(content)]) + "\n")
    with pytest.raises(FileFormatError, match="does not fit its key"):
        Archive(toy, CountingMeasure(), file)


def test_unwritable(toy: Problem, tmp_path: Path) -> None:
    with pytest.raises(UnwritableError, match="cannot write"):
        Archive(toy, CountingMeasure(), tmp_path / "none" / "archive.jsonl")
