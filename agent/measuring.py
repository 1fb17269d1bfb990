"""What a measured phase may spend."""

from __future__ import annotations

import time
from dataclasses import dataclass

from envs.accuracy.archive import Archive


@dataclass(frozen=True)
class Measuring:
    """Evaluations in the archive on so many images, and a time of `time.monotonic`, or None."""

    images: int
    evaluations: int
    deadline: float | None = None

    def over(self, archive: Archive) -> bool:
        """Returns whether the phase has spent what it may."""
        late = self.deadline is not None and time.monotonic() >= self.deadline
        return late or len(archive.on(self.images)) >= self.evaluations
