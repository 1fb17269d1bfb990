"""CIFAR-10 in the Python version's files (torchvision's `cifar-10-batches-py`), read without running code.

The files are pickles. The reader admits the constructors of numpy arrays and nothing else, so that a file that asks for
any other name is refused before it is called.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from networks.images import Labels, Pixels
from plan.errors import FileFormatError, MissingFileError

TRAIN_FILES = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST_FILES = ("test_batch",)
ADMITTED = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ADMITTED:
            raise pickle.UnpicklingError(f"asks for {module}.{name}, which a CIFAR-10 file does not need; refused")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def read_cifar10(folder: Path) -> dict[str, tuple[Pixels, Labels]]:
    """Returns {"train": (pixels, labels), "test": ...}: uint8 (N, 32, 32, 3) and int64 (N,), values 0 to 9.

    Raises:
        MissingFileError: the folder or one of its files is missing.
        FileFormatError: a file is not a CIFAR-10 batch.
    """
    nested = folder / "cifar-10-batches-py"
    root = nested if nested.is_dir() else folder
    missing = [name for name in (*TRAIN_FILES, *TEST_FILES) if not (root / name).is_file()]
    if missing:
        raise MissingFileError(f"'{root}' lacks {', '.join(missing)}; give the folder with the CIFAR-10 Python files")
    return {"train": _read(root, TRAIN_FILES), "test": _read(root, TEST_FILES)}


def _read(root: Path, names: tuple[str, ...]) -> tuple[Pixels, Labels]:
    batches = [_batch(root / name) for name in names]
    return np.concatenate([pixels for pixels, _ in batches]), np.concatenate([labels for _, labels in batches])


def _batch(path: Path) -> tuple[Pixels, Labels]:
    try:
        with path.open("rb") as file:
            content = _ArrayUnpickler(file, encoding="latin1").load()
        pixels = np.asarray(content["data"])
        labels = np.asarray(content["labels"], dtype=np.int64)
    except Exception as error:  # unpickling a damaged file can raise anything
        raise FileFormatError(str(path), [f"is not a CIFAR-10 batch: {error}"]) from error
    if pixels.dtype != np.uint8 or pixels.shape != (len(labels), 3072) or labels.ndim != 1:
        raise FileFormatError(str(path), [f"holds {pixels.dtype} {pixels.shape}, not uint8 (N, 3072) with N labels"])
    if len(labels) and not 0 <= labels.min() <= labels.max() <= 9:
        raise FileFormatError(str(path), ["has labels outside 0 to 9"])
    return np.ascontiguousarray(pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)), labels
