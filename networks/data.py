"""Data sets and their splits into calibration, validation and test images.

Splits are drawn by a fixed rule from seed 0, whatever the seed of a run, so that figures of two runs compare.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from networks.archive import UNREADABLE, ImageTree, read_tree
from networks.cifar_pickle import read_cifar10
from networks.images import ArrayStore, FileStore, Images, ImageStore, Labels
from plan.errors import FileFormatError, MissingFileError, UnknownNameError

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
DIGITS_SPLIT = {"train": 897, "calibration": 200, "validation": 350, "test": 350}
CALIBRATION_FROM_TRAIN = 1024
CALIBRATION_FROM_POOL = 100
LARGEST_SIZE = 224
"""Named networks see images of at most this height and width."""


@dataclass(frozen=True)
class Splits:
    """Disjoint sets of images. Nothing chooses by `test`; `train` holds what no other split does (may be empty)."""

    calibration: Images
    validation: Images
    test: Images
    train: Images

    @cached_property
    def sha256(self) -> str:
        """SHA-256 over which images are in calibration, validation and test, their contents and labels."""
        parts = (self.calibration, self.validation, self.test)
        return hashlib.sha256("".join(part.sha256 for part in parts).encode()).hexdigest()


@dataclass(frozen=True)
class Dataset:
    """A data set with its splits.

    `classes` holds the class names in label order, empty without labels; `input_size` is (3, H, W), the size at which
    named networks see the images; `embedded` is true for data that come with the installation.
    """

    name: str
    classes: tuple[str, ...]
    input_size: tuple[int, int, int]
    splits: Splits
    embedded: bool = False

    @property
    def labelled(self) -> bool:
        """Whether the images have labels."""
        return self.splits.test.labels is not None

    @property
    def class_count(self) -> int | None:
        """Number of classes, None without labels."""
        return len(self.classes) if self.labelled else None


def open_data(spec: str) -> Dataset:
    """Returns the data set of that name or path; images in files are decoded only when asked for.

    Args:
        spec: `digits`, `cifar10:DIR`, a directory or `.zip` of images, or an `.npz` with `x` and perhaps `y`.

    Raises:
        UnknownNameError: neither a known name nor a path.
        MissingFileError: the path does not exist.
        FileFormatError: the file is not what it claims, has no images, or too few for three splits.
    """
    if spec == "digits":
        return _digits()
    if spec.startswith("cifar10:"):
        return _cifar10(spec)
    path = Path(spec)
    if not path.exists():
        kind = MissingFileError if "/" in spec or path.suffix else UnknownNameError
        raise kind(f"data '{spec}' do not exist; give digits, cifar10:DIR, an image folder, a .zip or an .npz file")
    if path.suffix == ".npz":
        return _npz(path)
    if path.is_dir() or path.suffix == ".zip":
        return _tree(read_tree(path))
    raise FileFormatError(spec, ["is none of: a directory, a .zip archive, an .npz file"])


def _digits() -> Dataset:
    from sklearn.datasets import load_digits  # imported here: other data need not wait for it

    small, labels = load_digits(return_X_y=True)
    pixels = np.round(small.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    bilinear = Image.Resampling.BILINEAR
    large = np.stack([np.asarray(Image.fromarray(image).resize((32, 32), bilinear)) for image in pixels])
    store = ArrayStore(np.repeat(large[..., None], 3, axis=3))
    order, parts, start = _shuffled(len(labels)), {}, 0
    for part, count in DIGITS_SPLIT.items():
        parts[part] = _subset(store, labels.astype(np.int64), order[start : start + count])
        start += count
    return Dataset("digits", tuple("0123456789"), (3, 32, 32), Splits(**parts), embedded=True)


def _cifar10(spec: str) -> Dataset:
    parts = read_cifar10(Path(spec.removeprefix("cifar10:")))
    whole: dict[str, _Part] = {name: (ArrayStore(pixels), labels) for name, (pixels, labels) in parts.items()}
    return Dataset("cifar10", CIFAR10_CLASSES, (3, 32, 32), _split(spec, whole))


def _npz(path: Path) -> Dataset:
    try:
        with np.load(path, allow_pickle=False) as content:
            arrays = {name: content[name] for name in content.files if name in ("x", "y")}
    except UNREADABLE as error:
        raise FileFormatError(str(path), [f"is not an .npz file of plain arrays: {error}"]) from error
    problems = _npz_problems(arrays)
    if problems:
        raise FileFormatError(str(path), problems)
    labels = arrays["y"].astype(np.int64) if "y" in arrays else None
    classes = () if labels is None else tuple(str(label) for label in range(int(labels.max()) + 1))
    store = ArrayStore(arrays["x"])
    return Dataset(path.stem, classes, _network_size(store), _split(str(path), {"": (store, labels)}))


def _npz_problems(arrays: dict[str, NDArray[np.generic]]) -> list[str]:
    if "x" not in arrays:
        return ["has no array 'x' (N, H, W, C) of uint8 images"]
    x, y, problems = arrays["x"], arrays.get("y"), []
    if x.dtype != np.uint8 or x.ndim != 4 or x.shape[3] not in (1, 3) or 0 in x.shape:
        problems.append(f"x is {x.dtype} {x.shape}, not uint8 (N, H, W, C) with C of 1 or 3")
    if y is not None and (y.shape != x.shape[:1] or not np.issubdtype(y.dtype, np.integer)):
        problems.append(f"y is {y.dtype} {y.shape}, not one integer per image")
    elif y is not None and len(y) and int(np.min(y)) < 0:
        problems.append("y has negative labels")
    return problems


def _tree(tree: ImageTree) -> Dataset:
    label_of = {name: label for label, name in enumerate(tree.classes)}
    parts: dict[str, _Part] = {}
    for part, images in tree.parts.items():
        store = FileStore(tree.root, tuple(name for name, _ in images))
        labels = np.array([label_of[folder] for _, folder in images], dtype=np.int64) if tree.labelled else None
        parts[part] = (store, labels)
    first = next(iter(parts.values()))[0]
    return Dataset(tree.root.stem, tree.classes, _network_size(first), _split(str(tree.root), parts))


def _network_size(store: ImageStore) -> tuple[int, int, int]:
    """Returns (3, S, S): the shorter side of the first image, at most `LARGEST_SIZE`."""
    side = min(*store.natural_size(), LARGEST_SIZE)
    return 3, side, side


_Part = tuple[ImageStore, Labels | None]


def _split(source: str, parts: dict[str, _Part]) -> Splits:
    """Applies the rule: calibrate on `train`, halve the rest; without `train`, calibrate on a part of the pool."""
    splits = _split_pool(next(iter(parts.values()))) if len(parts) == 1 else _split_parts(parts)
    empty = [name for name in ("calibration", "validation", "test") if not len(getattr(splits, name))]
    if empty:
        raise FileFormatError(source, [f"has too few images: nothing is left for {', '.join(empty)}"])
    return splits


def _split_parts(parts: dict[str, _Part]) -> Splits:
    first, count = ("train", CALIBRATION_FROM_TRAIN) if "train" in parts else ("val", CALIBRATION_FROM_POOL)
    store, labels = parts[first]
    order = _shuffled(len(store))
    calibration, rest = _subset(store, labels, order[:count]), _subset(store, labels, order[count:])
    if first == "val":
        test = parts["test"]
        return Splits(calibration, rest, _whole(test), _subset(store, labels, order[:0]))
    if "val" in parts and "test" in parts:
        return Splits(calibration, _whole(parts["val"]), _whole(parts["test"]), rest)
    validation, test_half = _halved(*parts["test" if "test" in parts else "val"], start=0)
    return Splits(calibration, validation, test_half, rest)


def _whole(part: _Part) -> Images:
    return _subset(*part, _shuffled(len(part[0])))


def _split_pool(part: _Part) -> Splits:
    store, labels = part
    calibrate = min(CALIBRATION_FROM_POOL, len(store) // 3)
    order = _shuffled(len(store))
    validation, test = _halved(store, labels, start=calibrate)
    return Splits(_subset(store, labels, order[:calibrate]), validation, test, _subset(store, labels, order[:0]))


def _halved(store: ImageStore, labels: Labels | None, *, start: int) -> list[Images]:
    order = _shuffled(len(store))[start:]
    middle = len(order) // 2
    return [_subset(store, labels, order[:middle]), _subset(store, labels, order[middle:])]


def _shuffled(count: int) -> NDArray[np.int64]:
    return np.random.default_rng(0).permutation(count)


def _subset(store: ImageStore, labels: Labels | None, indices: NDArray[np.int64]) -> Images:
    return Images(store, indices, None if labels is None else labels[indices])
