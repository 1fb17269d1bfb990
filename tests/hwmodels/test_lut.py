"""The table of measurements: what it interpolates, what it refuses, and faults of its two files."""

import csv
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from hwmodels.assignments import dense
from hwmodels.loader import load
from plan.assignment import Assignment
from plan.errors import FileFormatError, InvalidValueError, MissingFileError
from plan.layer import InputSegment, Layer, Network
from plan.scheme import GRANULARITIES

LAYER = Layer("a", "conv", 8, 4, 3, 3, 10, 10, 10, 10, 1, 1, "x", None, (InputSegment(0, 4),), 1)
NETWORK = Network("net", (4, 10, 10), (LAYER,), (), ())
HARDWARE = """\
name = "board"
model = "lut"
description = "measured on a board"
energy_view = "joules"

[table]
source = "measured with a stopwatch"
file = "board.csv"
outside = "refuse"

[capabilities]
source = "tried"
weight_bits = [4, 8]
activation_bits = [8]
storage_formats = ["dense"]
granularities = [{ type = "dense" }, { type = "element" }, { type = "filter" }]
"""


def measured() -> Iterator[dict[str, float | str]]:
    """Yields a grid whose latency is linear in every axis: 1 ms a kept output and density, 0.1 ms a weight bit."""
    for kind, densities in (("dense", (1.0,)), ("element", (0.25, 0.75))):
        for outputs, density, bits in product((4, 8), densities, (4, 8)):
            yield {
                **{name: getattr(LAYER, name) for name in ("C", "K", "R", "S", "P", "Q", "stride", "groups")},
                "granularity": kind,
                "kept_inputs": 4,
                "kept_outputs": outputs,
                "density": density,
                "weight_bits": bits,
                "input_bits": 8,
                "latency_ms": outputs * density + 0.1 * bits,
                "energy_uj": 10.0 * outputs,
            }


def write_board(folder: Path, rows: list[dict[str, float | str]], text: str = HARDWARE) -> str:
    with (folder / "board.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (folder / "board.toml").write_text(text)
    return str(folder / "board.toml")


@pytest.fixture
def board(tmp_path: Path) -> str:
    return write_board(tmp_path, list(measured()))


def plan(*, outputs: int = 8, density: float = 1.0, bits: int = 8, kind: str = "dense") -> Assignment:
    return replace(
        dense(NETWORK, 8),
        kept_outputs=np.full((1, 1), outputs),
        weight_density=np.full((1, 1), density),
        weight_bits=np.full((1, 1), bits),
        granularity=np.full((1, 1), list(GRANULARITIES).index(kind)),
    )


def test_measured_points_are_returned(board: str) -> None:
    cost = load(board).evaluate(NETWORK, plan())
    assert cost.latency_ms.item() == pytest.approx(8.8)
    assert cost.energy_uj.item() == pytest.approx(80)


@pytest.mark.parametrize(("outputs", "density", "bits"), [(6, 0.5, 6), (4, 0.25, 4), (7, 0.75, 8), (5, 0.3, 5)])
def test_between_points_cost_is_linear(board: str, outputs: int, density: float, bits: int) -> None:
    cost = load(board).evaluate(NETWORK, plan(outputs=outputs, density=density, bits=bits, kind="element"))
    assert cost.latency_ms.item() == pytest.approx(outputs * density + 0.1 * bits)
    assert cost.energy_uj.item() == pytest.approx(10 * outputs)


def test_pruned_filters_are_a_smaller_dense_layer(board: str) -> None:
    cost = load(board).evaluate(NETWORK, plan(outputs=6, kind="filter"))
    assert cost.latency_ms.item() == pytest.approx(6.8)


def test_a_batch_equals_single_plans(board: str) -> None:
    plans = [plan(), plan(outputs=5, density=0.5, kind="element"), plan(bits=4)]
    names = list(Assignment.__dataclass_fields__)
    batch = Assignment(**{name: np.concatenate([getattr(one, name) for one in plans]) for name in names})
    model = load(board)
    singles = [model.evaluate(NETWORK, one).latency_ms.item() for one in plans]
    assert model.evaluate(NETWORK, batch).latency_ms.tolist() == singles


@pytest.mark.parametrize(
    ("outside", "message"),
    [
        (plan(outputs=3), r"layer 'a': kept_outputs 3 is outside .* \(4 to 8\)"),
        (plan(density=0.1, kind="element"), r"density 0\.1 is outside .* \(0\.25 to 0\.75\)"),
        (plan(kind="kernel"), "kernel weights was not measured"),
    ],
)
def test_extrapolation_is_refused(board: str, outside: Assignment, message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        load(board).evaluate(NETWORK, outside)


def test_extrapolation_can_be_asked_for(tmp_path: Path) -> None:
    path = write_board(tmp_path, list(measured()), HARDWARE.replace('"refuse"', '"nearest"'))
    assert load(path).evaluate(NETWORK, plan(outputs=1)).latency_ms.item() == pytest.approx(4.8)


def test_another_layer_is_refused(board: str) -> None:
    other = Network("net", (4, 10, 10), (replace(LAYER, K=16),), (), ())
    with pytest.raises(InvalidValueError, match=r"layer 'a' of shape .* was not measured on 'board'"):
        load(board).evaluate(other, dense(other, 8))


def test_measurements_enter_the_fingerprint(tmp_path: Path, board: str) -> None:
    before = load(board).fingerprint
    rows = list(measured())
    rows[0]["latency_ms"] = 99.0
    assert load(write_board(tmp_path, rows)).fingerprint != before


def test_faults_of_the_table_are_listed(tmp_path: Path) -> None:
    rows = list(measured())
    rows[1]["latency_ms"] = "fast"
    rows[2]["granularity"] = "filter"
    with pytest.raises(FileFormatError) as error:
        load(write_board(tmp_path, rows))
    assert "line 3: latency_ms must be a number above 0, found 'fast'" in str(error.value)
    assert "line 4: granularity 'filter' is unknown" in str(error.value)


def test_holes_and_repeats_of_the_grid_are_listed(tmp_path: Path) -> None:
    rows = list(measured())
    with pytest.raises(FileFormatError, match="kept_outputs 8, density 1, weight_bits 8, input_bits 8 is missing"):
        load(write_board(tmp_path, rows[:3] + rows[4:]))
    with pytest.raises(FileFormatError, match="is measured twice"):
        load(write_board(tmp_path, [*rows, rows[0]]))
    with pytest.raises(FileFormatError, match="no column energy_uj"):
        load(write_board(tmp_path, [{k: v for k, v in row.items() if k != "energy_uj"} for row in rows]))


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    (tmp_path / "board.toml").write_text(HARDWARE)
    with pytest.raises(MissingFileError, match=r"board\.csv.*names a CSV beside"):
        load(str(tmp_path / "board.toml"))


def test_a_layer_may_be_asked_for_repeatedly(board: str) -> None:
    accelerator = load(board)
    plans = [plan(outputs=4), plan(bits=4), plan(density=0.5, kind="element")]
    row = Assignment(**{name: np.hstack([getattr(one, name) for one in plans]) for name in vars(plans[0])})
    cost = accelerator.evaluate(NETWORK, row, [0, 0, 0])
    alone = [accelerator.evaluate(NETWORK, one).latency_cycles[0, 0] for one in plans]
    assert cost.latency_cycles[0].tolist() == alone
