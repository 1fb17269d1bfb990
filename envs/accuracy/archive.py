"""Measured plans: counted, cached by the plan's hash, kept with their costs, and written as the run goes."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from envs.accuracy.early_stop import Answers, most_wrong
from envs.accuracy.statistics import drop_points
from envs.pareto import undominated
from envs.problem import Problem
from plan.budget import Budget
from plan.errors import FileFormatError, MismatchError, UnwritableError
from plan.scheme import Scheme
from plan.space import Choices

VERSION = 2


class Measure(Protocol):
    """Really measured accuracy on validation images, counted by an `Archive`.

    When `images` of them are to run, answers may speak of more, N: those of which the network as given is sure are then
    taken to be answered as it answers them.
    """

    @property
    def images_id(self) -> str:
        """Identifies network, weights and validation images: equal texts, equal answers."""

    def dense(self, images: int) -> NDArray[np.bool_]:
        """Returns whether the network as given is right on each image that answers speak of, bool (N,)."""

    def correct(self, schemes: Sequence[Scheme], images: int) -> NDArray[np.bool_]:
        """Returns whether a compressed network is right on each image, bool (N,), so many of which run."""

    def correct_until(self, schemes: Sequence[Scheme], images: int, wrong: int) -> Answers:
        """Returns the same, but may leave out what remains once more than so many images are answered wrong."""


@dataclass(frozen=True, eq=False)
class Measurement:
    """One measured plan.

    Attributes:
        key: SHA-256 of the choices, the images' id and their number.
        choice: int16 (L, 4).
        correct: bool (N,); images left out by a stop count as right.
        cost: measured drop beside predicted energy, latency and size.
        objective: relative to the baseline, 1.0 = dense at baseline bits.
        images_run: how many ran; fewer than were to run where a limit was out of reach before.
        assumed: how many of N nobody meant to run, see `Measure`.
    """

    key: str
    choice: Choices
    correct: NDArray[np.bool_]
    cost: Budget
    objective: float
    images_run: int
    assumed: int = 0

    @property
    def images(self) -> int:
        """Number of images that were to run."""
        return len(self.correct) - self.assumed

    @property
    def stopped(self) -> bool:
        """Whether measuring stopped early, so that the drop is known to be at least what stands here."""
        return self.images_run < self.images

    @property
    def drop_points(self) -> float:
        """Measured drop against the network as given, accuracy points; the least that it can be where stopped."""
        return self.cost.drop_points


class Archive:
    """Every plan that was measured for a problem; the same plan on the same images is measured once.

    Args:
        problem: prices the plans.
        measure: measures them.
        path: JSON-lines file to which every measurement is appended and from which earlier ones are restored; kept in
            memory only when None.

    Raises:
        MismatchError: the file belongs to another network, hardware, space or other images.
        FileFormatError: the file is no archive. A last line cut short by a killed run is dropped.
        UnwritableError: the file cannot be written.
    """

    def __init__(self, problem: Problem, measure: Measure, path: Path | None = None) -> None:
        self.problem = problem
        self.measure = measure
        self.path = path
        self.restored = 0
        self._found: dict[str, Measurement] = {}
        self._stops: dict[tuple[str, int], Measurement] = {}
        self._dense: dict[int, NDArray[np.bool_]] = {}
        if path is not None:
            self._open(path)

    def __len__(self) -> int:
        return len(self._found)

    @property
    def measurements(self) -> tuple[Measurement, ...]:
        """All measured plans in the order in which they were measured."""
        return tuple(self._found.values())

    @property
    def evaluations(self) -> int:
        """Measured evaluations that this problem has cost so far, restored ones included."""
        return len(self._found)

    def key(self, choice: Choices, images: int) -> str:
        """Returns the name under which a plan, int16 (L, 4), measured on so many images is kept."""
        settled = self.problem.space.filled(choice[None])[0].astype("<i2")
        return hashlib.sha256(settled.tobytes() + f"|{self.measure.images_id}|{images}".encode()).hexdigest()

    @property
    def images_saved(self) -> int:
        """Images that did not have to run, over all evaluations that stopped early."""
        return sum(entry.images - entry.images_run for entry in self._stops.values())

    def evaluate(self, choice: Choices, images: int, *, hopeless_points: float = math.inf) -> Measurement:
        """Returns the measurement of a legal plan, int16 (L, 4), for which so many images run; counted when it is new.

        Args:
            choice: the plan.
            images: how many.
            hopeless_points: drop above which nobody asks how large it is: measuring may stop once a smaller one is out
                of reach. A plan that stopped is measured in full when it is asked for without such a limit; the answer
                to the same question stays the same, whatever was measured in between.
        """
        key = self.key(choice, images)
        if hopeless_points < math.inf:
            return self.evaluate_until(choice, images, most_wrong(self.dense(images), hopeless_points))
        found = self._found.get(key)
        if found is None or found.stopped:
            correct = self.measure.correct(self.problem.space.schemes(choice), images)
            found = self._keep(key, choice, Answers(correct, images, len(correct) - images))
            self._append(self._line(found))
        return found

    def evaluate_until(self, choice: Choices, images: int, wrong: int) -> Measurement:
        """Returns the same, where measuring may stop once more than so many images are answered wrong."""
        key = self.key(choice, images)
        if (key, wrong) in self._stops:
            return self._stops[key, wrong]
        known = self._found.get(key)
        if known is not None and not known.stopped:
            return known
        answers = self.measure.correct_until(self.problem.space.schemes(choice), images, wrong)
        found = self._keep(key, choice, answers, wrong)
        self._append(self._line(found) | ({"most_wrong": wrong, "run": answers.run} if answers.stopped else {}))
        return found

    def known(self, choice: Choices, images: int) -> Measurement | None:
        """Returns the measurement of a plan if there is one, one that stopped early among them."""
        return self._found.get(self.key(choice, images))

    def dense(self, images: int) -> NDArray[np.bool_]:
        """Returns whether the network as given is right on each image, bool (N,); measured once and kept."""
        if images not in self._dense:
            found = self.measure.dense(images)
            self._dense[images] = found
            self._append({"dense": packed(found), "images": images, "of": len(found)})
        return self._dense[images]

    def on(self, images: int | None) -> tuple[Measurement, ...]:
        """Returns the plans measured on so many images, or all when None; those that stopped early among them."""
        return tuple(entry for entry in self._found.values() if images in (None, entry.images))

    def complete(self, images: int | None = None) -> tuple[Measurement, ...]:
        """Returns the plans that ran on all of so many images, or of any number when None."""
        return tuple(entry for entry in self.on(images) if not entry.stopped)

    def best(self, limits: Budget, images: int | None = None) -> Measurement | None:
        """Returns the plan of least objective whose measured drop and costs keep the limits; ties by drop, then age."""
        within = [entry for entry in self.complete(images) if limits.satisfied_by(entry.cost)]
        return min(within, key=lambda entry: (entry.objective, entry.drop_points), default=None)

    def frontier(self, images: int | None = None) -> tuple[Measurement, ...]:
        """Returns the plans that no other beats in both measured drop and objective, by rising drop."""
        entries = self.complete(images)
        drops = np.array([entry.drop_points for entry in entries])
        return tuple(entries[row] for row in undominated(drops, np.array([entry.objective for entry in entries])))

    def _keep(self, key: str, choice: Choices, answers: Answers, wrong: int = -1) -> Measurement:
        """Returns what was measured after noting it; a stop never takes the place of a full measurement."""
        metrics, correct = self.problem.evaluate(choice[None]), answers.correct
        dense = self.dense(len(correct) - answers.assumed)
        cost = replace(metrics.budget(0), drop_points=drop_points(dense, correct))
        objective = float(self.problem.objective_value(metrics)[0])
        found = Measurement(key, choice.copy(), correct, cost, objective, answers.run, answers.assumed)
        if answers.stopped:
            self._stops[key, wrong] = found
        if not answers.stopped or key not in self._found or self._found[key].stopped:
            self._found[key] = found
        return found

    def _header(self) -> dict[str, Any]:
        space = self.problem.space
        return {
            "archive": VERSION,
            "network": self.problem.network.fingerprint,
            "hardware": self.problem.accelerator.fingerprint,
            "methods": [str(method) for method in space.methods],
            "bits": [list(space.weight_bits), list(space.activation_bits)],
            "images_id": self.measure.images_id,
        }

    def _line(self, entry: Measurement) -> dict[str, Any]:
        counts = {"images": entry.images, "of": len(entry.correct)}
        return {"key": entry.key, "choice": entry.choice.tolist(), "correct": packed(entry.correct), **counts}

    def _append(self, content: dict[str, Any]) -> None:
        if self.path is None:
            return
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(content, sort_keys=True) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as problem:
            raise UnwritableError(
                f"cannot write {self.path}: {problem.strerror}; free space or change --out"
            ) from problem

    def _open(self, path: Path) -> None:
        """Restores what the file holds, or starts it."""
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        if lines and not lines[-1].endswith(b"\n"):
            cut = lines.pop()
            os.truncate(path, path.stat().st_size - len(cut))
        if not lines:
            self._append(self._header())
            return
        self._restore([self._parsed(number, line) for number, line in enumerate(lines, start=1)])

    def _parsed(self, number: int, line: bytes) -> dict[str, Any]:
        try:
            content = json.loads(line)
        except ValueError as problem:
            raise FileFormatError(
                str(self.path), [f"line {number} is not JSON ({problem}); move the file away"]
            ) from problem
        if not isinstance(content, dict):
            raise FileFormatError(str(self.path), [f"line {number} holds no object; move the file away"])
        return content

    def _restore(self, contents: list[dict[str, Any]]) -> None:
        header, wanted = contents[0], self._header()
        other = [name for name, value in wanted.items() if header.get(name) != value]
        if other:
            raise MismatchError(f"{self.path} was measured with other {', '.join(other)}; use another run folder")
        for number, content in enumerate(contents[1:], start=2):
            self._restore_one(number, content)
        self.restored = len(self._found)

    def _restore_one(self, number: int, content: dict[str, Any]) -> None:
        try:
            if "dense" in content:
                self._dense[int(content["images"])] = unpacked(content["dense"], content["of"])
                return
            choice = np.array(content["choice"], dtype=np.int16).reshape(self.problem.space.n_layers, 4)
            images, correct = int(content["images"]), unpacked(content["correct"], content["of"])
            key = self.key(choice, images)
            if key != content["key"]:
                raise ValueError("the plan does not fit its key")
            run, wrong = int(content.get("run", images)), int(content.get("most_wrong", -1))
            if not 0 <= run <= images <= len(correct):
                raise ValueError(f"{run} of {images} images ran, {len(correct)} are answered")
        except (KeyError, TypeError, ValueError) as problem:
            raise FileFormatError(str(self.path), [f"line {number}: {problem}; move the file away"]) from problem
        self._keep(key, choice, Answers(correct, run, len(correct) - images), wrong)


def packed(right: NDArray[np.bool_]) -> str:
    """Returns flags as hexadecimal digits, four a digit."""
    return np.packbits(right).tobytes().hex()


def unpacked(text: str, count: int) -> NDArray[np.bool_]:
    """Returns the flags (count,) that `_packed` wrote."""
    packed = np.frombuffer(bytes.fromhex(text), dtype=np.uint8)
    return np.unpackbits(packed, count=int(count)).astype(np.bool_)
