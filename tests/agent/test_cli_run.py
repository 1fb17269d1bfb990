"""A tiny network from request to plan and back, through the commands as a user starts them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tests.agent.bench import Bench


def edited(finished: Path, name: str, **changes: object) -> Path:
    """Returns a copy of the plan with fields of its first layer or of its totals replaced."""
    document = json.loads((finished / "plan.json").read_text())
    for field, value in changes.items():
        place = document["totals"] if field in document["totals"] else document["layers"][0]
        place[field] = value
    path = finished.parent / name
    path.write_text(json.dumps(document))
    return path


@pytest.mark.slow
def test_a_run_leaves_everything(finished: Path) -> None:
    names = {path.name for path in finished.iterdir()}
    wanted = {"config.json", "command.txt", "versions.json", "metrics.csv", "timing.csv", "agent.zip", "checkpoint"}
    assert wanted | {"plan.json", "frontier.csv", "frontier.png", "plans", "tb"} <= names
    document = json.loads((finished / "plan.json").read_text())
    assert document["accuracy"]["validation"]["drop_points"] <= 20
    assert document["totals"]["energy_uj"] <= document["baseline"]["energy_uj"]
    assert document["savings"]["energy"] == 1 - document["totals"]["energy_uj"] / document["baseline"]["energy_uj"]
    for name in ("energy_uj", "latency_ms", "size_kb"):
        assert sum(entry[name] for entry in document["layers"]) == pytest.approx(document["totals"][name], rel=1e-12)
    assert all(entry["storage"]["index_bits"] <= entry["storage"]["bits"] for entry in document["layers"])
    assert str(finished) not in (finished / "plan.json").read_text()


@pytest.mark.slow
def test_an_untouched_plan_is_confirmed(bench: Bench, finished: Path) -> None:
    result = bench.evaluate(finished / "plan.json")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "all equal" in result.stdout


@pytest.mark.slow
@pytest.mark.parametrize("field", ["energy_uj", "size_kb", "weight_bits"])
def test_an_edited_number_is_found(bench: Bench, finished: Path, field: str) -> None:
    document = json.loads((finished / "plan.json").read_text())
    bits = document["layers"][0]["weight_bits"]
    value = {"energy_uj": document["totals"]["energy_uj"] * (1 + 1e-6), "size_kb": 1.0, "weight_bits": 10 - bits}
    result = bench.evaluate(edited(finished, "edited.json", **{field: value[field]}))
    assert result.returncode == 1, result.stdout + result.stderr
    assert field in result.stdout or "energy_uj" in result.stdout


@pytest.mark.slow
def test_a_broken_plan_is_refused(bench: Bench, finished: Path) -> None:
    result = bench.evaluate(edited(finished, "broken.json", density=1.7, weight_bits=0))
    assert result.returncode == 2
    assert "layers[0].density is 1.7" in result.stderr
    assert "layers[0].weight_bits is 0" in result.stderr


@pytest.mark.slow
def test_other_weights_are_refused(bench: Bench, finished: Path) -> None:
    shutil.copy(bench.folder / "net.py", bench.folder / "other.py")
    text = (bench.folder / "other.py").read_text().replace("def build():", "def build():\n    torch.manual_seed(7)")
    (bench.folder / "other.py").write_text(text)
    result = bench.run("agent.evaluate", str(finished / "plan.json"), "--net", "other.py:build")
    assert result.returncode == 2
    assert "set of weights is not the one that the plan was made for" in result.stderr


@pytest.mark.slow
def test_code_runs_only_when_given(bench: Bench, finished: Path) -> None:
    result = bench.run("agent.evaluate", str(finished / "plan.json"))
    assert result.returncode == 2
    assert "give it with --net" in result.stderr


@pytest.mark.slow
def test_the_network_is_written(bench: Bench, finished: Path) -> None:
    out = bench.folder / "small.safetensors"
    words = ["agent.apply", str(finished / "plan.json"), "--net", "net.py:build", "--out"]
    assert bench.run(*words, str(out)).returncode == 0
    state = load_file(out)
    assert state["fc.weight"].shape[0] == 3
    program = bench.folder / "small.pt2"
    assert bench.run(*words, str(program)).returncode == 0
    assert torch.export.load(program).module()(torch.zeros(2, 3, 12, 12)).shape == (2, 3)
    refused = bench.run(*words, str(bench.folder / "small.onyx"))
    assert refused.returncode == 2
    assert ".safetensors, .pt2, .onnx" in refused.stderr


@pytest.mark.slow
def test_a_written_file_is_compared_with_its_plan(bench: Bench, finished: Path) -> None:
    words = ["agent.apply", str(finished / "plan.json"), "--net", "net.py:build"]
    out = bench.folder / "compared.safetensors"
    written = bench.run(*words, "--out", str(out))
    assert written.returncode == 0, written.stderr
    assert f"{out}: {out.stat().st_size:,} bytes" in written.stdout
    same = bench.run(*words, "--verify", str(out))
    assert same.returncode == 0, same.stdout + same.stderr
    assert "every weight, width and shape is the plan's" in same.stdout
    with safe_open(out, "pt") as archive:
        metadata, state = archive.metadata(), {name: archive.get_tensor(name) for name in archive.keys()}  # noqa: SIM118
    state["conv2.weight"].view(-1)[3] += 0.25
    save_file(state, out, metadata)
    changed = bench.run(*words, "--verify", str(out))
    assert changed.returncode == 1
    assert "conv2.weight: 1 values are not the plan's" in changed.stdout
    missing = bench.run(*words, "--verify", "none.safetensors")
    assert missing.returncode == 2


@pytest.mark.slow
def test_an_onnx_model_is_written_and_compared(bench: Bench, finished: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs the extra `onnx`")
    pytest.importorskip("onnxscript", reason="needs the extra `onnx`")
    out = bench.folder / "small.onnx"
    words = ["agent.apply", str(finished / "plan.json"), "--net", "net.py:build", "--out", str(out)]
    result = bench.run(*words)
    assert result.returncode == 0, result.stderr
    assert "the dense network as ONNX: " in result.stdout
    assert "0 answers differ by more than that explains" in result.stdout
    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    assert session.run(None, {"images": np.zeros((2, 3, 12, 12), np.float32)})[0].shape == (2, 3)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes(bench: Bench, finished: Path) -> None:
    again = bench.train("again", "--quiet")
    for name in ("plan.json", "frontier.csv", "metrics.csv"):
        assert (again / name).read_bytes() == (finished / name).read_bytes(), name


@pytest.mark.slow
def test_a_continued_run_ends_in_the_same_plan(bench: Bench, finished: Path) -> None:
    cut = bench.folder / "cut"
    shutil.copytree(finished, cut)
    lines = (cut / "checkpoint" / "evaluations.jsonl").read_text().splitlines(keepends=True)
    (cut / "checkpoint" / "evaluations.jsonl").write_text("".join(lines[:4]) + lines[4][:20])
    for name in ("plan.json", "agent.zip", "frontier.csv"):
        (cut / name).unlink()
    bench.train("cut", "--resume")
    for name in ("plan.json", "frontier.csv", "metrics.csv"):
        assert (cut / name).read_bytes() == (finished / name).read_bytes(), name


@pytest.mark.slow
def test_another_request_is_not_continued(bench: Bench, finished: Path) -> None:
    result = bench.run(
        *("agent.train", "--net", "net.py:build", "--weights", "none", "--data", "data.npz", "--hw", "eyeriss"),
        *("--max-drop", "3", "--out", str(finished), "--resume"),
    )
    assert result.returncode == 2
    assert "was started with" in result.stderr


@pytest.mark.slow
def test_a_dry_run_writes_no_run(bench: Bench) -> None:
    words = ["--net", "net.py:build", "--weights", "none", "--data", "data.npz", "--hw", "eyeriss", "--out", "dry"]
    result = bench.run("agent.train", *words, "--dry-run")
    assert result.returncode == 0, result.stderr
    assert "cheapest plan" in result.stdout
    assert not (bench.folder / "dry").exists()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["amc", "haq", "rules"])
def test_searches_by_measured_accuracy_alone_give_a_plan(bench: Bench, method: str) -> None:
    sources = ["--net", "net.py:build", "--weights", "none", "--data", "data.npz", "--hw", "eyeriss"]
    words = [
        "--measured-only",
        "--evaluations",
        "8",
        "--max-drop",
        "20",
        "--method",
        method,
        "--out",
        f"{method}-alone",
    ]
    result = bench.run("agent.search", *sources, *words, "--quiet")
    assert result.returncode == 0, result.stderr
    made_by = json.loads((bench.folder / f"{method}-alone" / "plan.json").read_text())["made_by"]
    assert 4 <= made_by["measured_evaluations"] <= 8  # a plan that comes up again is measured once
    assert "--measured-only" in made_by["command"]
    refused = bench.run("agent.search", *sources, "--measured-only", "--method", "ilp", "--out", "refused")
    assert refused.returncode == 2
    assert "ilp searches on predictions" in refused.stderr
    assert not (bench.folder / "refused").exists()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["random", "greedy", "ilp"])
def test_other_searchers_give_a_plan(bench: Bench, method: str) -> None:
    sources = ["--net", "net.py:build", "--weights", "none", "--data", "data.npz", "--hw", "eyeriss"]
    effort = ["--steps", "300", "--evaluations", "6", "--max-drop", "20"]
    result = bench.run("agent.search", *sources, *effort, "--method", method, "--out", method, "--quiet")
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
    made_by = json.loads((bench.folder / method / "plan.json").read_text())["made_by"]
    assert made_by["searcher"] == method
    assert "agent.search --net net.py:build --hw eyeriss" in made_by["command"]
