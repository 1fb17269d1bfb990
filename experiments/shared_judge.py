"""Answers that the cells of an arena share: a plan that one contestant measured, another is told, at its price in time.

Contestants of mode B begin with the same plans, and some end in the same ones. What a plan answers does not depend on
who asks, so it runs once; whoever asks later is charged the processor time that it took, and no table knows the
difference.
"""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

from agent.build import Subject
from agent.judge import Judge
from compress.measure import Measurer
from envs.accuracy.archive import packed, unpacked
from envs.accuracy.early_stop import Answers
from networks.images import Images
from plan.atomic import replacing
from plan.errors import FileFormatError
from plan.scheme import Scheme


class SharedJudge(Judge):
    """A judge that looks into a folder first, and leaves there what it had to run.

    Args:
        subject: network and data.
        measurer: runs the compressed network.
        folder: of the answers, one file each; processes may share it.
    """

    def __init__(self, subject: Subject, measurer: Measurer, folder: Path) -> None:
        super().__init__(subject, measurer)
        self.folder = folder
        self.borrowed_seconds = 0.0

    def clock(self) -> float:
        """Returns the processor seconds of this process, and of all answers that it was told."""
        return time.process_time() + self.borrowed_seconds

    def right_until(self, schemes: tuple[Scheme, ...], images: Images, wrong: int) -> Answers:
        """Returns what a judge by itself would.

        Raises:
            FileFormatError: a file of the folder is no answer.
        """
        file = self.folder / f"{self._key(schemes, images, wrong)}.json"
        if file.is_file():
            found, seconds = read_answers(file)
            self.borrowed_seconds += seconds
            return found
        begun = time.process_time()
        found = super().right_until(schemes, images, wrong)
        write_answers(file, found, time.process_time() - begun)
        return found

    def _key(self, schemes: tuple[Scheme, ...], images: Images, wrong: int) -> str:
        subject, profile = self.subject.key, self.measurer.profile.calibration_sha256
        content = f"{subject} {profile} {self.measurer.device} {schemes!r} {wrong} ".encode()
        return hashlib.sha256(content + images.indices.tobytes()).hexdigest()


def read_answers(file: Path) -> tuple[Answers, float]:
    """Returns answers and the processor seconds that they took.

    Raises:
        FileFormatError: the file holds none.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return Answers(unpacked(content["correct"], content["of"]), int(content["run"])), float(content["seconds"])
    except (KeyError, TypeError, ValueError) as error:
        raise FileFormatError(
            str(file), [f"not answers of the arena ({error}); delete it to run the plan again"]
        ) from error


def write_answers(file: Path, answers: Answers, seconds: float) -> None:
    """Writes answers and the processor seconds that they took.

    Raises:
        UnwritableError: the file cannot be written.
    """
    content = {"correct": packed(answers.correct), "of": len(answers.correct), "run": answers.run, "seconds": seconds}
    with replacing(file, "free space or change --out", parents=True) as partial:
        partial.write_text(json.dumps(content, sort_keys=True) + "\n", encoding="utf-8")
