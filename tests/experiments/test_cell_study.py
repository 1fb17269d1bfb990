"""Estimates against really repaired layers, on random cells."""

from pathlib import Path

import numpy as np
import pytest

from envs.toy import toy_problem
from experiments.cell_study import Cell, agreement, drawn_cells, main
from plan.rows import read_rows
from tests.compress.test_sensitivity import NET


def test_drawn_cells_are_legal_and_differ() -> None:
    space = toy_problem().space
    cells = drawn_cells(space, 8, seed=1)
    assert len(set(cells)) == len(cells) == 8
    assert all(space.legal[layer, method, density] for layer, method, density, _ in cells)
    assert all(space.weight_bits_legal[layer, width] for layer, _, _, width in cells)
    assert cells == drawn_cells(space, 8, seed=1) != drawn_cells(space, 8, seed=2)
    assert len(drawn_cells(space, 1000, seed=1)) == space.legal.sum() * 2, "all there are"


def test_agreement_of_known_factors() -> None:
    repaired = np.geomspace(1e-6, 1e-2, 40)
    found = agreement(np.where(np.arange(40) < 10, 3.0, 1.1) * repaired, repaired)
    assert found.spearman > 0.95
    assert found.median_factor == pytest.approx(1.1)
    assert found.within_two == pytest.approx(0.75)


def test_too_few_cells_are_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["--net", "resnet20", "--cells", "2", "--csv", str(tmp_path / "cells.csv")]) == 2
    assert "--cells 2" in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_repairs_once_and_continues(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "net.py").write_text(NET)
    study, plot = tmp_path / "cells.csv", tmp_path / "cells.png"
    command = ["--net", f"{tmp_path / 'net.py'}:build", "--weights", "none", "--csv", str(study), "--quiet"]
    assert main([*command, "--cells", "10"]) == 0
    first = read_rows(study, Cell, "a study of cells")
    assert len({cell.key for cell in first}) == 10
    assert all(cell.repaired >= 0 for cell in first)
    assert main([*command, "--cells", "25", "--plot", str(plot)]) == 0
    assert read_rows(study, Cell, "a study of cells")[:10] == first
    assert plot.stat().st_size > 1000
    assert "25 cells" in capsys.readouterr().out
