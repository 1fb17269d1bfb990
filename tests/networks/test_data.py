"""Data sets: splits are disjoint and stable, files are read in place, and what is wrong with them is said in a line."""

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from networks.data import Splits, open_data
from plan.errors import EspalierError, FileFormatError, MissingFileError, UnknownNameError

DIGITS_SHA256 = "651025c821541d805a3161a39f5e0c67d930d6c9989167dde0d40ff08545f9de"


def picture(seed: int, size: int = 8) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def write_zip(path: Path, entries: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def labelled_entries(part: str, count: int, first: int = 0) -> dict[str, bytes]:
    return {f"{part}/{'cat' if i % 2 else 'ant'}/{i}.png": picture(first + i) for i in range(count)}


def members(splits: Splits) -> dict[str, set[bytes]]:
    parts = {name: getattr(splits, name) for name in ("calibration", "validation", "test", "train")}
    return {name: set(part.store.identities(part.indices)) for name, part in parts.items()}


def assert_disjoint(splits: Splits) -> None:
    found = list(members(splits).values())
    assert sum(len(part) for part in found) == len(set().union(*found))


def sizes(splits: Splits) -> list[int]:
    """Numbers of calibration, validation, test and remaining training images."""
    return [len(part) for part in (splits.calibration, splits.validation, splits.test, splits.train)]


def test_digits_splits() -> None:
    data = open_data("digits")
    splits = data.splits
    assert sizes(splits) == [200, 350, 350, 897]
    assert_disjoint(splits)
    assert data.embedded
    assert data.class_count == 10
    assert splits.sha256 == open_data("digits").splits.sha256 == DIGITS_SHA256


def test_digits_tensor_is_normalised() -> None:
    images = open_data("digits").splits.test.first(3)
    tensor = images.tensor((3, 32, 32), (0.5,) * 3, (0.5,) * 3)
    assert tensor.shape == (3, 3, 32, 32)
    expected = images.pixels((32, 32)).transpose(0, 3, 1, 2) / 255 * 2 - 1
    np.testing.assert_allclose(tensor.numpy(), expected, atol=1e-6)


def test_archive_with_train_and_test(tmp_path: Path) -> None:
    entries = {**labelled_entries("train", 1030), **labelled_entries("test", 20, first=5000)}
    data = open_data(str(write_zip(tmp_path / "d.zip", entries)))
    splits = data.splits
    assert sizes(splits) == [1024, 10, 10, 6]
    assert_disjoint(splits)
    assert data.classes == ("ant", "cat")
    assert data.input_size == (3, 8, 8)


def test_archive_without_train(tmp_path: Path) -> None:
    splits = open_data(str(write_zip(tmp_path / "d.zip", labelled_entries("val", 320)))).splits
    assert sizes(splits) == [100, 110, 110, 0]
    assert_disjoint(splits)


def test_archive_with_val_and_test_calibrates_on_val(tmp_path: Path) -> None:
    entries = {**labelled_entries("val", 130), **labelled_entries("test", 20, first=5000)}
    splits = open_data(str(write_zip(tmp_path / "d.zip", entries))).splits
    assert sizes(splits) == [100, 30, 20, 0]
    assert_disjoint(splits)


def test_folder_reads_as_its_archive(tmp_path: Path) -> None:
    entries = labelled_entries("val", 12)
    packed = open_data(str(write_zip(tmp_path / "d.zip", entries))).splits
    for name, content in entries.items():
        file = tmp_path / "d" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    unpacked = open_data(str(tmp_path / "d")).splits
    assert unpacked.sha256 == packed.sha256
    np.testing.assert_array_equal(unpacked.test.pixels((8, 8)), packed.test.pixels((8, 8)))


def test_hash_follows_content(tmp_path: Path) -> None:
    entries = labelled_entries("val", 12)
    before = open_data(str(write_zip(tmp_path / "a.zip", entries))).splits.sha256
    entries["val/cat/1.png"] = picture(99)
    assert open_data(str(write_zip(tmp_path / "b.zip", entries))).splits.sha256 != before


def test_class_file_gives_label_order(tmp_path: Path) -> None:
    entries = {**labelled_entries("val", 12), "classes.txt": b"cat\nant\nbee\n"}
    data = open_data(str(write_zip(tmp_path / "d.zip", entries)))
    assert data.classes == ("cat", "ant", "bee")
    test = data.splits.test
    names = [test.store.identities(test.indices[[place]])[0].split(b"/")[1].decode() for place in range(len(test))]
    assert test.labels is not None
    assert [data.classes[label] for label in test.labels] == names


def test_flat_folder_has_no_labels(tmp_path: Path) -> None:
    entries = {f"{i}.png": picture(i) for i in range(9)}
    data = open_data(str(write_zip(tmp_path / "d.zip", entries)))
    assert data.splits.test.labels is None
    assert data.class_count is None


def test_images_of_other_sizes_are_scaled_and_cropped(tmp_path: Path) -> None:
    entries = {f"val/a/{i}.png": picture(i, size=8 + 2 * i) for i in range(9)}
    splits = open_data(str(write_zip(tmp_path / "d.zip", entries))).splits
    assert splits.validation.pixels((16, 12)).shape == (len(splits.validation), 16, 12, 3)


@pytest.mark.parametrize("name", ["../a.png", "/etc/a.png", "val/../../a.png", "val\\..\\..\\a.png", "C:/a.png"])
def test_names_that_climb_are_refused(tmp_path: Path, name: str) -> None:
    path = write_zip(tmp_path / "d.zip", {**labelled_entries("val", 6), name: picture(0)})
    with pytest.raises(FileFormatError, match="climbs out"):
        open_data(str(path))


def test_corrupt_image_is_named(tmp_path: Path) -> None:
    entries = dict.fromkeys(labelled_entries("val", 9), b"not a picture")
    splits = open_data_with_one_good_image(tmp_path, entries)
    with pytest.raises(FileFormatError, match=r"val/\w+/\d\.png is not a readable image") as caught:
        splits.test.pixels((8, 8))
    assert "\n" not in str(caught.value)


def open_data_with_one_good_image(tmp_path: Path, entries: dict[str, bytes]) -> Splits:
    entries[min(entries)] = picture(0)  # the first image tells the size
    return open_data(str(write_zip(tmp_path / "d.zip", entries))).splits


def test_truncated_image_is_refused(tmp_path: Path) -> None:
    entries = {name: content[:-40] for name, content in labelled_entries("val", 9).items()}
    splits = open_data_with_one_good_image(tmp_path, entries)
    with pytest.raises(FileFormatError, match="not a readable image"):
        splits.test.pixels((8, 8))


@pytest.mark.parametrize(
    ("entries", "text"),
    [
        ({"readme.txt": b"nothing"}, "holds no images"),
        (labelled_entries("val", 2), "too few images"),
        ({**labelled_entries("val", 6), "val/stray.png": picture(0)}, "some images lie in class folders"),
        ({**labelled_entries("val", 6), "classes.txt": b"ant\n"}, "lacks the class folder 'cat'"),
        ({**labelled_entries("val", 6), "classes.txt": b"ant\ncat\nant\n"}, "lists a class twice"),
        ({**labelled_entries("val", 6), "classes.txt": b"\xff\xfe"}, "not UTF-8"),
    ],
    ids=["empty", "too-few", "stray", "unlisted-class", "double-class", "binary-classes"],
)
def test_bad_archives(tmp_path: Path, entries: dict[str, bytes], text: str) -> None:
    with pytest.raises(FileFormatError, match=text):
        open_data(str(write_zip(tmp_path / "d.zip", entries)))


def test_npz(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (30, 6, 6, 1), dtype=np.uint8), rng.integers(0, 3, 30)
    np.savez(tmp_path / "d.npz", x=x, y=y)
    data = open_data(str(tmp_path / "d.npz"))
    test = data.splits.test
    assert data.input_size == (3, 6, 6)
    np.testing.assert_array_equal(test.pixels((6, 6))[..., 2], x[test.indices, ..., 0])
    np.testing.assert_array_equal(test.labels, y[test.indices])
    assert_disjoint(data.splits)


@pytest.mark.parametrize(
    ("arrays", "text"),
    [
        ({"z": np.zeros(3)}, "has no array 'x'"),
        ({"x": np.zeros((9, 4, 4, 3))}, "not uint8"),
        ({"x": np.zeros((9, 4, 4, 2), np.uint8)}, "C of 1 or 3"),
        ({"x": np.zeros((9, 4, 4, 3), np.uint8), "y": np.zeros(8, int)}, "not one integer per image"),
        ({"x": np.zeros((9, 4, 4, 3), np.uint8), "y": np.full(9, -1)}, "negative labels"),
        ({"x": np.array([object()] * 9)}, "not an .npz file of plain arrays"),
    ],
    ids=["no-x", "float", "channels", "count", "negative", "objects"],
)
def test_bad_npz(tmp_path: Path, arrays: dict[str, np.ndarray], text: str) -> None:
    np.savez(tmp_path / "d.npz", allow_pickle=True, **arrays)
    with pytest.raises(FileFormatError, match=text):
        open_data(str(tmp_path / "d.npz"))


def write_cifar(folder: Path, content: object) -> None:
    for name in [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]:
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))


def test_cifar10(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (300, 3072), dtype=np.uint8)
    write_cifar(tmp_path, {"data": pixels, "labels": [index % 10 for index in range(300)]})
    splits = open_data(f"cifar10:{tmp_path}").splits
    assert sizes(splits) == [1024, 150, 150, 476]
    index = int(splits.test.indices[0])
    np.testing.assert_array_equal(splits.test.pixels((32, 32))[0].transpose(2, 0, 1).ravel(), pixels[index])


class Attack:
    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return (open, ("pwned.txt", "w"))


@pytest.mark.parametrize(
    "content",
    [Attack(), {"data": [1, 2]}, b"", {"data": np.zeros((2, 7), np.uint8), "labels": [0, 1]}],
    ids=["attack", "no-labels", "bytes", "wrong-shape"],
)
def test_bad_cifar10(tmp_path: Path, content: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_cifar(tmp_path, content)
    with pytest.raises(FileFormatError, match="data_batch_1"):
        open_data(f"cifar10:{tmp_path}")
    assert not (tmp_path / "pwned.txt").exists()


@pytest.mark.parametrize(
    ("spec", "error"),
    [
        ("digit", UnknownNameError),
        ("nowhere/d.zip", MissingFileError),
        ("cifar10:nowhere", MissingFileError),
        (__file__, FileFormatError),
    ],
)
def test_wrong_names(spec: str, error: type[EspalierError]) -> None:
    with pytest.raises(error) as caught:
        open_data(spec)
    assert "\n" not in str(caught.value)


def test_shared_archives(shared_dir: Path) -> None:
    cifar = open_data(str(shared_dir / "data" / "cifar10-jpeg.zip"))
    assert sizes(cifar.splits) == [1024, 5000, 5000, 48976]
    imagenet = open_data(str(shared_dir / "data" / "imagenet-sample-750.zip"))
    assert imagenet.class_count == 1000
    assert imagenet.splits.test.first(2).pixels((224, 224)).shape == (2, 224, 224, 3)
