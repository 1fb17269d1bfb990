"""A report from a plan and a run's files: what is read, what is refused, and what the page says."""

import csv
import dataclasses
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from agent.exports import Exported
from agent.report_content import Content, learning_curves, measured_plans, read_table, run_plan
from agent.report_energy import EnergySplit
from agent.report_frontier import choices_in_words, frontier_json, objective_of
from agent.report_page import KIND_COLOURS, lead, page
from hwmodels.accelerator import LEVELS
from plan.document import load
from plan.errors import FileFormatError, MissingFileError
from plan.scheme import GRANULARITIES
from tests.agent.bench import Bench

REPOSITORY = Path(__file__).resolve().parent.parent.parent
COLUMNS = ("phase", "step", "metric", "value")


@pytest.fixture
def content(tmp_path: Path) -> Content:
    document = load(REPOSITORY / "tests" / "old_plans" / "v2.json")
    layers = len(document["layers"])
    levels = {level: float(index) for index, level in enumerate(LEVELS)}
    halved = {level: value / 2 for level, value in levels.items()}
    return Content(
        folder=tmp_path,
        document=document,
        energy=EnergySplit(
            {"normalised": {"dense": levels, "plan": levels}, "joules": {"dense": levels, "plan": halved}},
            {"dense": np.ones(layers), "plan": np.ones(layers)},
        ),
        frontier=(
            {"plan": "a", "drop_points": 0.5, "predicted_drop_points": 0.7, "objective": 0.4, "document": document},
        ),
        measured=({"phase": "measure", "drop_points": 0.5, "objective": 0.4, "best_objective": 0.3},),
        curves={"ppo/loss": [(1, 0.5), (2, 0.25)]},
        fidelity=None,
        timing=(("learn", 2.0),),
        exports=(),
        record={"command": "python -m agent.train", "config": {}, "versions": {}},
    )


def written(path: Path, *rows: tuple[str, ...]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])
    return path


def test_a_row_cut_short_is_left_out(tmp_path: Path) -> None:
    path = written(tmp_path / "metrics.csv", ("learn", "1", "learn/ppo/loss", "0.5"))
    path.write_text(path.read_text() + "learn,2,learn/ppo/lo")
    assert read_table(path, COLUMNS) == [{"phase": "learn", "step": "1", "metric": "learn/ppo/loss", "value": 0.5}]
    assert read_table(tmp_path / "none.csv", COLUMNS) == []


def test_broken_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="line 2 holds no number"):
        read_table(written(tmp_path / "text.csv", ("learn", "1", "learn/ppo/loss", "much")), COLUMNS)
    (tmp_path / "text.csv").write_text("phase,step\nlearn,1\n")
    with pytest.raises(FileFormatError, match="lacks the columns metric, value"):
        read_table(tmp_path / "text.csv", COLUMNS)


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="no run folder"):
        run_plan(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(MissingFileError, match="holds no plan yet"):
        run_plan(tmp_path)


def test_metrics_become_plans_and_curves() -> None:
    rows = [
        {"phase": "calibrate", "step": "1", "metric": "drop_points", "value": 0.5},
        {"phase": "calibrate", "step": "1", "metric": "objective", "value": 1.0},
        {"phase": "calibrate", "step": "2", "metric": "drop_points", "value": 0.5},
        {"phase": "learn", "step": "1", "metric": "learn/ppo/loss", "value": 2.0},
        {"phase": "learn", "step": "3", "metric": "learn/ppo/loss", "value": 1.0},
        {"phase": "learn", "step": "1", "metric": "learn/ppo/clip_range", "value": 0.2},
        {"phase": "learn", "step": "3", "metric": "learn/ppo/clip_range", "value": 0.2},
        {"phase": "learn", "step": "1", "metric": "learn/ppo/n_updates", "value": 1.0},
        {"phase": "learn", "step": "3", "metric": "learn/ppo/n_updates", "value": 2.0},
    ]
    assert measured_plans(rows) == [{"phase": "calibrate", "drop_points": 0.5, "objective": 1.0}]
    assert learning_curves(rows) == {"ppo/loss": [(1, 2.0), (3, 1.0)]}


def test_the_frontier_is_in_percent_of_dense(content: Content) -> None:
    data = frontier_json(content)
    assert data["objective"] == 100 * (1 - content.document["savings"]["energy"])
    assert data["plans"][0]["objective"] == 40.0
    assert data["measured"][0]["best"] == 30.0
    assert [entry["split"] for entry in data["chosen"]] == [
        split for split in ("validation", "test") if content.document["accuracy"][split]
    ]


def test_finalists_are_told_from_the_search(content: Content) -> None:
    final = {**content.measured[0], "phase": "finalists"}
    data = frontier_json(dataclasses.replace(content, measured=(*content.measured, final)))
    assert [plan["finalist"] for plan in data["measured"]] == [False, True]


def test_plans_seen_by_fewer_images_are_told(content: Content) -> None:
    assert "the chosen one on all" not in page(content)
    few = json.loads(json.dumps(content.document))
    few["accuracy"]["validation"]["images"] = 7
    row = {**content.frontier[0], "document": few}
    assert "were measured on 7 validation images, the chosen one on all" in page(
        dataclasses.replace(content, frontier=(row,))
    )


def test_edp_is_the_product_of_energy_and_latency() -> None:
    document = {"savings": {"energy": 0.5, "latency": 0.2, "size": 0.0}, "objective": "edp"}
    assert objective_of(document) == pytest.approx(0.4)


def test_choices_are_means_over_weights() -> None:
    shape = {"K": 2, "C": 2, "R": 1, "S": 1, "groups": 1}
    small = {"granularity": {"type": "dense"}, "achieved_density": 1.0, "weight_bits": 8, "activation_bits": 8}
    layers = [
        {**small, "shape": shape},
        {**small, "shape": {**shape, "K": 6}, "weight_bits": 4, "achieved_density": 0.5},
    ]
    told = choices_in_words(layers)
    assert told == ["dense x2", "density 0.62, weights 5.0 bits, activations 8.0 bits"]


def test_the_page_stands_alone_and_names_its_baseline(content: Content) -> None:
    text = page(content)
    assert not re.findall(r'(?:src|href)="(?!data:)', text)
    assert "http://www.w3.org/2000/svg" in text
    assert len(re.findall("https?://", text)) == 1, "the namespace of SVG is the only address"
    assert f"dense network at {content.document['baseline']['weight_bits']} bits" in lead(content.document, {})
    assert text.count("<tr title=") == len(content.document["layers"])
    data = json.loads(re.search(r'id="content">(.*?)</script>', text, re.DOTALL)[1])
    assert data["curves"] == {"ppo/loss": [[1, 0.5], [2, 0.25]]}


def test_the_other_energy_view_stands_beside(content: Content) -> None:
    views = content.energy.other_views
    assert views == {"joules": (15.0, 7.5)}
    assert "(50.0 % less in the joules view)" in lead(content.document, views)
    assert '<div class="from">joules view -50.0 %</div>' in page(content)


def test_written_files_stand_beside_dense_ones(content: Content) -> None:
    assert "None yet; this writes one" in page(content)
    written = Exported("small.onnx", 300, 1200, 400, ""), Exported("small.pt2", 900, 1200, 0, "")
    text = page(dataclasses.replace(content, exports=written))
    assert "<td>small.onnx</td>" in text
    for shown in ("1,200 (-75.0 %)", "400 (-25.0 %)", "1,200 (-25.0 %)"):
        assert text.count(f'<td class="number">{shown}</td>') == 1


def test_names_cannot_break_the_page(content: Content) -> None:
    content.document["layers"][0]["name"] = "<script>alert(1)</script>"
    content.document["network"]["name"] = "</title><b>"
    text = page(content)
    assert "<script>alert" not in text
    assert "</title><b>" not in text


def test_every_granularity_has_a_colour() -> None:
    assert set(KIND_COLOURS) == set(GRANULARITIES)
    assert len(set(KIND_COLOURS.values())) == len(GRANULARITIES)


@pytest.mark.slow
def test_the_energy_by_level_adds_up(bench: Bench, finished: Path) -> None:
    copied = bench.folder / "reported"
    shutil.copytree(finished, copied)
    before = (copied / "report.html").read_text().replace(str(finished), "run")  # as a test before this one named it
    result = bench.run("agent.report", "reported", "--net", "net.py:build")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[:-2] == [
        f"reported/{name}.{kind}"
        for name, kind in [
            ("report", "html"),
            *((n, "png") for n in ("frontier", "layers", "energy", "fidelity", "curves")),
        ]
    ]
    text = (copied / "report.html").read_text()
    times = re.compile(r"\d+ s in all.*?<")
    assert times.sub("", text.replace("reported", "run")) == times.sub("", before)
    document = load(copied / "plan.json")
    energy = dict(json.loads(re.search(r'id="content">(.*?)</script>', text, re.DOTALL)[1])["energy"])
    sides = energy[document["hardware"]["energy_view"]]
    assert sum(sides["plan"].values()) == pytest.approx(document["totals"]["energy_uj"], rel=1e-9)
    assert sum(sides["dense"].values()) == pytest.approx(document["baseline"]["energy_uj"], rel=1e-9)


@pytest.mark.slow
def test_code_in_a_file_is_not_run_unasked(bench: Bench, finished: Path) -> None:
    result = bench.run("agent.report", str(finished))
    assert result.returncode == 2
    assert "give it with --net" in result.stderr
