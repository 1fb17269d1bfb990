"""The command that measures one layer at a time."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from compress.layer_drops import DEFAULT_SCHEMES, LayerDrop, LayerDrops, parse_scheme
from compress.measure import Measurer
from compress.sensitivity import draw, main
from plan.errors import FileFormatError, InvalidValueError
from plan.rows import read_rows, write_rows
from plan.scheme import DENSE, BlockPunched, Element, Filter, Method, NofM, Pattern, Scheme


@pytest.mark.parametrize(
    ("text", "scheme"),
    [
        ("w4a8", Scheme(DENSE, 1.0, 4, 8)),
        ("w8a8,element:0.5", Scheme(Method(Element(), "second-order"), 0.5, 8, 8)),
        ("w4a6,n:m(2,4)", Scheme(Method(NofM(2, 4), "second-order"), 0.5, 4, 6)),
        ("w8a16,pattern(4)/l2", Scheme(Method(Pattern(4), "l2"), 4 / 9, 8, 16)),
        ("w8a8,block-punched(4,1):0.7/l1", Scheme(Method(BlockPunched(4, 1), "l1"), 0.7, 8, 8)),
        ("w8a8,filter:0.75/bernoulli", Scheme(Method(Filter(), "bernoulli"), 0.75, 8, 8)),
    ],
)
def test_schemes_are_read(text: str, scheme: Scheme) -> None:
    assert parse_scheme(text) == scheme


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("4/8", "is not w<bits>a<bits>"),
        ("w1a8", "bits must lie in 2 to 16"),
        ("w8a8,hexagon:0.5", "'hexagon' is unknown"),
        ("w8a8,element", "needs a density"),
        ("w8a8,element:1.5", "needs a density"),
        ("w8a8,n:m(2)", "takes 2 numbers"),
        ("w8a8,element:0.5/l1", "orders single weights as level does"),
    ],
)
def test_senseless_schemes_are_refused(text: str, told: str) -> None:
    with pytest.raises(InvalidValueError, match=told):
        parse_scheme(text)


def test_only_the_layer_in_hand_is_compressed(measurer: Measurer, images: Tensor) -> None:
    labels = measurer.dense_outputs(images).argmax(1).astype(np.int64)
    drops = LayerDrops(measurer, images, labels)
    found = {(drop.layer, drop.scheme): drop for drop in drops.every(("w16a16", "w2a16", "w8a8,filter:0.5"), ())}
    names = [layer.name for layer in measurer.traced.network.layers]
    assert len(found) == 3 * len(names)
    for name in names:
        assert found[name, "w16a16"].divergence_nats < 1e-5 < found[name, "w2a16"].divergence_nats
    assert "not its to decide" in found["head", "w8a8,filter:0.5"].illegal
    assert math.isnan(found["head", "w8a8,filter:0.5"].drop_points)
    assert sum(measurer.repaired((parse_scheme("w16a16"),) * 5)[0].mask.ravel()) == 12 * 27


def test_what_is_done_is_not_measured_again(measurer: Measurer, images: Tensor) -> None:
    drops = LayerDrops(measurer, images, np.zeros(len(images), dtype=np.int64))
    first = list(drops.every(("w4a16",), ()))
    assert [drop.scheme for drop in drops.every(("w4a16", "w3a16"), first)] == ["w3a16"] * 5


def test_reports_survive_the_round_trip_and_are_drawn(tmp_path: Path) -> None:
    drops = [LayerDrop("a", "w4a8", "", 0.5, 0.01), LayerDrop("b", "w4a8", "its kernels are 1x1", math.nan, math.nan)]
    write_rows(tmp_path / "drops.csv", LayerDrop, drops)
    again = read_rows(tmp_path / "drops.csv", LayerDrop, "a sensitivity report")
    assert again[0] == drops[0]
    assert (again[1].layer, again[1].illegal, math.isnan(again[1].drop_points)) == ("b", "its kernels are 1x1", True)
    draw(drops, tmp_path / "drops.png")
    assert (tmp_path / "drops.png").read_bytes().startswith(b"\x89PNG")
    (tmp_path / "other.csv").write_text("x,y\n1,2\n")
    with pytest.raises(FileFormatError, match="not a sensitivity report"):
        read_rows(tmp_path / "other.csv", LayerDrop, "a sensitivity report")
    assert all(parse_scheme(text) for text in DEFAULT_SCHEMES)


NET = """
import torch
from torch import nn

class Net(nn.Module):
    input_size = (3, 16, 16)
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, stride=2)
        self.second = nn.Conv2d(8, 8, 3)
        self.head = nn.Linear(8, 10)
    def forward(self, x):
        x = torch.relu(self.second(torch.relu(self.first(x))))
        return self.head(x.mean((2, 3)))

def build():
    torch.manual_seed(0)
    return Net()
"""


@pytest.mark.slow
def test_the_command_writes_every_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ESPALIER_CACHE", str(tmp_path / "cache"))
    (tmp_path / "net.py").write_text(NET)
    report = tmp_path / "drops.csv"
    arguments = ["--net", f"{tmp_path / 'net.py'}:build", "--weights", "none", "--csv", str(report), "--images", "40"]
    arguments += ["--quiet", "--schemes", "w4a16", "w16a4", "w8a8,pattern(4)", "--plot", str(tmp_path / "drops.png")]
    assert main(arguments) == 0
    with report.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["layer"], row["scheme"]) for row in rows[:3]] == [
        ("first", "w4a16"),
        ("first", "w16a4"),
        ("first", "w8a8,pattern(4)"),
    ]
    assert len(rows) == 9
    assert "3x3" in rows[-1]["illegal"]
    assert (tmp_path / "drops.png").is_file()
    assert main([*arguments[:-4], "w99a1"]) == 2
