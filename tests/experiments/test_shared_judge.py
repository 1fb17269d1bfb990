"""Answers that processes share: the same as a judge's own, run once, and charged to everybody."""

from pathlib import Path

import numpy as np
import pytest

from agent.build import Assembly
from agent.judge import Judge
from compress.measure import Measurer
from experiments.mixed_plans import mixed_plans
from experiments.shared_judge import SharedJudge, read_answers
from plan.errors import FileFormatError
from tests.agent.prepared import prepared

IMAGES = 40


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> tuple[Assembly, Measurer]:
    return prepared(tmp_path_factory.mktemp("shared"))


def test_a_second_judge_runs_nothing_and_is_charged(
    opened: tuple[Assembly, Measurer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assembly, measurer = opened
    images = assembly.subject.dataset.splits.validation.first(IMAGES)
    plans = [assembly.space.schemes(choice) for choice in mixed_plans(assembly.space, np.random.default_rng(0), 3)]
    own_answers = []
    alone, first = Judge(assembly.subject, measurer), SharedJudge(assembly.subject, measurer, tmp_path)
    for plan in plans:
        for wrong in (3, IMAGES):
            own, shared = alone.right_until(plan, images, wrong), first.right_until(plan, images, wrong)
            assert (own.correct.tolist(), own.run) == (shared.correct.tolist(), shared.run)
        own_answers.append(own.correct.tolist())
    assert first.borrowed_seconds == 0.0
    files = sorted(tmp_path.iterdir())
    assert len(files) == 2 * len(plans)

    second = SharedJudge(assembly.subject, measurer, tmp_path)
    monkeypatch.setattr(measurer, "batches", None)  # whatever runs now, fails
    told = [second.right_until(plan, images, IMAGES) for plan in plans]
    assert [answers.correct.tolist() for answers in told] == own_answers
    spent = sum(read_answers(file)[1] for file in files)
    assert 0.0 < second.borrowed_seconds < spent
    assert second.clock() > second.borrowed_seconds


def test_other_images_and_other_limits_are_other_questions(opened: tuple[Assembly, Measurer], tmp_path: Path) -> None:
    assembly, measurer = opened
    validation = assembly.subject.dataset.splits.validation
    judge, plan = SharedJudge(assembly.subject, measurer, tmp_path), assembly.space.schemes(assembly.space.baseline)
    for images, wrong in ((IMAGES, IMAGES), (IMAGES - 1, IMAGES), (IMAGES, 0)):
        judge.right_until(plan, validation.first(images), wrong)
    assert len(list(tmp_path.iterdir())) == 3


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "answer.json").write_text('{"correct": "zz"}')
    with pytest.raises(FileFormatError, match="delete it to run the plan again"):
        read_answers(tmp_path / "answer.json")
