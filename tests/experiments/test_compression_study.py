"""The command behind docs/compression.md."""

from dataclasses import replace
from pathlib import Path

import pytest

from experiments.compression_study import VARIANTS, Line, drawn_calibration, main
from experiments.uniform_setting import SETTINGS, Setting, schemes_of
from networks.data import open_data
from plan.errors import InvalidValueError
from plan.layer import InputSegment, Layer, Network
from plan.rows import read_rows
from plan.scheme import Element, Method, Pattern
from tests.compress.test_sensitivity import NET


def layer(name: str, kernel: int, groups: int = 1) -> Layer:
    segments = (InputSegment(0, 8),)
    return Layer(name, "conv", 8, 8, kernel, kernel, 4, 4, 4, 4, 1, groups, f"in {name}", None, segments, 0)


NETWORK = Network(
    "net", (8, 4, 4), (layer("a", 3), layer("b", 3), layer("c", 1), layer("d", 3, 8), layer("e", 3)), (), ()
)


def test_ends_are_dense_and_illegal_layers_too() -> None:
    pattern = Setting("p", 4, 6, Method(Pattern(4), "second-order"), 4 / 9, depthwise_bits=8)
    first, inner, matrix, depthwise, last = schemes_of(pattern, NETWORK)
    assert (first, last) == (schemes_of(SETTINGS[0], NETWORK)[0],) * 2
    assert (first.method.granularity.kind, first.weight_bits, first.activation_bits) == ("dense", 8, 8)
    assert (inner.method.granularity.kind, inner.density, inner.weight_bits) == ("pattern", 4 / 9, 4)
    assert matrix.method.granularity.kind == "dense"
    assert depthwise.weight_bits == 8


def test_plain_ranks_by_magnitude() -> None:
    names = {setting.plain().method.algorithm for setting in SETTINGS}
    assert names == {"none", "level", "l1", "l2"}
    assert Setting("e", 8, 8, Method(Element(), "second-order"), 0.5).plain().method.algorithm == "level"


@pytest.mark.slow
def test_the_command_measures_once_and_continues(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NET)
    study = tmp_path / "study.csv"
    arguments = ["--net", f"{tmp_path / 'net.py'}:build", "--weights", "none", "--csv", str(study), "--images", "60"]
    arguments += ["--quiet", "--settings", "4/8 bits", "--variants"]
    assert main([*arguments, "all"]) == 0
    (first,) = read_rows(study, Line, "a study")
    variants = ["all", "plain", "weights asymmetric", "activations symmetric"]
    assert main([*arguments, *variants]) == 0
    lines = read_rows(study, Line, "a study")
    assert lines[0] == first
    assert lines[0].divergence > 0
    assert [line.variant for line in lines] == variants
    assert set(variants) <= set(VARIANTS)
    assert main([*arguments, "al"]) == 2
    assert main([*arguments, "all", "--draws", "2"]) == 0
    drawn = read_rows(study, Line, "a study")
    assert [(line.variant, line.draw) for line in drawn[len(lines) :]] == [("all", 1)]


def test_draws_take_other_training_images() -> None:
    splits = open_data("digits").splits
    assert drawn_calibration(splits, 0) is splits.calibration
    first, again, second = (set(drawn_calibration(splits, draw).indices) for draw in (1, 1, 2))
    assert first == again != second
    assert len(first) == len(splits.calibration)
    assert first <= set(splits.train.indices)


def test_too_few_training_images_are_an_error() -> None:
    splits = open_data("digits").splits
    with pytest.raises(InvalidValueError, match="--draws 1"):
        drawn_calibration(replace(splits, train=splits.train.first(10)), 1)
