"""Where pixels come from: arrays in memory, or encoded files in a folder or archive that are decoded when asked for."""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from networks.archive import UNREADABLE
from plan.errors import FileFormatError

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]


class ImageStore(Protocol):
    """Images that can be decoded by index."""

    def __len__(self) -> int: ...

    def decode(self, indices: NDArray[np.int64], size: tuple[int, int]) -> Pixels:
        """Returns uint8 (N, H, W, 3) of the asked (H, W)."""

    def identities(self, indices: NDArray[np.int64]) -> list[bytes]:
        """Returns one text per image that changes with its content."""

    def natural_size(self) -> tuple[int, int]:
        """Returns the (H, W) of the first image."""


@dataclass(frozen=True)
class ArrayStore:
    """Images held as uint8 (N, H, W, C) with C of 1 or 3."""

    pixels: Pixels

    def __len__(self) -> int:
        return len(self.pixels)

    def decode(self, indices: NDArray[np.int64], size: tuple[int, int]) -> Pixels:
        chosen = self.pixels[indices]
        if chosen.shape[1:3] != size:
            chosen = np.stack([_fit(Image.fromarray(image.squeeze()), size, image.shape[2]) for image in chosen])
        return chosen if chosen.shape[3] == 3 else np.repeat(chosen, 3, axis=3)

    def identities(self, indices: NDArray[np.int64]) -> list[bytes]:
        return [b"%d:%d" % (index, zlib.crc32(np.ascontiguousarray(self.pixels[index]).data)) for index in indices]

    def natural_size(self) -> tuple[int, int]:
        return int(self.pixels.shape[1]), int(self.pixels.shape[2])


@dataclass(frozen=True)
class FileStore:
    """Encoded images, named relative to a folder or a `.zip` archive that is read in place."""

    root: Path
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def _archive(self) -> zipfile.ZipFile | None:
        return zipfile.ZipFile(self.root) if self.root.is_file() else None

    def _read(self, name: str) -> bytes:
        try:
            return (self.root / name).read_bytes() if self._archive is None else self._archive.read(name)
        except UNREADABLE as error:
            raise FileFormatError(str(self.root), [f"{name} cannot be read: {error}"]) from error

    def _image(self, name: str) -> Image.Image:
        content = io.BytesIO(self._read(name))
        try:
            return Image.open(content).convert("RGB")
        except (*UNREADABLE, SyntaxError, Image.DecompressionBombError) as error:
            raise FileFormatError(str(self.root), [f"{name} is not a readable image; repair or remove it"]) from error

    def decode(self, indices: NDArray[np.int64], size: tuple[int, int]) -> Pixels:
        pixels = np.empty((len(indices), *size, 3), dtype=np.uint8)
        for position, index in enumerate(indices):
            pixels[position] = _fit(self._image(self.names[index]), size, 3)
        return pixels

    def identities(self, indices: NDArray[np.int64]) -> list[bytes]:
        names = [self.names[index] for index in indices]
        if self._archive is None:
            checks = [zlib.crc32(self._read(name)) for name in names]
        else:
            checks = [self._archive.getinfo(name).CRC for name in names]
        return [f"{name}:{check}".encode() for name, check in zip(names, checks, strict=True)]

    def natural_size(self) -> tuple[int, int]:
        image = self._image(self.names[0])
        return image.height, image.width


def _fit(image: Image.Image, size: tuple[int, int], channels: int) -> Pixels:
    """Returns the image scaled to cover (H, W), centre-cropped, as uint8 (H, W, channels)."""
    if (image.height, image.width) != size:
        scale = max(size[0] / image.height, size[1] / image.width)
        width, height = max(round(image.width * scale), size[1]), max(round(image.height * scale), size[0])
        left, top = (width - size[1]) // 2, (height - size[0]) // 2
        image = image.resize((width, height), Image.Resampling.BILINEAR)
        image = image.crop((left, top, left + size[1], top + size[0]))
    return np.asarray(image, dtype=np.uint8).reshape(*size, channels)


@dataclass(frozen=True)
class Images:
    """A split: some images of a store, with their labels (int64 (N,), None without labels)."""

    store: ImageStore
    indices: NDArray[np.int64]
    labels: Labels | None

    def __len__(self) -> int:
        return len(self.indices)

    def first(self, count: int) -> Images:
        """Returns the first `count` images; the order is random but fixed, so this is a fair sample."""
        return Images(self.store, self.indices[:count], None if self.labels is None else self.labels[:count])

    def chosen(self, places: NDArray[np.int64]) -> Images:
        """Returns the images at these places, int64 (n,)."""
        return Images(self.store, self.indices[places], None if self.labels is None else self.labels[places])

    def pixels(self, size: tuple[int, int]) -> Pixels:
        """Returns uint8 (N, H, W, 3), scaled and centre-cropped where the stored size differs.

        Raises:
            FileFormatError: an image cannot be read.
        """
        return self.store.decode(self.indices, size)

    def tensor(self, input_size: tuple[int, int, int], mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
        """Returns float32 (N, C, H, W), normalised per channel as (x / 255 - mean) / std.

        Raises:
            FileFormatError: an image cannot be read.
        """
        return normalised(self.pixels(input_size[1:])[..., : input_size[0]], mean, std)

    def label_tensor(self) -> Tensor | None:
        """Returns int64 (N,), None without labels."""
        return None if self.labels is None else torch.from_numpy(self.labels)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 over the identity of every image and its label, in order."""
        digest = hashlib.sha256(b"\n".join(self.store.identities(self.indices)))
        digest.update(b"" if self.labels is None else self.labels.astype("<i8").tobytes())
        return digest.hexdigest()


def normalised(pixels: Pixels, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Returns uint8 (N, H, W, C) as float32 (N, C, H, W), normalised as (x / 255 - mean) / std."""
    scale = torch.tensor([1 / (255 * value) for value in std])
    shift = torch.tensor([-centre / value for centre, value in zip(mean, std, strict=True)])
    images = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))).float()
    return images.mul_(scale[:, None, None]).add_(shift[:, None, None])
