"""A measure without a network: accuracy follows from the predicted error of a plan."""

import numpy as np

from envs.problem import Problem
from plan.scheme import Scheme


class Falling:
    """Accuracy that falls by 25 points per nat of predicted error."""

    images_id = "falling"

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    def dense(self, images: int) -> np.ndarray:
        return np.ones(images, dtype=np.bool_)

    def correct(self, schemes: tuple[Scheme, ...], images: int) -> np.ndarray:
        error = float(self.problem.evaluate(self.problem.space.choice(schemes)[None]).error[0])
        return np.arange(images) >= round(min(0.25 * error, 1.0) * images)
