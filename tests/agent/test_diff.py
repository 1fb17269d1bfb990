"""What two plans choose differently, with prices that can be computed by hand on the toy."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.diff import main
from agent.plan_changes import Changes, changes
from envs.problem import Problem
from hwmodels.loader import load as load_hardware
from networks import trace, zoo
from plan.document import save, scheme_to_json
from plan.errors import MismatchError
from plan.scheme import Dense, Element, Filter, Method, Scheme
from plan.space import Choices

OLD_PLAN = Path(__file__).resolve().parent.parent / "old_plans" / "v2.json"
NETWORK = """\
from torch import nn


def build():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4),
    )
"""
DENSE = Method(Dense(), "none")
FIRST = (Scheme(DENSE, 1.0, 8, 8), Scheme(Method(Element(), "second-order"), 0.5, 4, 6), Scheme(DENSE, 1.0, 8, 8))
SECOND = (Scheme(Method(Filter(), "l1"), 0.5, 8, 8), Scheme(DENSE, 1.0, 6, 5), Scheme(DENSE, 1.0, 8, 8))


def document_of(problem: Problem, choice: Choices) -> dict[str, Any]:
    """Returns the fields of a plan that a comparison reads."""
    return {
        "network": {"name": "toy", "fingerprint": problem.network.fingerprint},
        "hardware": {"name": "toy", "fingerprint": problem.accelerator.fingerprint},
        "baseline": {"weight_bits": 8},
        "layers": [scheme_to_json(scheme) for scheme in problem.space.schemes(choice)],
    }


def compared(problem: Problem, first: Choices, second: Choices) -> Changes:
    documents = document_of(problem, first), document_of(problem, second)
    return changes(problem.network, problem.accelerator, *documents)


def test_changes_by_hand(toy: Problem) -> None:
    """From dense 8 bits: 4 bits in layer 0 halve its 1 uJ, 2:4 in layer 1 halves its 0.1 uJ and 0.1 s of 1.11 s."""
    start = toy.space.start
    halved, pruned = start.copy(), start.copy()
    halved[0, 2] = 0
    both = halved.copy()
    both[1] = pruned[1] = (1, 15, 1, 0)
    found = compared(toy, start, both)
    assert [(change.layer, change.part, change.first, change.second) for change in found.changes] == [
        ("layer0", "weight bits", "8", "4"),
        ("layer1", "pruning", "dense", f"{toy.space.methods[1]} at 0.5"),
    ]
    bits, pruning = found.changes
    assert (bits.energy_uj, bits.latency_ms) == (pytest.approx(-0.5), pytest.approx(0.0))
    assert (pruning.energy_uj, pruning.latency_ms) == (pytest.approx(-0.05), pytest.approx(-50.0))
    assert found.together["energy_uj"] == pytest.approx(0.0, abs=1e-12)
    assert found.second["energy_uj"] == pytest.approx(0.56)
    assert not compared(toy, both, both).changes


def test_changes_and_their_interaction_lead_to_the_second_plan(chain: Problem) -> None:
    first, second = chain.space.sample(np.random.default_rng(3), 2)
    found = compared(chain, first, second)
    for name in ("energy_uj", "latency_ms", "size_kb"):
        summed = sum(getattr(change, name) for change in found.changes)
        assert found.first[name] + summed + found.together[name] == pytest.approx(found.second[name])


def test_other_networks_and_hardware_are_refused(toy: Problem, chain: Problem) -> None:
    one, other = document_of(toy, toy.space.start), document_of(chain, chain.space.start)
    with pytest.raises(MismatchError, match="different networks"):
        changes(toy.network, toy.accelerator, one, other)
    other["network"] = one["network"]
    other["hardware"] = {"name": "else", "fingerprint": "else"}
    with pytest.raises(MismatchError, match=r"different hardwares.*agent\.recost"):
        changes(toy.network, toy.accelerator, one, other)


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two plans of a network in net.py, found on eyeriss."""
    at = tmp_path_factory.mktemp("diff")
    (at / "net.py").write_text(NETWORK)
    source = f"{at / 'net.py'}:build"
    built = zoo.build(source, 4, (3, 8, 8))
    network = trace.trace(built.module, built.input_size, "tiny").network
    files = at / "a.json", at / "b.json"
    for file, schemes in zip(files, (FIRST, SECOND), strict=True):
        document: dict[str, Any] = json.loads(OLD_PLAN.read_text())
        entry = document["layers"][0]
        document["layers"] = [
            {**entry, **scheme_to_json(scheme), "name": layer.name, "op": layer.op, "shape": layer.shape()}
            for layer, scheme in zip(network.layers, schemes, strict=True)
        ]
        document["network"] |= {
            "source": source,
            "fingerprint": network.fingerprint,
            "input_shape": [3, 8, 8],
            "edges": [list(edge) for edge in network.edges],
            "groups": [],
        }
        document["hardware"] |= {
            "name": "eyeriss",
            "source": "eyeriss",
            "fingerprint": load_hardware("eyeriss").fingerprint,
        }
        save(document, file)
    return files


def test_the_command_prints_and_writes_every_difference(
    plans: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, table = f"{plans[0].parent / 'net.py'}:build", tmp_path / "diff.csv"
    assert main([*map(str, plans), "--net", source, "--csv", str(table)]) == 0
    told = capsys.readouterr().out
    assert "beyond their sum" in told
    assert "B: predicted drop" in told
    rows = list(csv.DictReader(table.read_text().splitlines()))
    parts = [("0", "pruning"), ("2", "pruning"), ("2", "weight bits"), ("2", "activation bits")]
    assert [(row["layer"], row["part"]) for row in rows] == parts
    assert float(rows[0]["energy_uj"]) < 0 < float(rows[2]["energy_uj"])
    assert main([*map(str, plans)]) == 2
    assert "give it with --net" in capsys.readouterr().err


def test_differences_as_one_object(plans: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    source = f"{plans[0].parent / 'net.py'}:build"
    assert main([*map(str, plans), "--net", source, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [(each["layer"], each["part"]) for each in told["changes"]][:2] == [("0", "pruning"), ("2", "pruning")]
    summed = sum(each["energy_uj"] for each in told["changes"])
    assert told["first"]["energy_uj"] + summed + told["together"]["energy_uj"] == pytest.approx(
        told["second"]["energy_uj"]
    )
    assert told["plans"] == [*map(str, plans)]
