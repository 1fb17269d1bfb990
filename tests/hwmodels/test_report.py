"""The report command: rows that sum to the total, the CSV file, and one-line errors."""

import csv
from pathlib import Path

import pytest

from hwmodels.accelerator import LATENCY_PARTS, LEVELS, OPERANDS
from hwmodels.assignments import dense
from hwmodels.loader import load
from hwmodels.report import layer_costs, main, write_csv
from hwmodels.validation.published import measured_table
from plan.errors import UnwritableError


@pytest.mark.parametrize("hw", ["eyeriss", "eyeriss_v1"])
def test_rows_sum_to_the_total(hw: str) -> None:
    network = measured_table("alexnet").network
    accelerator = load(hw)
    cost = accelerator.evaluate(network, dense(network, accelerator.capabilities.weight_bits[-1]))
    *rows, total = layer_costs(network, cost)
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
        assert row.part_ms[row.bound_by] == max(row.part_ms.values())


def test_csv_holds_every_layer_and_part(tmp_path: Path) -> None:
    network = measured_table("alexnet").network
    rows = layer_costs(network, load("eyeriss").evaluate(network, dense(network, 8)))
    write_csv(tmp_path / "cost.csv", rows)
    with (tmp_path / "cost.csv").open() as file:
        records = list(csv.DictReader(file))
    assert [record["layer"] for record in records] == [*(layer.name for layer in network.layers), "total"]
    assert {f"{part}_ms" for part in LATENCY_PARTS} <= set(records[0])
    assert {f"{name}_uj" for name in (*LEVELS, *OPERANDS)} <= set(records[0])
    assert float(records[0]["energy_uj"]) == rows[0].energy_uj


def test_an_unwritable_csv_is_named(tmp_path: Path) -> None:
    network = measured_table("alexnet").network
    rows = layer_costs(network, load("eyeriss").evaluate(network, dense(network, 8)))
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
    assert "resnet20 on eyeriss, dense at 8 bits, normalised energy" in capsys.readouterr().out
    assert len(path.read_text().splitlines()) == 1 + 20 + 1
