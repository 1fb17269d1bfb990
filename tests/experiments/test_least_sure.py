"""Drops on the least sure images against those on all, by hand and on made-up plans."""

import json
from pathlib import Path

import numpy as np
import pytest

from envs.accuracy.archive import packed
from experiments.least_sure import main, nearness
from experiments.recorded import Record

ALL = (-100.0, 100.0)


def test_a_change_among_the_sure_images_is_missed_by_hand() -> None:
    dense = np.ones(10, dtype=np.bool_)
    plans = np.tile(dense, (2, 1))
    plans[0, 0] = False  # the least sure image
    plans[1, 9] = False  # the surest one
    record, leads = Record(dense, plans), np.arange(10, dtype=np.float32)
    found = nearness(record, leads, 0.5, ALL)
    assert (found.plans, found.mean, found.largest) == (2, 5.0, 10.0)
    whole = nearness(record, leads, 1.0, ALL)
    assert (whole.mean, whole.largest, whole.chance) == (0.0, 0.0, 0.0)


def test_mild_plans_change_what_was_unsure() -> None:
    rng = np.random.default_rng(0)
    leads = np.abs(rng.normal(2.0, 2.0, 2000)).astype(np.float32)
    flips = rng.random((20, 2000)) < 0.2 * np.exp(-3.0 * leads)
    dense = rng.random(2000) < 0.9
    found = nearness(Record(dense, dense ^ flips), leads, 0.4, ALL)
    assert found.mean < 0.3 * found.chance


def test_bands_hold_their_own_plans() -> None:
    dense, plans = np.ones(100, dtype=np.bool_), np.ones((3, 100), dtype=np.bool_)
    plans[1, :2] = plans[2, :5] = False
    found = [
        nearness(Record(dense, plans), np.arange(100.0, dtype=np.float32), 0.5, (low, low + 2)) for low in (-1, 1, 7)
    ]
    assert [one.plans for one in found] == [1, 1, 0]


def test_wrong_shares_and_records_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none.jsonl"), "--net", "resnet20", "--shares", "0"]) == 2
    assert "--shares 0 (allowed: above 0 to 1)" in capsys.readouterr().err
    few = np.ones(4, dtype=np.bool_)
    lines = [
        {"archive": 2},
        {"dense": packed(few), "images": 4, "of": 4},
        {"correct": packed(few), "images": 4, "of": 4},
    ]
    file = tmp_path / "few.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)) + "\n")
    assert main([str(file), "--net", "resnet20", "--weights", "none"]) == 2
    assert "the record has 4 images" in capsys.readouterr().err
