"""Who gets which images right: plans and the network as given, on any split of the data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from agent.build import Subject
from compress.measure import Measurer
from envs.accuracy.archive import Archive
from networks.images import Images
from plan.scheme import Scheme

CHUNK_BYTES = 512 << 20
"""Images are decoded and run in chunks of at most this many bytes."""
KEPT_BYTES = 1 << 30
"""Decoded chunks are kept for the next plan up to this many bytes."""

Right = NDArray[np.bool_]


class Judge:
    """Runs plans on images; without labels, the answers of the network as given count as right.

    Args:
        subject: network and data.
        measurer: runs the compressed network.
    """

    def __init__(self, subject: Subject, measurer: Measurer) -> None:
        self.subject = subject
        self.measurer = measurer
        self._kept: dict[bytes, tuple[Tensor, NDArray[np.int64]]] = {}
        self._kept_bytes = 0

    def right(self, schemes: tuple[Scheme, ...], images: Images) -> Right:
        """Returns whether a plan answers each image right, bool (N,)."""
        found = [self.measurer.correct(schemes, tensor, labels) for tensor, labels in self._batches(images)]
        return np.concatenate(found)

    def right_as_given(self, images: Images) -> Right:
        """Returns whether the network as given answers each image right, bool (N,)."""
        found = [self.measurer.dense_correct(tensor, labels) for tensor, labels in self._batches(images)]
        return np.concatenate(found)

    def _batches(self, images: Images) -> Iterator[tuple[Tensor, NDArray[np.int64]]]:
        """Yields decoded images with what counts as right, in chunks."""
        size = 4 * int(np.prod(self.subject.source.input_size))
        count = max(CHUNK_BYTES // size, 1)
        for start in range(0, len(images), count):
            yield self._decoded(_part(images, start, start + count))

    def _decoded(self, images: Images) -> tuple[Tensor, NDArray[np.int64]]:
        key = images.indices.tobytes() + str(id(images.store)).encode()
        if key in self._kept:
            return self._kept[key]
        tensor = self.subject.tensor(images)
        labels = images.labels
        if labels is None:
            labels = self.measurer.dense_outputs(tensor).argmax(1).astype(np.int64)
        if self._kept_bytes + tensor.nbytes <= KEPT_BYTES:
            self._kept[key] = tensor, labels
            self._kept_bytes += tensor.nbytes
        return tensor, labels


def _part(images: Images, start: int, end: int) -> Images:
    labels = None if images.labels is None else images.labels[start:end]
    return Images(images.store, images.indices[start:end], labels)


class ValidationMeasure:
    """Measures plans on the first images of the validation split, as `envs.accuracy.archive.Measure` asks."""

    def __init__(self, judge: Judge, images: Images) -> None:
        self.judge = judge
        self.images = images

    @property
    def images_id(self) -> str:
        """Identifies network, weights, calibration and validation images."""
        return f"{self.judge.subject.key}-{self.judge.measurer.profile.calibration_sha256[:16]}"

    def dense(self, images: int) -> Right:
        """Returns whether the network as given is right on each of the first images, bool (images,)."""
        return self.judge.right_as_given(self.images.first(images))

    def correct(self, schemes: Sequence[Scheme], images: int) -> Right:
        """Returns whether a compressed network is right on each of the first images, bool (images,)."""
        return self.judge.right(tuple(schemes), self.images.first(images))


class StoredMeasure:
    """Measures through an archive on disk, so that a run that goes on answers again what it has measured.

    The archive of the run itself starts empty every time and sees the same sequence of plans.
    """

    def __init__(self, store: Archive) -> None:
        self.store = store

    @property
    def images_id(self) -> str:
        """Identifies what the store measures with."""
        return self.store.measure.images_id

    def dense(self, images: int) -> Right:
        """Returns whether the network as given is right on each of the first images, bool (images,)."""
        return self.store.dense(images)

    def correct(self, schemes: Sequence[Scheme], images: int) -> Right:
        """Returns whether a compressed network is right on each of the first images, bool (images,)."""
        choice = self.store.problem.space.choice(schemes)
        return self.store.evaluate(choice, images).correct
