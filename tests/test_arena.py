"""The arena's arithmetic by hand, and a tiny arena from its command to its table."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from experiments.arena import main
from experiments.arena_page import BEGIN, END, table_of, write_page
from experiments.cells import Cell, Point, read_cell
from experiments.contestants import asked_for, contestants
from experiments.standings import best_objective, course, estimate, hypervolume, standing, union_hypervolumes
from plan.errors import FileFormatError, InvalidValueError, UnknownNameError
from tests.agent.bench import Bench, write_inputs


def point(number: int, drop: float, objective: float) -> Point:
    return Point(number, 10.0 * number, drop, objective, objective, 1.0, 1.0)


def cell(seed: int, *points: Point, contestant: str = "one") -> Cell:
    best = best_objective(points, 1.0)
    return Cell("net", contestant, "B", seed, 1.0, points, best, 0.5, 0.7, 30.0)


def test_interval_by_hand() -> None:
    """Three values 1, 2, 3: deviation 1, t(0.975, 2) = 4.303, half width 4.303 / sqrt(3) = 2.484."""
    found = estimate([1.0, 2.0, 3.0])
    assert (found.mean, found.seeds) == (2.0, 3)
    assert found.half_width == pytest.approx(2.484, abs=1e-3)
    assert math.isinf(estimate([1.0]).half_width)
    assert estimate([1.0]).text() == "1.0"


def test_hypervolume_by_hand() -> None:
    """(1, 0.5) covers 4 x 0.5 of 5 x 1; (3, 0.25) adds 2 x 0.25; dominated and outer points add nothing."""
    points = (point(1, 1.0, 0.5), point(2, 3.0, 0.25), point(3, 2.0, 0.6), point(4, 6.0, 0.1), point(5, 0.0, 1.2))
    assert hypervolume(points) == pytest.approx((2.0 + 0.5) / 5.0)
    assert hypervolume(()) == 0.0
    assert hypervolume((point(1, -0.5, 0.0),)) == 1.0


def test_the_share_of_the_union_by_hand() -> None:
    """One covers 4 x 0.5, the other 2 x 0.75, of 5 x 1; together 4 x 0.5 and 2 x 0.25 more."""
    one, other = cell(0, point(1, 1.0, 0.5), contestant="one"), cell(0, point(1, 3.0, 0.25), contestant="other")
    union = union_hypervolumes([one, other])
    assert union == pytest.approx({"net": 2.5 / 5})
    assert standing([one], (1.0,), union["net"]).union_share.mean == pytest.approx(2.0 / 2.5)
    assert standing([other], (1.0,), union["net"]).union_share.mean == pytest.approx(1.5 / 2.5)


def test_a_limit_counts_only_where_every_seed_keeps_it() -> None:
    lucky, other = cell(0, point(1, 0.4, 0.5), point(2, 0.9, 0.4)), cell(1, point(1, 0.9, 0.6))
    found = standing([lucky, other], (0.5, 1.0), 1.0)
    assert found.saved[0.5] is None
    saved = found.saved[1.0]
    assert saved is not None
    assert saved.mean == pytest.approx(0.5)
    assert found.evaluations == 1.5


def test_courses_are_means_from_where_every_seed_has_a_plan() -> None:
    first = cell(0, point(1, 2.0, 0.1), point(2, 1.0, 0.6), point(3, 1.0, 0.4))
    second = cell(1, point(1, 1.0, 0.8), point(2, 1.0, 0.9))
    places, saved = course([first, second], 1.0, by_seconds=False)
    assert places.tolist() == [1.0, 2.0, 3.0]
    assert np.isnan(saved[0])
    assert saved[1:].tolist() == pytest.approx([(0.4 + 0.2) / 2, (0.6 + 0.2) / 2])
    assert course([first], 1.0, by_seconds=True)[0].tolist() == [10.0, 20.0, 30.0]


def test_the_table_ranks_and_names_what_is_missing(tmp_path: Path) -> None:
    strong, weak = (cell(0, point(1, 0.4, value), contestant=name) for name, value in (("strong", 0.3), ("weak", 0.6)))
    standings = [standing([weak], (1.0,), 0.5), standing([strong], (1.0,), 0.5)]
    text = table_of(standings, ["net other-B seed 2"], "energy", 60)
    assert text.index("strong") < text.index("weak")
    assert "- net other-B seed 2" in text
    docs = tmp_path / "results.md"
    docs.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_page(tmp_path, text, {("net", "strong", "B"): [strong]}, 1.0, docs)
    written = docs.read_text()
    assert written.startswith("before")
    assert written.endswith("after\n")
    assert "old" not in written
    assert "strong" in written
    assert (tmp_path / "course-net.png").stat().st_size > 1000
    docs.write_text("no markers")
    with pytest.raises(FileFormatError, match="arena begins"):
        write_page(tmp_path, text, {("net", "strong", "B"): [strong]}, 1.0, docs)


def test_everybody_is_there() -> None:
    titles = set(contestants().names())
    rivals = {f"{name}-{mode}" for name in ("random", "nsga2", "tpe", "amc", "haq", "rules") for mode in "AB"}
    assert rivals <= titles
    assert {"composite-B", "ilp-B", "greedy-B", "ppo-alone-B", "ddpg-alone-B"} <= titles
    assert {"no-masking-B", "no-conditioning-B", "no-measured-phase-B", "no-warm-start-B"} <= titles


def test_groups_and_networks_of_their_own() -> None:
    everybody = contestants().names()
    assert asked_for(None, "resnet20") == asked_for("all", "resnet20") == everybody
    assert sorted(asked_for("rivals,learners,ablations", "resnet20")) == sorted(everybody)
    lean = asked_for("rivals,resnet20=learners,resnet20=ablations,ilp-B", "resnet50")
    assert lean == asked_for("rivals", "resnet50")
    assert {"composite-B", "ilp-B", "haq-A", "haq-B"} <= set(lean)
    assert not any("alone" in title or title.startswith("no-") for title in lean)
    assert asked_for("resnet50=ilp-B", "resnet50") == ["ilp-B"]
    with pytest.raises(InvalidValueError, match="nobody for resnet20"):
        asked_for("resnet50=ilp-B", "resnet20")
    with pytest.raises(UnknownNameError, match="rival-B"):
        asked_for("rival-B", "resnet20")


def test_a_broken_cell_is_named(tmp_path: Path) -> None:
    (tmp_path / "cell.json").write_text("{}")
    with pytest.raises(FileFormatError, match="delete it to fill it again"):
        read_cell(tmp_path / "cell.json")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    write_inputs(tmp_path)
    return Bench(tmp_path)


@pytest.mark.slow
def test_a_tiny_arena_fills_its_cells_once(bench: Bench) -> None:
    words = ["--nets", "net.py:build", "--weights", "none", "--data", "data.npz", "--evaluations", "8", "--seeds", "1"]
    words += ["--steps", "1536", "--max-drop", "20", "--out", "arena", "--docs", "results.md", "--contestants"]
    who = "composite-B,rules-A,ddpg-alone-B,no-masking-B,no-conditioning-B,no-measured-phase-B"
    dry = bench.run("experiments.arena", *words, who, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    assert dry.stdout.count("missing: ") == 6
    first = bench.run("experiments.arena", *words, who)
    assert first.returncode == 0, first.stderr
    assert "[6/6]" in first.stdout
    table = (bench.folder / "results.md").read_text()
    assert all(name in table for name in ("composite", "rules", "ddpg-alone", "no-masking", "no-conditioning"))
    result = bench.folder / "arena" / "cells" / "net-8" / "composite-B" / "0" / "cell.json"
    counts = [point["evaluations"] for point in json.loads(result.read_text())["points"]]
    assert counts == list(range(1, len(counts) + 1))
    assert 6 <= len(counts) <= 8  # a landing that finds no new plan ends a search early
    again = bench.run("experiments.arena", *words, who + ",greedy-B", "--dry-run")
    assert "missing: net.py:build greedy-B seed 0" in again.stdout
    assert again.stdout.count("missing: ") == 1
    unknown = bench.run("experiments.arena", *words, "nsga")
    assert unknown.returncode == 2
    assert "no contestant 'nsga'" in unknown.stderr


def test_no_workers_fill_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--nets", "resnet20", "--workers", "0"]) == 2
    assert "--workers 0 is no count (allowed: a whole number from 1)" in capsys.readouterr().err
