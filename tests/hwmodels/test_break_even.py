"""Where pruning starts to pay: curves by hand, what the hardware models must agree on, and the command."""

import csv
from pathlib import Path

import numpy as np
import pytest

from hwmodels.break_even import main
from hwmodels.loader import load
from hwmodels.pruning_curves import Curve, best_formats, curves, reference_network


def curve(energy: list[float], storage: str = "dense") -> Curve:
    values = np.array(energy)
    densities = np.arange(1, len(energy) + 1) / len(energy)
    return Curve("hw", "element", storage, "3 x 3", densities, values, values, values)


@pytest.mark.parametrize(
    ("energy", "expected"),
    [
        ([0.5, 0.8, 1.0, 1.1], 0.5),
        ([0.5, 0.6, 0.7, 0.8], 1.0),
        ([1.0, 1.0, 1.0, 1.0], None),
        ([0.5, 1.2, 0.9, 1.0], 0.25),
    ],
)
def test_break_even_is_where_saving_starts(energy: list[float], expected: float | None) -> None:
    assert curve(energy).break_even("energy", 0.01) == expected


def test_the_reference_network_has_one_prunable_group() -> None:
    network = reference_network(3, 0.4)
    assert [group.prunable for group in network.groups] == [False, True, False]
    assert network.layers[0].macs == 256 * 256 * 9 * 196


def found(name: str, bits: int = 8) -> dict[tuple[str, str], Curve]:
    return {(one.granularity, one.storage): one for one in curves(load(name), bits, 0.4)}


def test_bitmask_and_csc_pay_in_size_below_known_densities() -> None:
    # bitmask n (1 + 8 d) < 8 n from d < 7/8; CSC 12 d n < 8 n from d < 2/3, in steps of 1/32 and at least 1 % saved
    eyeriss = found("eyeriss")
    assert eyeriss["element", "bitmask"].break_even("size", 0.01) == 27 / 32
    assert eyeriss["element", "csc"].break_even("size", 0.01) == 21 / 32
    assert eyeriss["element", "dense"].break_even("size", 0.01) is None


def test_who_gains_from_single_zeros() -> None:
    chip, eyeriss, sparse = found("eyeriss_v1", 16), found("eyeriss"), found("eyeriss_v2")
    assert chip["element", "dense"].break_even("energy", 1e-6) is None
    assert eyeriss["element", "bitmask"].break_even("energy", 0.01) is not None
    assert eyeriss["element", "bitmask"].break_even("latency", 1e-6) is None
    assert sparse["element", "csc"].break_even("latency", 0.01) is not None


def test_longer_blocks_pay_earlier_on_a_core() -> None:
    core = found("mobile_cpu")
    starts = [core[f"block-punched {filters} x 1", "block"].break_even("latency", 0.01) or 0 for filters in (4, 8, 16)]
    assert starts == sorted(starts)
    assert core["element", "dense"].break_even("latency", 1e-6) is None


def test_the_best_format_has_the_least_energy() -> None:
    cheap, dear = curve([0.2, 0.5], "csc"), curve([0.3, 0.4], "bitmask")
    assert best_formats([dear, cheap]) == [cheap]


def test_the_command_writes_table_and_plot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table, plot = tmp_path / "pays.csv", tmp_path / "pays.png"
    assert main(["--hw", "eyeriss_v1", "--csv", str(table), "--plot", str(plot)]) == 0
    assert "largest density that saves at least 1%" in capsys.readouterr().out
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert {row["granularity"]: row["energy"] for row in rows}["element"] == "-"
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_wrong_values_are_one_line_and_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--hw", "eyeriss", "--saving", "2"]) == 2
    assert main(["--hw", "eyeriss", "--bits", "11"]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert "--saving must be between 0 and 1" in errors[0]
    assert "11 bits are not supported by 'eyeriss'" in errors[1]
