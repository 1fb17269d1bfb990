"""The study of proxies: plans spread as asked, every proxy scored, measured once."""

from pathlib import Path

import numpy as np
import pytest

from agent.proxies import PROXIES
from envs.toy import toy_problem
from experiments.fidelity import Row, band_error, drawn_plans, main
from experiments.mixed_plans import mixed_plans, spread_plans
from plan.assignment import FloatArray
from plan.rows import read_rows
from plan.space import Choices
from tests.compress.test_sensitivity import NET


def test_mixed_plans_are_legal_and_mixed() -> None:
    space = toy_problem().space
    plans = mixed_plans(space, np.random.default_rng(0), 64)
    for plan in plans:
        space.check(plan)
    assert len(np.unique(plans, axis=0)) > 8


def test_plans_are_spread_and_drawn_once() -> None:
    problem = toy_problem()
    plans = spread_plans(problem, np.random.default_rng(0), 200, np.geomspace(0.5, 8.0, 4))
    again = spread_plans(problem, np.random.default_rng(0), 200, np.geomspace(0.5, 8.0, 4))
    np.testing.assert_array_equal(plans, again)
    predicted = np.sort(problem.evaluate(plans).drop_points)
    assert predicted[-1] > 2 * predicted[0]


def test_pilots_tell_how_far_plans_must_go_to_lose_as_much_as_wanted(tmp_path: Path) -> None:
    """Where plans lose a fifth of what is predicted before anything is measured, those drawn go further."""
    problem, file = toy_problem(), tmp_path / "plans.npy"
    drawn: list[float] = []
    for name, share in (("as predicted", 1.0), ("milder", 0.2)):
        file = tmp_path / f"{name}.npy"
        plans = drawn_plans(
            problem, 12, 0, file, lambda pilots, share=share: share * problem.evaluate(pilots).drop_points
        )
        drawn.append(float(np.median(problem.evaluate(plans).drop_points)))
        np.testing.assert_array_equal(drawn_plans(problem, 12, 0, file, _refuse), plans)
    assert drawn[1] > 1.2 * drawn[0]


def _refuse(plans: Choices) -> FloatArray:
    raise AssertionError("plans that are kept need no pilots")


def test_band_error_does_not_depend_on_the_unit() -> None:
    rng = np.random.default_rng(0)
    drops = rng.uniform(0.0, 4.0, 60)
    errors = np.stack((0.008 * drops + 1e-4, 0.002 * drops), axis=1)
    assert band_error(errors, drops) == pytest.approx(band_error(1e6 * errors, drops), rel=1e-6)
    assert band_error(errors, drops) < 0.5 < band_error(rng.permutation(errors), drops)


def test_unknown_proxy_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "study"
    assert main(["--net", "resnet20", "--proxies", "first order", "--out", str(out)]) == 2
    assert "first order" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.slow
def test_the_command_scores_every_proxy_and_measures_once(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NET)
    out = tmp_path / "study"
    command = ["--net", f"{tmp_path / 'net.py'}:build", "--weights", "none", "--out", str(out), "--quiet"]
    command += ["--plans", "6", "--images", "60"]
    assert main(command) == 0
    rows = read_rows(out / "fidelity.csv", Row, "a table of proxies")
    assert [row.proxy for row in rows] == list(PROXIES)
    assert {(row.plans, row.images) for row in rows} == {(6, 60)}
    assert all(-1 <= row.low <= row.spearman <= row.high <= 1 for row in rows)
    (measured,) = out.glob("*.jsonl")
    assert measured.name == "net-build.jsonl"
    (picture,) = out.glob("*.png")
    assert picture.stat().st_size > 1000
    before = measured.read_bytes()
    assert main(command) == 0
    assert measured.read_bytes() == before
    assert read_rows(out / "fidelity.csv", Row, "a table of proxies") == rows
