"""The dictionary of metrics names what a run logs, all of it, and nothing else."""

import csv
import re
from pathlib import Path

import pytest

from tests.agent.bench import Bench, write_inputs
from tests.docs.documents import REPOSITORY

LINE = re.compile(r"^\| `([^`]+)` \|(.*)\|$", re.MULTILINE)


def documented() -> dict[str, bool]:
    """Returns metric -> whether TensorBoard has it."""
    text = (REPOSITORY / "docs" / "metrics.md").read_text(encoding="utf-8")
    return {name: "| yes |" in f"|{rest}|" for name, rest in LINE.findall(text)}


def test_the_dictionary_is_read() -> None:
    found = documented()
    assert found["learn/ppo/loss"] is True
    assert found["drop_points"] is False
    assert found["learn/ppo/n_updates"] is False


@pytest.mark.slow
def test_what_is_logged_is_documented(tmp_path: Path) -> None:
    write_inputs(tmp_path)
    run = Bench(tmp_path).train("run", "--steps", "60000")
    with (run / "metrics.csv").open(newline="") as file:
        logged = {row["metric"] for row in csv.DictReader(file)}
    assert logged == set(documented())
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(next((run / "tb").iterdir())))
    events.Reload()
    in_tensorboard = {f"learn/{name}" for name in events.Tags()["scalars"]}
    assert in_tensorboard == {name for name, shown in documented().items() if shown}
