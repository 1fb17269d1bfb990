"""The chip's model against the published tables; bounds are relative errors and are stated with the tables."""

import json
from pathlib import Path

import pytest

from hwmodels.eyeriss import Eyeriss
from hwmodels.loader import load
from hwmodels.validate import main
from hwmodels.validation.card import QUANTITIES, Row, figure10_rows, mean_errors, measured_rows
from hwmodels.validation.published import MEASURED_TABLES, figure10, measured_table
from hwmodels.validation.tools import TOOLS, agreement

MAPPING_GIVEN = {
    "alexnet": {"processing_ms": 0.04, "total_ms": 0.07, "glb_mb": 0.02, "dram_mb": 0.09, "chip_energy_mj": 0.07},
    "vgg16": {"processing_ms": 0.05, "total_ms": 0.06, "glb_mb": 0.05, "dram_mb": 0.05, "chip_energy_mj": 0.07},
}


@pytest.fixture(scope="module")
def chip() -> Eyeriss:
    model = load("eyeriss_v1")
    assert isinstance(model, Eyeriss)
    return model


@pytest.mark.parametrize("name", MEASURED_TABLES)
@pytest.mark.parametrize("quantity", QUANTITIES)
def test_measured_chip_with_its_mapping(chip: Eyeriss, name: str, quantity: str) -> None:
    rows = measured_rows(chip, measured_table(name), mapping_given=True)
    assert mean_errors(rows)[quantity] <= MAPPING_GIVEN[name][quantity]


@pytest.mark.parametrize("name", MEASURED_TABLES)
def test_measured_latency_with_the_mapping_policy(chip: Eyeriss, name: str) -> None:
    errors = mean_errors(measured_rows(chip, measured_table(name), mapping_given=False))
    assert errors["processing_ms"] <= 0.05
    assert errors["total_ms"] <= 0.07
    assert errors["dram_mb"] <= 0.08


def test_energy_of_figure_10(chip: Eyeriss) -> None:
    rows = figure10_rows(chip, figure10(), measured_table("alexnet"))
    exact = [row for row in rows if row.quantity in ("alu", "rf")]
    assert len(exact) == 10
    assert all(abs(row.model - row.published) <= 0.005001 for row in exact), "exact to the printed digits"
    (total,) = [row for row in rows if row.layer == "total"]
    assert abs(total.error) <= 0.03


def test_error_is_relative_to_the_published_figure() -> None:
    assert Row("x", "total_ms", published=2.0, model=3.0).error == 0.5
    rows = [Row("x", "total_ms", 2.0, 3.0), Row("y", "total_ms", 2.0, 1.8)]
    assert mean_errors(rows) == pytest.approx({"total_ms": 0.3})


def test_transcribed_figures_equal_the_reference(shared_dir: Path) -> None:
    content = json.loads((shared_dir / "reference" / "eyeriss_v1_published.json").read_text())
    keys = {
        "power_mw": "power_mW",
        "total_ms": "total_latency_ms",
        "processing_ms": "processing_latency_ms",
        "active_pes": "active_pes",
        "glb_mb": "glb_access_MB",
        "dram_mb": "dram_access_MB",
    }
    for name in MEASURED_TABLES:
        table = measured_table(name)
        for layer, measured in zip(table.network.layers, table.measured, strict=True):
            entry = content[name]["layers"][layer.name]
            assert {ours: getattr(measured, ours) for ours in keys} == {ours: entry[key] for ours, key in keys.items()}
            assert layer.input_zero_fraction == entry["ifmap_zero_frac"]


@pytest.mark.parametrize("tool", TOOLS)
def test_energy_agrees_with_other_tools(chip: Eyeriss, shared_dir: Path, tool: str) -> None:
    folder = shared_dir / "reference"
    shapes = json.loads((folder / "layers.json").read_text())["layers"]
    found = agreement(chip, tool, shapes, json.loads((folder / f"{tool}.json").read_text())["layers"])
    assert found.layers == 41
    for layer in found.compared:
        assert layer.ratio == pytest.approx(1 + sum(layer.levels.values()), abs=2e-3), layer.layer
        assert min(layer.moved, layer.weight_reads, layer.input_reads) >= 1 - 1e-9
    furthest = found.furthest(8)
    assert all(found.reasons(furthest)[layer.largest_level] for layer in furthest)
    assert found.rank_correlation >= 0.95
    assert 0.85 <= found.median_ratio <= 1.15


def test_validate_prints_the_card(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    printed = capsys.readouterr().out
    assert "mean absolute error: processing_ms 3.0%" in printed
    assert "CONV5-3" in printed
    assert "The policy decides what happens while the array is processing" in " ".join(printed.split())
    assert "alexnet on stripes, inputs of 8.33 bits, mac_gain: 16 / width" in printed


def test_validate_refuses_a_missing_reference(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["--reference", str(tmp_path)]) == 2
    assert "cannot read" in capsys.readouterr().err


def test_validate_compares_with_the_other_tools(capsys: pytest.CaptureFixture[str], shared_dir: Path) -> None:
    assert main(["--reference", str(shared_dir / "reference"), "--map-objective", "edp"]) == 0
    printed = capsys.readouterr().out
    assert "mean absolute error: cycles 0.0%" in printed
    assert "energy against nn_dataflow, our mappings by edp" in printed
    assert "layers that differ most from zigzag_energy" in " ".join(printed.split())
    assert "glb: it streams inputs and sums" in " ".join(printed.split())
