"""The report command: rows that sum to the total, the CSV file, and one-line errors."""

import csv
from pathlib import Path

import pytest

from hwmodels.accelerator import LATENCY_PARTS, LEVELS, OPERANDS
from hwmodels.assignments import dense
from hwmodels.bounds import bounds_of
from hwmodels.cost_plot import write_plot
from hwmodels.layer_costs import LayerCost, layer_costs, write_csv
from hwmodels.loader import load
from hwmodels.objective import with_objective
from hwmodels.report import main
from hwmodels.validation.published import measured_table
from plan.errors import InvalidValueError, UnwritableError
from plan.layer import Network


def eyeriss_rows(network: Network) -> list[LayerCost]:
    model, whole = load("eyeriss"), dense(network, 8)
    return layer_costs(network, model.evaluate(network, whole), bounds_of(model, network, whole))


@pytest.mark.parametrize("hw", ["eyeriss", "eyeriss_v1", "eyeriss_v2", "systolic", "mobile_cpu"])
def test_rows_sum_to_the_total(hw: str) -> None:
    network = measured_table("alexnet").network
    accelerator = load(hw)
    cost = accelerator.evaluate(network, dense(network, accelerator.capabilities.weight_bits[-1]))
    assignment = dense(network, accelerator.capabilities.weight_bits[-1])
    *rows, total = layer_costs(network, cost, bounds_of(accelerator, network, assignment))
    assert [row.name for row in rows] == [layer.name for layer in network.layers]
    assert total.energy_uj == pytest.approx(float(cost.energy_uj[0]))
    assert total.latency_ms == pytest.approx(float(cost.latency_ms[0]))
    assert total.size_kb == pytest.approx(float(cost.size_kb[0]))
    for level in LEVELS:
        assert total.level_uj[level] == pytest.approx(sum(row.level_uj[level] for row in rows))
    for row in rows:
        assert row.energy_uj == pytest.approx(sum(row.level_uj.values()))
        assert row.energy_uj == pytest.approx(sum(row.operand_uj.values()))
        assert row.latency_ms == pytest.approx(sum(row.part_ms.values()))
        assert row.latency_ms == pytest.approx(sum(row.limit_ms.values()))
        assert row.limit_ms[row.bound_by] == max(row.limit_ms.values())
        assert row.work is not None
        assert 0 < row.work.utilisation <= 1


def test_csv_holds_every_layer_and_part(tmp_path: Path) -> None:
    network = measured_table("alexnet").network
    rows = eyeriss_rows(network)
    write_csv(tmp_path / "cost.csv", rows)
    with (tmp_path / "cost.csv").open() as file:
        records = list(csv.DictReader(file))
    assert [record["layer"] for record in records] == [*(layer.name for layer in network.layers), "total"]
    assert {f"{part}_ms" for part in LATENCY_PARTS} <= set(records[0])
    assert {f"{name}_uj" for name in (*LEVELS, *OPERANDS)} <= set(records[0])
    assert float(records[0]["energy_uj"]) == rows[0].energy_uj
    for row, record in zip(rows, records, strict=True):
        bounds = [float(value) for name, value in record.items() if name.startswith("bound_by_")]
        assert sum(bounds) == pytest.approx(row.latency_ms)
        assert row.work is not None
        assert float(record["macs_per_cycle"]) == row.work.macs_per_cycle
        assert float(record["utilisation"]) == row.work.macs_per_cycle / 168


def test_an_unwritable_csv_is_named(tmp_path: Path) -> None:
    network = measured_table("alexnet").network
    rows = eyeriss_rows(network)
    with pytest.raises(UnwritableError, match="choose another --csv"):
        write_csv(tmp_path / "missing" / "cost.csv", rows)


def test_unknown_hardware_and_bits_are_one_line_and_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--net", "resnet20", "--hw", "eyeris"]) == 2
    assert "did you mean 'eyeriss'" in capsys.readouterr().err
    assert main(["--net", "resnet20", "--hw", "eyeriss_v1", "--bits", "8"]) == 2
    error = capsys.readouterr().err
    assert "--bits 8 is not supported by 'eyeriss_v1' (supported: 16)" in error
    assert error.count("\n") == 1


def test_a_traced_network_is_reported(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("torch")
    path = tmp_path / "cost.csv"
    assert main(["--net", "resnet20", "--hw", "eyeriss", "--input-size", "32", "--csv", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "resnet20 on eyeriss, dense at 8 bits, normalised energy" in printed
    assert "uJ in the normalised view and" in printed
    assert "uJ in the joules view" in printed
    assert "bound by" in printed
    assert "compute" in printed
    assert len(path.read_text().splitlines()) == 1 + 20 + 1


def test_the_mapping_objective_can_be_chosen() -> None:
    network, chip = measured_table("alexnet").network, load("eyeriss_v1")
    by_energy, by_latency = with_objective(chip, "energy"), with_objective(chip, "latency")
    whole = dense(network, 16)
    energy, latency = (model.evaluate(network, whole, view="normalised") for model in (by_energy, by_latency))
    assert energy.energy_uj < latency.energy_uj
    assert energy.latency_ms > latency.latency_ms
    assert with_objective(chip, None) is chip
    with pytest.raises(InvalidValueError, match="'systolic' has no mappings to choose from"):
        with_objective(load("systolic"), "energy")


def test_plots_are_drawn_and_bad_paths_named(tmp_path: Path) -> None:
    network = measured_table("alexnet").network
    rows = eyeriss_rows(network)[:-1]
    for bandwidth in (2.4, None):
        write_plot(tmp_path / f"{bandwidth}.png", "AlexNet", rows, bandwidth)
        assert (tmp_path / f"{bandwidth}.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "2.4.png").stat().st_size > (tmp_path / "None.png").stat().st_size, "the roofline is drawn"
    for name in ("missing/cost.png", "cost.nothing"):
        with pytest.raises(UnwritableError, match="choose another --plot"):
            write_plot(tmp_path / name, "AlexNet", rows)


def test_a_report_needs_something_to_price(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--hw", "eyeriss"]) == 2
    assert "--net NET or --plan" in capsys.readouterr().err
