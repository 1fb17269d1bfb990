"""The benchmark of ONNX files: a pruned network beside the dense one, in files, in time and in the model of a CPU."""

from pathlib import Path

import pandas as pd
import pytest

for package in ("onnx", "onnxruntime", "onnxscript"):
    pytest.importorskip(package, reason="needs the extra `onnx`")
from experiments.bench.onnx_speed import main  # noqa: E402


@pytest.mark.slow
def test_half_of_the_filters_make_a_smaller_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "speed.csv"
    assert main(["--net", "resnet20", "--image", "32", "--repeats", "2", "--csv", str(table)]) == 0
    assert "resnet20, 32 x 32, density 0.5, one thread" in capsys.readouterr().out
    found = pd.read_csv(table).set_index("model")
    for bits in ("float32", "8 bits"):
        dense, pruned = found.loc[f"dense, {bits}"], found.loc[f"pruned, {bits}"]
        assert pruned["file_bytes"] < dense["file_bytes"]
        assert pruned["modelled_ms"] < dense["modelled_ms"]
    assert (found["measured_ms"] > 0).all()


def test_an_unknown_network_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--net", "resnet5"]) == 2
    assert "no network 'resnet5'" in capsys.readouterr().err
