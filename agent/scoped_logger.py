"""A logger that writes a learner's records into another logger under the learner's name."""

from __future__ import annotations

from typing import Any

from stable_baselines3.common.logger import Logger


class ScopedLogger(Logger):
    """Turns `train/loss` of a learner into `<scope>/loss` of the agent that owns it."""

    def __init__(self, parent: Logger, scope: str) -> None:
        super().__init__(folder=None, output_formats=[])
        self.parent = parent
        self.scope = scope

    def record(self, key: str, value: Any, exclude: str | tuple[str, ...] | None = None) -> None:
        """Records a value under the scope's name."""
        self.parent.record(f"{self.scope}/{key.rpartition('/')[2]}", value, exclude)
