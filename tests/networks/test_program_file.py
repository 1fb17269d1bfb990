"""Exported programs as networks: the same layers and groups as from code, and nothing in the file is run."""

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from networks import weights
from networks.program_file import check_program, read_program
from networks.trace import TracedNetwork, trace
from networks.zoo import build, check_name
from plan.errors import EspalierError, FileFormatError, MissingFileError, UnsupportedNetworkError

MODEL = "models/model.json"
SAMPLES = "data/sample_inputs/model.pt"
WEIGHTS = "data/weights/model_weights_config.json"


class Shuffled(nn.Module):
    """A residual block with batch norms, a fixed change of shape and a slice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.point = nn.Conv2d(8, 8, 1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8 * 16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = torch.relu(self.norm(self.point(self.depthwise(x)))) + x
        x = nn.functional.max_pool2d(x, 2)[:, :, :4, :4]
        return self.head(x.reshape(x.shape[0], -1))


def shuffled() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        module = Shuffled().eval()
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean.normal_(0, 0.1)
                part.running_var.uniform_(0.5, 1.5)
    return module


def save(path: Path, module: nn.Module, images: int, **dims: object) -> Path:
    program = torch.export.export(module, (torch.zeros(images, 3, 12, 12),), **dims)
    torch.export.save(program, path)
    return path


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("programs") / "shuffled.pt2", shuffled(), 1)


def changed(saved: Path, tmp_path: Path, edit: Callable[[dict[str, bytes]], None]) -> Path:
    """Returns a copy of the archive after its members were edited."""
    with zipfile.ZipFile(saved) as archive:
        members = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    edit(members)
    path = tmp_path / "changed.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"changed/{name}", content)
    return path


def shape_of(traced: TracedNetwork) -> list[tuple[object, ...]]:
    return [
        (layer.name, layer.op, layer.K, layer.C, layer.P, layer.stride, layer.groups) for layer in traced.network.layers
    ]


def test_a_program_is_the_network_that_it_was_exported_from(saved: Path) -> None:
    source = build(str(saved), 5)
    assert (source.input_size, source.classes, source.name, source.origin) == ((3, 12, 12), 5, "shuffled", "program")
    found, expected = trace(source.module, source.input_size, "p"), trace(shuffled(), (3, 12, 12), "p")
    assert shape_of(found) == shape_of(expected)
    assert found.network.macs == expected.network.macs
    groups = [(group.channels, group.producers, group.consumers, group.prunable) for group in found.network.groups]
    assert groups == [(g.channels, g.producers, g.consumers, g.prunable) for g in expected.network.groups]
    assert set(found.module.state_dict()) == set(expected.module.state_dict())
    assert sum(isinstance(part, nn.BatchNorm2d) for part in found.module.modules()) == 2
    images = torch.randn(3, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.allclose(found.module(images), expected.module(images), atol=1e-6)


def test_a_free_number_of_images_is_kept(tmp_path: Path) -> None:
    path = save(tmp_path / "free.pt2", shuffled(), 2, dynamic_shapes=({0: torch.export.Dim("batch")},))
    assert trace(build(str(path), 5).module, (3, 12, 12), "free").network.layers[-1].C == 128


def test_a_program_keeps_its_own_weights(saved: Path) -> None:
    source = build(str(saved), 5)
    loaded = weights.load(source, "auto")
    assert loaded.origin == "program"
    assert torch.equal(source.module.state_dict()["point.weight"], shuffled().state_dict()["point.weight"])
    assert weights.load(build(str(saved), 5), "none").sha256 == loaded.sha256


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_sample_inputs_are_never_unpickled(saved: Path, tmp_path: Path) -> None:
    trap = tmp_path / "sprung"
    path = changed(saved, tmp_path, lambda members: members.update({SAMPLES: pickle.dumps(Trap(trap))}))
    assert read_program(path).input_size == (3, 12, 12)
    assert not trap.exists()


def edit_json(name: str, edit: Callable[[dict[str, object]], None]) -> Callable[[dict[str, bytes]], None]:
    def apply(members: dict[str, bytes]) -> None:
        content = json.loads(members[name])
        edit(content)
        members[name] = json.dumps(content).encode()

    return apply


def pickle_a_weight(config: dict[str, object]) -> None:
    config["config"]["point.weight"]["use_pickle"] = True  # type: ignore[index]


def call_something(model: dict[str, object]) -> None:
    model["graph_module"]["graph"]["nodes"][2]["target"] = "torch.hub.load"  # type: ignore[index]


def hide_code(model: dict[str, object]) -> None:
    size = {"as_expr": {"expr_str": "__import__('os').system('true')", "hint": None}}
    next(iter(model["graph_module"]["graph"]["tensor_values"].values()))["sizes"][0] = size  # type: ignore[index]


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (edit_json(WEIGHTS, pickle_a_weight), "'point.weight' is pickled"),
        (edit_json(MODEL, call_something), r"operator 'torch\.hub\.load' is none of torch's own"),
        (edit_json(MODEL, hide_code), "is more than arithmetic"),
        (lambda members: members.update({"data/weights/model.pt": b"x"}), r"member 'data/weights/model\.pt' is not"),
        (lambda members: members.update({"data/aotinductor/model/a.so": b"x"}), "is not of a kind that is safe"),
        (lambda members: members.pop(WEIGHTS), "older kinds are pickled"),
        (lambda members: members.update({MODEL: b"{"}), "is not an exported program"),
    ],
    ids=["pickled-weight", "operator", "expression", "legacy", "library", "old", "cut"],
)
def test_what_is_not_safe_is_refused(
    saved: Path, tmp_path: Path, edit: Callable[[dict[str, bytes]], None], told: str
) -> None:
    path = changed(saved, tmp_path, edit)
    for read in (check_program, read_program):
        with pytest.raises(FileFormatError, match=told):
            read(path)


def test_guards_are_dropped(saved: Path, tmp_path: Path) -> None:
    edit = edit_json(MODEL, lambda model: model.update({"guards_code": ["open('sprung', 'w')"]}))
    program = read_program(changed(saved, tmp_path, edit))
    assert "sprung" not in program.module.code
    assert program.module(torch.zeros(2, 3, 12, 12)).shape == (2, 5)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="does not exist"):
        check_name(str(tmp_path / "none.pt2"))
    text = tmp_path / "text.pt2"
    text.write_bytes(b"no archive")
    with pytest.raises(FileFormatError, match="is not an exported program"):
        check_name(str(text))
    state = tmp_path / "state.pt2"
    torch.save({"weight": torch.zeros(2)}, state)
    with pytest.raises(FileFormatError, match="is not an exported program"):
        build(str(state), None)


def test_a_program_of_other_inputs_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "flat.pt2"
    torch.export.save(torch.export.export(nn.Linear(4, 2), (torch.zeros(3, 4),)), path)
    with pytest.raises(UnsupportedNetworkError, match="must take images"):
        build(str(path), None)


def test_what_an_archive_says_stays_text(saved: Path, tmp_path: Path) -> None:
    description = json.dumps({"input": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}}).encode()
    path = changed(saved, tmp_path, lambda members: members.update({"extra/espalier.json": description}))
    source = build(str(path), 5)
    assert (source.mean, source.std) == ((0.5,) * 3, (0.25,) * 3)
    broken = changed(saved, tmp_path, lambda members: members.update({"extra/espalier.json": b"\xff"}))
    with pytest.raises(EspalierError):
        build(str(broken), 4)
    assert io.BytesIO(saved.read_bytes()).read(2) == b"PK"
