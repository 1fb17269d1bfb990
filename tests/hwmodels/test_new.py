"""The command that starts a hardware file: it loads, prices as its preset, and is never overwritten."""

from pathlib import Path

import pytest

from hwmodels.loader import load, preset_names
from hwmodels.new import main


@pytest.mark.parametrize("name", preset_names())
def test_a_new_file_prices_as_its_preset(tmp_path: Path, name: str) -> None:
    path = tmp_path / "mine.toml"
    assert main([str(path), "--like", name]) == 0
    mine = load(str(path))
    assert mine.name == "mine"
    assert mine.fingerprint == load(name).fingerprint
    assert mine.capabilities == load(name).capabilities


def test_keys_are_commented_with_what_they_may_hold(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    main([str(path)])
    text = path.read_text()
    assert "rows_pes = 12  # whole number from 1 to 4096" in text
    assert 'policy = "chip"  # one of chip, search' in text
    assert "gate_weights = true  # true or false" in text


def test_existing_files_wrong_names_and_wrong_presets_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("kept")
    assert main([str(path)]) == 2
    assert main([str(tmp_path / "mine.txt")]) == 2
    assert main([str(tmp_path / "other.toml"), "--like", "eyeris"]) == 2
    assert main([str(tmp_path / "missing" / "mine.toml")]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 4
    assert "exists already" in errors[0]
    assert ".toml" in errors[1]
    assert "did you mean 'eyeriss'" in errors[2]
    assert "cannot write" in errors[3]
    assert path.read_text() == "kept"
