"""The record of files written from a run's plan."""

from pathlib import Path

import pytest

from agent.exports import Exported, is_of_a_run, plan_hash, read_exports, record_export
from plan.errors import FileFormatError


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "plan.json").write_text("a plan")
    return tmp_path


def exported(run: Path, file: str, size: int) -> Exported:
    return Exported(file, size, 400, 100, plan_hash(run / "plan.json"))


def test_the_last_file_of_a_path_counts(run: Path) -> None:
    assert read_exports(run) == []
    for file, size in (("a.onnx", 90), ("b.pt2", 200), ("a.onnx", 60)):
        record_export(run, exported(run, file, size))
    assert [(row.file, row.size_bytes) for row in read_exports(run)] == [("b.pt2", 200), ("a.onnx", 60)]


def test_files_of_another_plan_are_left_out(run: Path) -> None:
    record_export(run, exported(run, "a.onnx", 90))
    (run / "plan.json").write_text("a better plan")
    assert read_exports(run) == []


def test_a_broken_record_is_refused(run: Path) -> None:
    (run / "exports.csv").write_text("file,size_bytes\na,much\n")
    with pytest.raises(FileFormatError, match="is not a record of written files"):
        read_exports(run)


def test_only_the_plan_of_a_run_has_a_record(run: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert is_of_a_run(run / "plan.json")
    assert not is_of_a_run(run / "plans" / "plan.json")
    assert not is_of_a_run(tmp_path_factory.mktemp("alone") / "plan.json")
