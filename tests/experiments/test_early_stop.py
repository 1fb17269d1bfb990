"""Stopping early on recorded plans: no verdict changes, and what is saved is counted."""

import json
from pathlib import Path

import numpy as np
import pytest

from envs.accuracy.archive import packed
from experiments.early_stop import main, replay
from experiments.recorded import Record, read_record


def record(plans: int = 12, images: int = 400) -> tuple[Record, np.ndarray]:
    """Returns answers that go wrong where the margin is small, from nearly dense to ruined."""
    rng = np.random.default_rng(0)
    margins = rng.normal(1.5, 1.0, images).astype(np.float32)
    noise = rng.normal(0.0, 1.0, (plans, images)) * np.linspace(0.05, 2.0, plans)[:, None]
    return Record(margins > 0, margins + noise > 0), margins


@pytest.mark.parametrize("limit", [0.5, 1.0, 5.0])
def test_no_verdict_changes(limit: float) -> None:
    answers, margins = record()
    found = replay(answers, margins, limit=limit, images=200, batch=16)
    assert (found.evaluations, found.changed, found.images) == (24, 0, 24 * 200)
    assert 0 < found.stopped < 24
    assert found.run < found.images


def test_hard_images_first_save_more() -> None:
    answers, margins = record()
    sooner = replay(answers, margins, limit=1.0, images=400, batch=16)
    as_they_come = replay(answers, np.zeros_like(margins), limit=1.0, images=400, batch=16)
    assert sooner.run < as_they_come.run
    assert sooner.stopped >= as_they_come.stopped


def test_a_record_is_read(tmp_path: Path) -> None:
    answers, _ = record(3, 40)
    lines = [{"archive": 1}, {"dense": packed(answers.dense), "images": 40, "of": 40}]
    lines += [{"correct": packed(plan), "images": 40, "of": 40} for plan in answers.plans]
    file = tmp_path / "net.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)) + "\n")
    found = read_record(file)
    assert np.array_equal(found.dense, answers.dense)
    assert np.array_equal(found.plans, answers.plans)


def test_a_file_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none.jsonl"), "--net", "resnet20"]) == 2
    assert "no such record" in capsys.readouterr().err
    odd = tmp_path / "odd.jsonl"
    odd.write_text('{"archive": 1}\n')
    assert main([str(odd), "--net", "resnet20"]) == 2
    assert "not a record" in capsys.readouterr().err
