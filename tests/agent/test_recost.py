"""Plans taken to other hardware: what is kept, what is replaced and said so, and the commands around it."""

import csv
import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.plan_network import network_of_plan
from agent.recost import main
from agent.transfer import Prices, nearest_width, priced, transfer
from experiments import cross_hardware
from hwmodels import report
from hwmodels.loader import load, preset_names
from networks import trace, zoo
from plan.capabilities import Capabilities
from plan.document import load as load_plan
from plan.document import save, scheme_to_json, schemes_of
from plan.errors import MismatchError
from plan.layer import Network
from plan.rows import write_rows
from plan.scheme import BlockPunched, Channel, Dense, Element, Filter, Method, Scheme

OLD_PLAN = Path(__file__).resolve().parent.parent / "old_plans" / "v2.json"
PUNCHED = Scheme(Method(BlockPunched(4, 1), "l1"), 0.5, 3, 6)
PRUNED = Scheme(Method(Filter(), "l1"), 0.5, 4, 8)
WHOLE = Scheme(Method(Dense(), "none"), 1.0, 8, 8)
NETWORK = """\
from torch import nn


def build():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4),
    )
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a network in net.py and plan.json, three layers found on eyeriss."""
    at = tmp_path_factory.mktemp("recost")
    (at / "net.py").write_text(NETWORK)
    source = f"{at / 'net.py'}:build"
    built = zoo.build(source, 4, (3, 8, 8))
    network = trace.trace(built.module, built.input_size, "tiny").network
    document: dict[str, Any] = json.loads(OLD_PLAN.read_text())
    entry = document["layers"][0]
    document["layers"] = [
        {**entry, **scheme_to_json(scheme), "name": layer.name, "op": layer.op, "shape": layer.shape()}
        for layer, scheme in zip(network.layers, (PRUNED, PUNCHED, WHOLE), strict=True)
    ]
    document["network"] |= {
        "source": source,
        "fingerprint": network.fingerprint,
        "input_shape": [3, 8, 8],
        "edges": [list(edge) for edge in network.edges],
        "groups": [{**asdict(group), "producers": list(group.producers)} for group in network.groups],
    }
    save(json.loads(json.dumps(document)), at / "plan.json")
    return at


@pytest.fixture(scope="module")
def network(folder: Path) -> Network:
    return network_of_plan(load_plan(folder / "plan.json"), f"{folder / 'net.py'}:build")


def only(*kinds: Any, widths: tuple[int, ...] = (8,)) -> Capabilities:
    return Capabilities(tuple(kinds), widths, widths, ("dense", "bitmask"))


@pytest.mark.parametrize(("bits", "expected"), [(3, 4), (4, 4), (7, 8), (16, 8)])
def test_bits_become_the_next_wider_width(bits: int, expected: int) -> None:
    assert nearest_width(bits, (2, 4, 8)) == expected


def test_what_the_hardware_has_is_kept(network: Network) -> None:
    kept = transfer(network, (PRUNED, PUNCHED, WHOLE), load("eyeriss").capabilities, 8)
    assert not kept.masked
    assert kept.space.schemes(kept.choice) == (PRUNED, PUNCHED, WHOLE)


def test_what_it_lacks_is_replaced_and_said(network: Network) -> None:
    moved = transfer(network, (PRUNED, PUNCHED, WHOLE), only(Dense(), Element(), Filter(), widths=(4, 8)), 8)
    first, second, third = moved.space.schemes(moved.choice)
    assert first == PRUNED
    assert second == Scheme(WHOLE.method, 1.0, 4, 8)
    assert third == WHOLE
    lines = [str(masked) for masked in moved.masked]
    assert len(lines) == 3
    assert "weight bits 3 is not executable there, priced as 4" in lines[0]
    assert "activation bits 6 is not executable there, priced as 8" in lines[1]
    assert "pruning block-punched/4x1/l1 at density 0.5 is not executable there, priced as dense" in lines[2]


def test_channels_are_pruned_through_whoever_may(network: Network) -> None:
    channels = Scheme(Method(Channel(), "l1"), 0.5, 8, 8)
    moved = transfer(network, (WHOLE, channels, WHOLE), only(Dense(), Channel()), 8)
    assert not moved.masked
    assert moved.space.resolve(moved.choice[None]).kept_outputs[0, 0] == 4


def test_the_dense_baseline_takes_the_width_that_there_is(network: Network) -> None:
    assert transfer(network, (WHOLE,) * 3, load("eyeriss_v1").capabilities, 8).space.baseline_bits == 16


def test_prices_are_those_of_the_accelerator(network: Network, folder: Path) -> None:
    document, accelerator = load_plan(folder / "plan.json"), load("systolic")
    found = priced(network, document, accelerator, "joules")
    moved = transfer(network, schemes_of(document), accelerator.capabilities, 8)
    both = moved.space.resolve(np.stack((moved.space.baseline, moved.choice)))
    cost = accelerator.evaluate(network, both, view="joules")
    assert [found.dense["energy"], found.plan["energy"]] == cost.energy_uj.tolist()
    assert found.saving("latency") == 1 - cost.latency_ms[1] / cost.latency_ms[0]
    assert Prices({"size": 4.0}, {"size": 1.0}, ()).saving("size") == 0.75


def test_the_stated_zero_fractions_are_used(network: Network, folder: Path) -> None:
    stated = [entry["input_zero_fraction"] for entry in load_plan(folder / "plan.json")["layers"]]
    assert [layer.input_zero_fraction for layer in network.layers] == stated


def test_another_network_is_refused(folder: Path) -> None:
    (folder / "other.py").write_text(NETWORK.replace("16", "24"))
    with pytest.raises(MismatchError, match="network is not the one"):
        network_of_plan(load_plan(folder / "plan.json"), f"{folder / 'other.py'}:build")


def test_recost_prints_prices_and_masked_choices(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan, net = str(folder / "plan.json"), f"{folder / 'net.py'}:build"
    assert main([plan, "--hw", "systolic", "--net", net]) == 0
    printed = capsys.readouterr().out
    assert "priced on systolic (joules)" in printed
    assert "energy, uJ, normalised" in " ".join(printed.split())
    assert "choices of the plan not executable on systolic: 1\n" in printed
    assert main([plan, "--hw", "sistolic", "--net", net]) == 2
    assert "did you mean 'systolic'" in capsys.readouterr().err
    assert main([plan, "--hw", "systolic"]) == 2
    assert "give it with --net" in capsys.readouterr().err


def test_recost_answers_in_json(folder: Path, network: Network, capsys: pytest.CaptureFixture[str]) -> None:
    plan, net = str(folder / "plan.json"), f"{folder / 'net.py'}:build"
    assert main([plan, "--hw", "systolic", "--net", net, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    for view in ("joules", "normalised"):
        found = priced(network, load_plan(folder / "plan.json"), load("systolic"), view)
        assert told["costs"][view]["plan"] == {
            "energy_uj": found.plan["energy"],
            "latency_ms": found.plan["latency"],
            "size_kb": found.plan["size"],
        }
        assert told["savings"][view]["energy"] == found.saving("energy")
    assert [each["layer"] for each in told["not_executable"]] == ["2"]
    assert main([plan, "--hw", "systolic", "--net", net, "--quiet"]) == 0
    assert capsys.readouterr().out == ""


def test_the_report_prices_a_plan(folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    given = ["--plan", str(folder / "plan.json"), "--net", f"{folder / 'net.py'}:build"]
    assert report.main([*given, "--hw", "systolic", "--plot", str(tmp_path / "cost.png")]) == 0
    printed = capsys.readouterr().out
    assert "priced as dense" in printed
    assert re.search(
        r"saved against dense at 8 bits on systolic: energy \(normalised view\) -?[\d.]+%, "
        r"energy \(joules view\) -?[\d.]+%, latency -?[\d.]+%, size -?[\d.]+%",
        printed,
    )
    assert (tmp_path / "cost.png").read_bytes().startswith(b"\x89PNG")


def test_the_matrix_has_a_cell_per_plan_and_hardware(folder: Path, network: Network, tmp_path: Path) -> None:
    document = load_plan(folder / "plan.json")
    accelerators = [load("eyeriss"), load("systolic")]
    cells = cross_hardware.matrix([("a", document, network), ("b", document, network)], accelerators)
    assert [(cell.plan, cell.priced_on) for cell in cells] == [
        (plan, name) for plan in "ab" for name in ("eyeriss", "systolic")
    ]
    assert [cell.masked for cell in cells] == [0, 1, 0, 1]
    assert [cell.energy_view for cell in cells[:2]] == ["normalised", "joules"]
    assert cells[0].energy == cells[0].energy_normalised
    assert cells[1].energy == cells[1].energy_joules != cells[1].energy_normalised
    assert cells[0].energy == priced(network, document, accelerators[0], "normalised").saving("energy")
    write_rows(tmp_path / "m.csv", cross_hardware.Cell, cells)
    with (tmp_path / "m.csv").open() as file:
        assert [float(row["energy"]) for row in csv.DictReader(file)] == [cell.energy for cell in cells]


def test_the_matrix_command_prints_a_row_per_plan(
    folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    plan, net = str(folder / "plan.json"), f"{folder / 'net.py'}:build"
    given = [plan, plan, "--net", net, "--csv", str(tmp_path / "m.csv")]
    assert cross_hardware.main(given) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in preset_names())
    with (tmp_path / "m.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 2 * len(preset_names())
    assert cross_hardware.main([plan, "--hw", "sistolic"]) == 2
    assert "did you mean 'systolic'" in capsys.readouterr().err
