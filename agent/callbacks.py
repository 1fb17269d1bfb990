"""Callbacks of a training run: progress, checkpoints, and a deadline."""

from __future__ import annotations

import time
from pathlib import Path

from stable_baselines3.common.callbacks import BaseCallback

from agent.searchers.protocol import Observer


class Reports(BaseCallback):
    """Tells an observer of progress, and of the figures that the agent logged last, once per rollout and at the end."""

    def __init__(self, observer: Observer, total: int) -> None:
        super().__init__()
        self.observer = observer
        self.total = total

    def _on_rollout_start(self) -> None:
        self._tell()

    def _tell(self) -> None:
        done = self.model.num_timesteps
        self.observer.progress("learn", min(done, self.total), self.total)
        figures = getattr(self.model, "figures", {})
        if figures:
            self.observer.record("learn", figures, done)

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        self._tell()


class Checkpoints(BaseCallback):
    """Saves the agent between rollouts, the only places from which training continues exactly."""

    def __init__(self, path: Path, every: int) -> None:
        super().__init__()
        self.path = path
        self.every = every
        self._saved = 0

    def _on_training_start(self) -> None:
        self._saved = self.model.num_timesteps

    def _on_rollout_start(self) -> None:
        if self.model.num_timesteps - self._saved >= self.every:
            self.model.save(self.path)
            self._saved = self.model.num_timesteps

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        self.model.save(self.path)


class Deadline(BaseCallback):
    """Ends training at a time of `time.monotonic`; the rollout under way is undone."""

    def __init__(self, deadline: float) -> None:
        super().__init__()
        self.deadline = deadline

    def _on_step(self) -> bool:
        return time.monotonic() < self.deadline
