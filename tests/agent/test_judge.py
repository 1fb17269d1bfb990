"""Who gets which images right: hard images first, and no answer changed by that or by stopping early."""

from pathlib import Path

import numpy as np
import pytest

from agent.build import Assembly
from agent.judge import POOL, Judge, SplitMeasure, StoredMeasure, margins_of
from compress.measure import Measurer
from envs.accuracy.archive import Archive
from envs.accuracy.early_stop import stopped_answers
from experiments.mixed_plans import mixed_plans
from tests.agent.conftest import chain_errors
from tests.agent.prepared import prepared

IMAGES = 60


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> tuple[Assembly, Measurer]:
    return prepared(tmp_path_factory.mktemp("judge"))


def test_answers_stand_where_the_images_do(opened: tuple[Assembly, Measurer]) -> None:
    assembly, measurer = opened
    images = assembly.subject.dataset.splits.validation.first(IMAGES)
    judge, schemes = Judge(assembly.subject, measurer), assembly.space.schemes(assembly.space.baseline)
    tensor = assembly.subject.tensor(images)
    assert images.labels is not None
    assert np.array_equal(judge.right(schemes, images), measurer.correct(schemes, tensor, images.labels))
    assert np.array_equal(judge.right_as_given(images), measurer.dense_correct(tensor, images.labels))


def test_stopping_says_what_a_full_look_says(opened: tuple[Assembly, Measurer]) -> None:
    assembly, measurer = opened
    images, judge = assembly.subject.dataset.splits.validation.first(IMAGES), Judge(assembly.subject, measurer)
    assert images.labels is not None
    outputs = measurer.dense_outputs(assembly.subject.tensor(images))
    order = np.argsort(margins_of(outputs, images.labels), kind="stable")
    stops = 0
    for choice in mixed_plans(assembly.space, np.random.default_rng(0), 6):
        schemes = assembly.space.schemes(choice)
        full = judge.right(schemes, images)
        for wrong in (0, 5, 20, IMAGES):
            found = judge.right_until(schemes, images, wrong)
            assert ((~found.correct).sum() > wrong) == ((~full).sum() > wrong)
            assert (found.correct | ~full).sum() >= full.sum()
            assert not (~found.correct & full).any()
            assert found.stopped or np.array_equal(found.correct, full)
            known = stopped_answers(full, order, batch=measurer.batch, wrong=wrong)
            assert (known.run, known.correct.tolist()) == (found.run, found.correct.tolist())
            stops += found.stopped
    assert stops > 0


def test_a_bad_plan_shows_itself_sooner_than_in_the_order_of_the_data(
    opened: tuple[Assembly, Measurer],
) -> None:
    assembly, measurer = opened
    images, judge = assembly.subject.dataset.splits.validation.first(IMAGES), Judge(assembly.subject, measurer)
    baseline = assembly.space.schemes(assembly.space.baseline)
    full = judge.right(baseline, images)
    limit = int((~full).sum()) // 2
    in_order = int(np.flatnonzero(np.cumsum(~full) > limit)[0]) + 1
    assert judge.right_until(baseline, images, limit).run <= -(-in_order // 8) * 8


def test_images_that_run_are_the_least_sure_and_the_others_stay_as_given(opened: tuple[Assembly, Measurer]) -> None:
    assembly, measurer = opened
    judge, split = Judge(assembly.subject, measurer), assembly.subject.dataset.splits.validation
    measure, run = SplitMeasure(judge, split), 20
    pool = split.first(int(POOL * run))
    assert run < len(pool) == 50 < len(split)
    ranked = np.sort(measurer.dense_outputs(assembly.subject.tensor(pool)), axis=1)
    least_sure = np.argsort(ranked[:, -1] - ranked[:, -2], kind="stable")[:run]
    as_given = judge.right_as_given(pool)
    assert np.array_equal(measure.dense(run), as_given)
    for choice in mixed_plans(assembly.space, np.random.default_rng(2), 3):
        schemes = assembly.space.schemes(choice)
        expected = as_given.copy()
        expected[least_sure] = judge.right(schemes, pool)[least_sure]
        assert np.array_equal(measure.correct(schemes, run), expected)
        for wrong in (-1, int((~expected).sum()) - 1, int((~expected).sum())):
            found = measure.correct_until(schemes, run, wrong)
            assert found.assumed == len(pool) - run
            assert ((~found.correct).sum() > wrong) == ((~expected).sum() > wrong)
            assert found.stopped or np.array_equal(found.correct, expected)


def test_where_all_images_run_nothing_is_assumed(opened: tuple[Assembly, Measurer]) -> None:
    assembly, measurer = opened
    judge, split = Judge(assembly.subject, measurer), assembly.subject.dataset.splits.validation
    measure, schemes = SplitMeasure(judge, split), assembly.space.schemes(assembly.space.baseline)
    found = measure.correct_until(schemes, len(split), len(split))
    assert (found.assumed, found.run, found.stopped) == (0, len(split), False)
    assert np.array_equal(found.correct, judge.right(schemes, split))


def test_an_archive_remembers_what_was_assumed(opened: tuple[Assembly, Measurer], tmp_path: Path) -> None:
    assembly, measurer = opened
    problem = assembly.problem(chain_errors(assembly.space))
    measure = SplitMeasure(Judge(assembly.subject, measurer), assembly.subject.dataset.splits.validation)
    choice = mixed_plans(assembly.space, np.random.default_rng(3), 1)[0]
    first = Archive(problem, measure, tmp_path / "store.jsonl").evaluate(choice, 20)
    (again,) = Archive(problem, measure, tmp_path / "store.jsonl").on(20)
    assert (first.images, first.assumed, first.images_run, first.stopped) == (20, 30, 20, False)
    assert (again.images, again.assumed, again.images_run, again.stopped) == (20, 30, 20, False)
    assert np.array_equal(again.correct, first.correct)
    assert again.drop_points == 100.0 * (measure.dense(20).sum() - first.correct.sum()) / 50


def test_a_continued_run_hears_the_same(opened: tuple[Assembly, Measurer], tmp_path: Path) -> None:
    assembly, measurer = opened
    problem = assembly.problem(chain_errors(assembly.space))
    measure = SplitMeasure(Judge(assembly.subject, measurer), assembly.subject.dataset.splits.validation)
    choice = mixed_plans(assembly.space, np.random.default_rng(1), 1)[0]
    answers = []
    for _ in range(2):
        store = Archive(problem, measure, tmp_path / "store.jsonl")
        archive = Archive(problem, StoredMeasure(store))
        stopped = archive.evaluate(choice, IMAGES, hopeless_points=-50.0)
        full = archive.evaluate(choice, IMAGES)
        answers.append((stopped.images_run, stopped.drop_points, full.drop_points, archive.images_saved))
    assert answers[0] == answers[1]
    assert answers[0][0] < IMAGES
