"""What commands write where: one JSON object alone on stdout, and the next useful command otherwise."""

import json
from pathlib import Path

import pytest

from agent.summary import apply_command, next_command, next_commands
from agent.terminal import console_for, write_json
from tests.agent.bench import Bench

SOURCES = ("--net", "net.py:build", "--weights", "none", "--data", "data.npz", "--hw", "eyeriss")


def document(source: str) -> dict[str, dict[str, str]]:
    return {"network": {"source": source}}


def test_commands_quote_and_name_code_again() -> None:
    plan = Path("my runs/plan.json")
    assert next_command("agent.evaluate", document("resnet20"), plan) == "python -m agent.evaluate 'my runs/plan.json'"
    coded = apply_command(document("net.py:build"), Path("run/plan.json"))
    assert coded == "python -m agent.apply run/plan.json --net net.py:build --out run/compressed.safetensors"
    assert [command.split()[2] for command in next_commands(document("resnet20"), plan)] == [
        "agent.report",
        "agent.evaluate",
        "agent.apply",
    ]


def test_json_has_stdout_for_itself(capsys: pytest.CaptureFixture[str]) -> None:
    console_for(as_json=True).print("progress")
    write_json({"b": 1, "a": None})
    output = capsys.readouterr()
    assert output.out == '{"a": null, "b": 1}\n'
    assert "progress" in output.err
    console_for(as_json=False).print("progress")
    assert "progress" in capsys.readouterr().out


@pytest.mark.slow
def test_every_command_answers_in_json(bench: Bench, finished: Path) -> None:
    plan, network = str(finished / "plan.json"), ("--net", "net.py:build")
    out = bench.folder / "answered.safetensors"
    effort = ("--steps", "300", "--evaluations", "4", "--max-drop", "20", "--out", "answered")
    answers = {}
    for name, words in {
        "train": ("agent.train", *SOURCES, *effort),
        "outlook": ("agent.train", *SOURCES, "--dry-run"),
        "evaluate": ("agent.evaluate", plan, *network),
        "apply": ("agent.apply", plan, *network, "--out", str(out)),
        "in the run": ("agent.apply", "answered/plan.json", *network, "--out", "answered/small.pt2"),
        "report": ("agent.report", "answered", *network),
        "query": ("agent.query", str(finished), "--max-drop", "50", "--out", "asked.json"),
    }.items():
        result = bench.apart(*words, "--json")
        assert result.returncode == 0, result.stderr
        assert result.stdout.count("\n") == 1
        answers[name] = json.loads(result.stdout)
    stored = json.loads((bench.folder / "answered" / "plan.json").read_text())
    assert answers["train"]["totals"] == stored["totals"]
    assert answers["train"]["next"][0] == "python -m agent.report answered --net net.py:build"
    assert answers["outlook"]["layers"] == len(stored["layers"])
    assert answers["evaluate"]["equal"] is True
    assert answers["apply"]["file_bytes"] == out.stat().st_size
    assert answers["report"]["files"][0] == "answered/report.html"
    assert answers["train"]["other_energy_views"]["joules"]["dense_energy_uj"] > 0
    page, small = (bench.folder / "answered" / name for name in ("report.html", "small.pt2"))
    assert f'<td>answered/small.pt2</td><td class="number">{small.stat().st_size:,}</td>' in page.read_text()
    asked = json.loads((bench.folder / "asked.json").read_text())
    assert answers["query"]["feasible"] is True
    assert answers["query"]["totals"] == asked["totals"]
    assert answers["query"]["plan"] == "asked.json"


@pytest.mark.slow
def test_an_infeasible_question_answers_in_json(bench: Bench, finished: Path) -> None:
    result = bench.apart("agent.query", str(finished), "--max-size-kb", "0.0001", "--json")
    assert result.returncode == 1
    told = json.loads(result.stdout)
    assert (told["feasible"], told["plan"]) == (False, None)
    assert "--max-size-kb 0.0001 is out of reach" in told["reasons"][0]


@pytest.mark.slow
def test_a_refused_request_leaves_stdout_empty(bench: Bench) -> None:
    result = bench.apart("agent.train", *SOURCES, "--max-drop", "much", "--json")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1


@pytest.mark.slow
def test_each_command_names_the_next(bench: Bench, finished: Path) -> None:
    result = bench.evaluate(finished / "plan.json")
    assert "next:\n  python -m agent.apply" in result.stdout
