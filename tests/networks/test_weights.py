"""Weights from files, the cache and a short training; what does not fit is named."""

import dataclasses
import hashlib
import urllib.error
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from networks import train as training
from networks import weights as loading
from networks.data import Dataset, open_data
from networks.train import Recipe, train
from networks.weights import load, weights_sha256
from networks.zoo import NetworkSource, build
from plan.errors import EspalierError, FileFormatError, InvalidValueError, MismatchError, MissingFileError


def resnet20() -> NetworkSource:
    return build("resnet20", 10)


def state_of(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


@pytest.mark.parametrize("suffix", ["safetensors", "pt", "pth"])
def test_file_round_trip(tmp_path: Path, suffix: str) -> None:
    state = state_of(resnet20().module)
    state["linear.bias"] += 1
    path = tmp_path / f"w.{suffix}"
    if suffix == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    source = resnet20()
    before = weights_sha256(source.module)
    loaded = load(source, str(path))
    assert loaded.origin == "file"
    assert loaded.sha256 == weights_sha256(source.module) != before
    assert torch.equal(source.module.state_dict()["linear.bias"], state["linear.bias"])


def test_none_keeps_seeded_weights() -> None:
    assert load(resnet20(), "none").sha256 == load(resnet20(), "none").sha256


def test_hash_sees_one_flipped_bit() -> None:
    module = resnet20().module
    before = weights_sha256(module)
    with torch.no_grad():
        module.get_parameter("linear.weight")[0, 0] *= 1 + 2**-20
    assert weights_sha256(module) != before


def test_weights_of_another_network_name_the_keys(tmp_path: Path) -> None:
    state = state_of(resnet20().module)
    state["extra.weight"] = state.pop("conv1.weight")
    state["linear.weight"] = torch.zeros(7, 64)
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(MismatchError) as caught:
        load(resnet20(), str(tmp_path / "w.safetensors"))
    keys = "missing: conv1.weight; unexpected: extra.weight; mis-shaped: linear.weight (7, 64) instead of (10, 64)"
    assert keys in str(caught.value)


def test_a_refused_file_leaves_the_network_as_it_was(tmp_path: Path) -> None:
    source = resnet20()
    before = weights_sha256(source.module)
    save_file({"conv1.weight": torch.zeros(16, 3, 3, 3)}, tmp_path / "w.safetensors")
    with pytest.raises(MismatchError):
        load(source, str(tmp_path / "w.safetensors"))
    assert weights_sha256(source.module) == before


def test_values_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    state = state_of(resnet20().module)
    state["layer1.0.bn1.weight"][3] = float("nan")
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(FileFormatError, match=r"not finite: layer1\.0\.bn1\.weight"):
        load(resnet20(), str(tmp_path / "w.pt"))


class Attack:
    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return (open, ("pwned.txt", "w"))


def test_nothing_is_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"conv1.weight": Attack()}, tmp_path / "w.pt")
    with pytest.raises(FileFormatError, match="more than plain tensors"):
        load(resnet20(), "w.pt")
    assert not (tmp_path / "pwned.txt").exists()


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("nowhere.pt", None, MissingFileError),
        ("w.onnx", b"x", InvalidValueError),
        ("w.safetensors", b"garbage", FileFormatError),
        ("w.pt", b"garbage", FileFormatError),
        ("w.pt", b"", FileFormatError),
    ],
)
def test_bad_files(tmp_path: Path, name: str, content: bytes | None, error: type[EspalierError]) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(error) as caught:
        load(resnet20(), str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_a_pickled_list_is_no_state_dict(tmp_path: Path) -> None:
    torch.save([torch.zeros(3)], tmp_path / "w.pt")
    with pytest.raises(FileFormatError, match="not a state dict"):
        load(resnet20(), str(tmp_path / "w.pt"))


@pytest.fixture
def short_recipe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("ESPALIER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(loading, "recipe_for", lambda module, macs: Recipe(epochs=1, batch=448))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return open_data("digits")


@pytest.mark.slow
def test_cached_and_fresh_weights_are_the_same(short_recipe: Path, digits: Dataset) -> None:
    first, second = load(resnet20(), "auto", digits), load(resnet20(), "auto", digits)
    assert (first.origin, second.origin) == ("trained", "cache")
    assert first.sha256 == second.sha256
    (cached,) = (short_recipe / "weights").iterdir()
    cached.write_bytes(cached.read_bytes()[:1000])
    third = load(resnet20(), "auto", digits)
    assert (third.origin, third.sha256) == ("trained", first.sha256)


def test_auto_asks_for_a_file_where_it_has_none(tmp_path: Path) -> None:
    path = tmp_path / "net.py"
    path.write_text("from torch import nn\ndef make():\n    return nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))\n")
    with pytest.raises(InvalidValueError, match="give --weights FILE"):
        load(build(f"{path}:make", 10), "auto", open_data("digits"))


def small() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.2), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(4, 2),
        )  # fmt: skip
    labels = torch.randint(0, 2, (64,), generator=generator)
    images = torch.randn(64, 3, 8, 8, generator=generator) * 0.3 + labels[:, None, None, None]
    return module, images, labels


def test_training_is_deterministic_and_learns() -> None:
    hashes = set()
    for disturbance in range(2):
        torch.manual_seed(disturbance)
        module, images, labels = small()
        train(module, images, labels, recipe=Recipe(epochs=8, batch=16, learning_rate=0.05))
        hashes.add(weights_sha256(module))
        assert float((module(images).argmax(1) == labels).float().mean()) > 0.9
    assert len(hashes) == 1


class Killed(RuntimeError):
    pass


def test_killed_training_resumes_to_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "SECONDS_BETWEEN_CHECKPOINTS", -1.0)
    recipe, checkpoint = Recipe(epochs=4, batch=16), tmp_path / "c" / "net.checkpoint"
    whole, images, labels = small()
    train(whole, images, labels, recipe=recipe)

    def kill(done: int, total: int, text: str) -> None:
        if done == 2:
            raise Killed

    module, _, _ = small()
    with pytest.raises(Killed):
        train(module, images, labels, recipe=recipe, checkpoint=checkpoint, progress=kill)
    epochs: list[int] = []
    module, _, _ = small()
    train(module, images, labels, recipe=recipe, checkpoint=checkpoint, progress=lambda done, *_: epochs.append(done))
    assert epochs == [3, 4]
    assert weights_sha256(module) == weights_sha256(whole)
    assert not list(checkpoint.parent.iterdir())


def test_slow_batch_norms_settle_on_the_training_images() -> None:
    module, images, labels = small()
    norm = module.get_submodule("1")
    assert isinstance(norm, nn.BatchNorm2d)
    norm.momentum = 0.001
    train(module, images, labels, recipe=Recipe(epochs=1, batch=16))
    with torch.no_grad():
        maps = module.get_submodule("0")(images)
    torch.testing.assert_close(norm.get_buffer("running_mean"), maps.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    assert norm.momentum == 0.001


@pytest.mark.parametrize("content", [b"", b"garbage"])
def test_damaged_checkpoint_is_ignored(tmp_path: Path, content: bytes) -> None:
    checkpoint = tmp_path / "net.checkpoint"
    checkpoint.write_bytes(content)
    hashes = set()
    for path in (None, checkpoint):
        module, images, labels = small()
        train(module, images, labels, recipe=Recipe(epochs=1, batch=16), checkpoint=path)
        hashes.add(weights_sha256(module))
    assert len(hashes) == 1


def test_shift_moves_each_image_by_whole_pixels() -> None:
    images = torch.arange(2 * 3 * 6 * 6).reshape(2, 3, 6, 6).float()
    moved = training.shifted(images, 1, torch.Generator().manual_seed(0))
    inner = images[:, :, 2:4, 2:4]
    for index in range(2):
        windows = [moved[index, :, r : r + 2, c : c + 2] for r in range(1, 4) for c in range(1, 4)]
        assert sum(torch.equal(window, inner[index]) for window in windows) == 1


@pytest.mark.parametrize("name", ["resnet20", "resnet56"])
def test_shared_cifar_weights_fit(shared_dir: Path, name: str) -> None:
    source = build(name, 10)
    loaded = load(source, str(shared_dir / "weights" / f"{name}_cifar10jpeg.safetensors"))
    assert loaded.origin == "file"
    images = open_data(str(shared_dir / "data" / "cifar10-jpeg.zip")).splits.test.first(100)
    with torch.no_grad():
        guess = source.module(images.tensor(source.input_size, source.mean, source.std)).argmax(1)
    assert float((guess == images.label_tensor()).float().mean()) > 0.8


def test_shared_weights_of_another_depth_do_not_fit(shared_dir: Path) -> None:
    with pytest.raises(MismatchError, match=r"unexpected: layer1\.3"):
        load(resnet20(), str(shared_dir / "weights" / "resnet56_cifar10jpeg.safetensors"))


def offline(*_: object, **__: object) -> None:
    raise urllib.error.URLError("no route to host")


def test_hub_weights_say_when_there_is_no_connection(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data = dataclasses.replace(open_data("digits"), embedded=False, name="photos")
    digits_as_synsets = hashlib.sha256("\n".join(data.classes).encode()).hexdigest()
    monkeypatch.setattr(loading, "IMAGENET_SYNSETS_SHA256", digits_as_synsets)
    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    monkeypatch.setenv("ESPALIER_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    with pytest.raises(MissingFileError, match=r"could not be fetched .*no route to host.*give --weights") as caught:
        load(build("squeezenet1_1", 10, (3, 64, 64)), "auto", data)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("*.safetensors"))
