"""Inputs that are wrong in ways that users meet, or that would run code: one line, status 2, nothing lost."""

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from agent.agent_file import HEADER, PARAMETERS, STATE, read_agent_file
from agent.train import main
from compress.profile import load_profile
from networks.data import open_data
from networks.weights import read_state
from plan.errors import FileFormatError
from tests.agent.bench import NETWORK, write_inputs
from tests.fuzz.broken_files import image_bytes, zipped

TRAP = "trap-was-sprung"


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return (open, (TRAP, "w"))


def trapped_npz() -> bytes:
    target = io.BytesIO()
    trap = np.array([Trap()], dtype=object)
    np.savez(target, x=trap, y=trap, header=trap)
    return target.getvalue()


def trapped_state() -> bytes:
    target = io.BytesIO()
    torch.save({"conv1.weight": Trap()}, target)
    return target.getvalue()


def trapped_agent() -> bytes:
    return zipped({HEADER: b"{}", PARAMETERS: b"\x08\x00\x00\x00\x00\x00\x00\x00{}      ", STATE: trapped_npz()})


TRAPS: dict[str, tuple[bytes, Callable[[Path], object]]] = {
    "net.pt": (trapped_state(), read_state),
    "net.pth": (pickle.dumps(Trap()), read_state),
    "data.npz": (trapped_npz(), lambda path: open_data(str(path))),
    "agent.zip": (trapped_agent(), read_agent_file),
    "profile.npz": (trapped_npz(), load_profile),
}


@pytest.mark.parametrize("name", TRAPS)
def test_no_file_runs_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    content, read = TRAPS[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FileFormatError):
        read(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_the_trap_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(Trap())).close()
    assert (tmp_path / TRAP).is_file()


def weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    """Writes w.safetensors: the weights of the tiny network after a change."""
    names: dict[str, object] = {}
    exec(NETWORK, names)
    state = names["build"]().state_dict()  # type: ignore[operator]
    change(state)
    save_file(state, folder / "w.safetensors")


def arrays(folder: Path, **given: np.ndarray) -> None:
    """Writes data.npz: 240 grey images and labels 0 to 2, or what is given."""
    images = np.full((240, 12, 12, 3), 128, dtype=np.uint8)
    np.savez(folder / "data.npz", **{"x": images, "y": np.arange(240) % 3, **given})


def images(folder: Path, content: bytes, **named: bytes) -> None:
    """Writes data.zip: 240 images of three classes, all but the first with a content, and more by name."""
    members = {f"val/c{number % 3}/{number:03}.png": content for number in range(240)}
    (folder / "data.zip").write_bytes(zipped({**members, "val/c0/000.png": image_bytes(), **named}))


Prepare = Callable[[Path], None]
FAULTS: dict[str, tuple[Prepare, tuple[str, ...], str]] = {
    "weights that are not numbers": (
        lambda at: weights(at, lambda state: state["fc.weight"].fill_(float("nan"))),
        ("--weights", "w.safetensors"),
        "fc.weight",
    ),
    "weights of another network": (
        lambda at: weights(at, lambda state: state.pop("fc.weight")),
        ("--weights", "w.safetensors"),
        "fc.weight",
    ),
    "weights that run code": (
        lambda at: (at / "w.pt").write_bytes(trapped_state()),
        ("--weights", "w.pt"),
        "more than plain tensors",
    ),
    "weights cut short": (
        lambda at: (at / "w.safetensors").write_bytes(b"\xff\xff\x00\x00\x00\x00\x00\x00{"),
        ("--weights", "w.safetensors"),
        "cannot be read as a state dict",
    ),
    "more classes than outputs": (lambda at: arrays(at, y=np.arange(240) % 7), ("--data", "data.npz"), "7 classes"),
    "negative labels": (lambda at: arrays(at, y=np.arange(240) - 3), ("--data", "data.npz"), "negative labels"),
    "labels for other images": (
        lambda at: arrays(at, y=np.arange(17)),
        ("--data", "data.npz"),
        "one integer per",
    ),
    "images that are floats": (lambda at: arrays(at, x=np.zeros((9, 4, 4, 3))), ("--data", "data.npz"), "not uint8"),
    "arrays that run code": (
        lambda at: (at / "data.npz").write_bytes(trapped_npz()),
        ("--data", "data.npz"),
        "not an .npz file of plain arrays",
    ),
    "corrupt images": (lambda at: images(at, b"\x89PNG"), ("--data", "data.zip"), "is not a readable image"),
    "a name that climbs out": (
        lambda at: images(at, image_bytes(), **{"../../x.png": b""}),
        ("--data", "data.zip"),
        "climbs out",
    ),
    "an archive of nothing": (lambda at: (at / "data.zip").write_bytes(zipped({})), ("--data", "data.zip"), "data.zip"),
    "half an archive": (
        lambda at: (at / "data.zip").write_bytes(zipped({"val/c/1.png": image_bytes()})[:60]),
        ("--data", "data.zip"),
        "data.zip",
    ),
    "a folder that cannot be made": (lambda at: None, ("--out", "/proc/espalier/run"), "/proc"),
    "a folder that is a file": (lambda at: (at / "taken").touch(), ("--out", "taken"), "taken is a file"),
    "hardware that is no text": (lambda at: (at / "hw.toml").write_bytes(b"\xff\xfe"), ("--hw", "hw.toml"), "hw.toml"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_run_refuses_in_one_line(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare, words, told = FAULTS[fault]
    write_inputs(tmp_path)
    prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ESPALIER_CACHE", str(tmp_path / "cache"))
    before = {path.name for path in tmp_path.iterdir()}
    sources = {"--net": "net.py:build", "--weights": "none", "--data": "data.npz", "--hw": "eyeriss"}
    effort = {"--steps": "300", "--evaluations": "4", "--max-drop": "20"}
    chosen = {**sources, **effort, **dict([words])}
    assert main([word for pair in chosen.items() for word in pair]) == 2
    printed = capsys.readouterr()
    assert told in printed.err
    assert printed.err.count("\n") == 1, printed.err
    assert {path.name for path in tmp_path.iterdir()} <= before | {"cache", "__pycache__", "runs"}
    assert not [path for path in tmp_path.rglob("*") if path.name in ("plan.json", TRAP) or path.suffix == ".partial"]


def test_zip_members_of_an_agent_cannot_climb(tmp_path: Path) -> None:
    file = tmp_path / "inner" / "agent.zip"
    file.parent.mkdir()
    file.write_bytes(zipped({"../climbed.json": b"{}", HEADER: b"{}"}))
    with zipfile.ZipFile(file) as archive:
        assert "../climbed.json" in archive.namelist()
    with pytest.raises(FileFormatError):
        read_agent_file(file)
    assert not (tmp_path / "climbed.json").exists()
