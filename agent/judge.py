"""Who gets which images right: plans and the network as given, on any split of the data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from agent.build import Subject
from agent.effort import POOL
from compress.measure import Measurer
from envs.accuracy.archive import Archive
from envs.accuracy.early_stop import Answers
from networks.images import Images
from plan.scheme import Scheme

CHUNK_BYTES = 512 << 20
"""Images are decoded and run in chunks of at most this many bytes."""
KEPT_BYTES = 1 << 30
"""Decoded chunks are kept for the next plan up to this many bytes."""

Right = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class _Known:
    """What the network as given makes of a chunk of images: the order in which plans meet them, and its own answers.

    Images that it gets wrong, or right by the smallest margin, come first: there a bad plan shows itself soonest. Of
    data without labels its answers are the labels.

    order int64 (N,); labels int64 (N,), right bool (N,) and leads float32 (N,), how far the first answer is before the
    second, as the images stand in the data.
    """

    order: NDArray[np.int64]
    labels: NDArray[np.int64]
    right: Right
    leads: NDArray[np.float32]

    @classmethod
    def of(cls, outputs: NDArray[np.float32], labels: NDArray[np.int64] | None) -> _Known:
        """Returns it for outputs (N, classes) of the network as given."""
        answers = outputs.argmax(1).astype(np.int64)
        labels = answers if labels is None else labels
        order = np.argsort(margins_of(outputs, labels), kind="stable")
        return cls(order, labels, answers == labels, margins_of(outputs, answers))


def margins_of(outputs: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.float32]:
    """Returns by how much outputs (N, classes) put the right class above every other, (N,); negative where wrong."""
    rows, others = np.arange(len(outputs)), outputs.copy()
    others[rows, labels] = -np.inf
    return np.asarray(outputs[rows, labels] - others.max(1))


class Judge:
    """Runs plans on images; without labels, the answers of the network as given count as right.

    Args:
        subject: network and data.
        measurer: runs the compressed network.
    """

    def __init__(self, subject: Subject, measurer: Measurer) -> None:
        self.subject = subject
        self.measurer = measurer
        self._known: dict[bytes, _Known] = {}
        self._kept: dict[bytes, Tensor] = {}
        self._kept_bytes = 0

    def right(self, schemes: tuple[Scheme, ...], images: Images) -> Right:
        """Returns whether a plan answers each image right, bool (N,)."""
        return self.right_until(schemes, images, len(images)).correct

    def right_until(self, schemes: tuple[Scheme, ...], images: Images, wrong: int) -> Answers:
        """Returns the same, but leaves out what remains once more than so many images are answered wrong.

        Whether more are wrong is what a look at all images would have said.
        """
        correct, run, found = np.ones(len(images), dtype=np.bool_), 0, 0
        for start, tensor, known in self._chunks(images):
            for outputs in self.measurer.batches(schemes, tensor):
                if found > wrong:
                    return Answers(correct, run)
                rows = known.order[run - start : run - start + len(outputs)]
                right = outputs.argmax(1) == known.labels[rows]
                correct[start + rows] = right
                run, found = run + len(rows), found + int((~right).sum())
        return Answers(correct, run)

    def right_as_given(self, images: Images) -> Right:
        """Returns whether the network as given answers each image right, bool (N,)."""
        return np.concatenate([known.right for _, _, known in self._chunks(images)])

    def least_sure(self, images: Images, count: int) -> NDArray[np.int64]:
        """Returns where the images stand of which the network as given is least sure, ascending, int64 (count,).

        Sure is what answers with the highest score far before the second: such images a mild plan answers alike.
        """
        leads = np.concatenate([known.leads for _, _, known in self._chunks(images)])
        return np.sort(np.argsort(leads, kind="stable")[:count])

    def _chunks(self, images: Images) -> Iterator[tuple[int, Tensor, _Known]]:
        """Yields where a chunk of the images starts, its images in the order in which plans meet them, and the rest."""
        size = 4 * int(np.prod(self.subject.source.input_size))
        count = max(CHUNK_BYTES // size, 1)
        for start in range(0, len(images), count):
            yield start, *self._decoded(_part(images, start, start + count))

    def _decoded(self, images: Images) -> tuple[Tensor, _Known]:
        key = images.indices.tobytes() + str(id(images.store)).encode()
        if key in self._kept:
            return self._kept[key], self._known[key]
        tensor = self.subject.tensor(images)
        if key not in self._known:
            self._known[key] = _Known.of(self.measurer.dense_outputs(tensor), images.labels)
        tensor = tensor[torch.from_numpy(self._known[key].order)].to(self.measurer.device)
        if self._kept_bytes + tensor.nbytes <= KEPT_BYTES:
            self._kept[key] = tensor
            self._kept_bytes += tensor.nbytes
        return tensor, self._known[key]


def _part(images: Images, start: int, end: int) -> Images:
    labels = None if images.labels is None else images.labels[start:end]
    return Images(images.store, images.indices[start:end], labels)


@dataclass(frozen=True, eq=False)
class _Look:
    """What a measurement looks at.

    run: the images that run; places: int64 (n,), where they stand among all; as_given: bool (N,), right answers of the
    network as given
    """

    run: Images
    places: NDArray[np.int64]
    as_given: Right

    @property
    def assumed(self) -> int:
        """How many of N do not run."""
        return len(self.as_given) - len(self.places)


class SplitMeasure:
    """Measures plans on one split, as `envs.accuracy.archive.Measure` asks.

    Where not all images are to run, answers speak of the first `POOL` times as many, and those run of which the network
    as given is least sure.
    """

    def __init__(self, judge: Judge, images: Images) -> None:
        self.judge = judge
        self.images = images
        self._looks: dict[int, _Look] = {}

    @property
    def images_id(self) -> str:
        """Identifies network, weights, calibration and validation images."""
        return f"{self.judge.subject.key}-{self.judge.measurer.profile.calibration_sha256[:16]}"

    def dense(self, images: int) -> Right:
        """Returns whether the network as given is right on each image, bool (N,)."""
        return self._look(images).as_given

    def correct(self, schemes: Sequence[Scheme], images: int) -> Right:
        """Returns whether a compressed network is right on each image, bool (N,), so many of which run."""
        return self.correct_until(schemes, images, len(self.images)).correct

    def correct_until(self, schemes: Sequence[Scheme], images: int, wrong: int) -> Answers:
        """Returns the same, without what remains once more than so many images are answered wrong."""
        look = self._look(images)
        correct = look.as_given.copy()
        correct[look.places] = True
        found = self.judge.right_until(tuple(schemes), look.run, wrong - int((~correct).sum()))
        correct[look.places] = found.correct
        return Answers(correct, found.run, look.assumed)

    def _look(self, images: int) -> _Look:
        if images not in self._looks:
            pool = self.images.first(int(POOL * images)) if images < len(self.images) else self.images
            places = self.judge.least_sure(pool, images)
            self._looks[images] = _Look(pool.chosen(places), places, self.judge.right_as_given(pool))
        return self._looks[images]


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
        """Returns whether the network as given is right on each image, bool (N,)."""
        return self.store.dense(images)

    def correct(self, schemes: Sequence[Scheme], images: int) -> Right:
        """Returns whether a compressed network is right on each image, bool (N,), so many of which run."""
        choice = self.store.problem.space.choice(schemes)
        return self.store.evaluate(choice, images).correct

    def correct_until(self, schemes: Sequence[Scheme], images: int, wrong: int) -> Answers:
        """Returns the same, without what remains once more than so many images are answered wrong."""
        found = self.store.evaluate_until(self.store.problem.space.choice(schemes), images, wrong)
        return Answers(found.correct, found.images_run, found.assumed)
