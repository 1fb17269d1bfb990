"""ONNX models run by onnxruntime on the CPU, and compared with torch. Needs the `onnx` extra."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from torch import Tensor

from compress.onnx_file import INPUT

BATCH = 32
_EXACT_INTEGERS = "session.x64quantprecision"
"""On processors without 8-bit dot products, sums of two products saturate at 16 bits unless this is set."""

Scores = NDArray[np.float32]


def open_session(model: bytes, threads: int = 1) -> onnxruntime.InferenceSession:
    """Returns a session on the CPU for a serialised model."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    options.add_session_config_entry(_EXACT_INTEGERS, "1")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run(session: onnxruntime.InferenceSession, images: Tensor) -> Scores:
    """Returns the scores of images (N, C, H, W), float32 (N, classes)."""
    batches = [images[start : start + BATCH].numpy() for start in range(0, len(images), BATCH)]
    return np.concatenate([session.run(None, {INPUT: batch})[0] for batch in batches])


@dataclass(frozen=True)
class Agreement:
    """How two runs of one network compare.

    images: how many were shown
    equal: first answers that are the same
    unexplained: first answers that differ though torch's two best scores are further apart than `largest_difference`
    largest_difference: of any two scores of the same image and class
    """

    images: int
    equal: int
    unexplained: int
    largest_difference: float

    @property
    def text(self) -> str:
        """One line for a person."""
        return (
            f"{self.equal} of {self.images} first answers equal, largest difference of a score "
            f"{self.largest_difference:.3g}, {self.unexplained} answers differ by more than that explains"
        )


def agreement(expected: Scores, found: Scores) -> Agreement:
    """Returns how the scores (N, classes) of torch and of onnxruntime compare."""
    differing = expected.argmax(1) != found.argmax(1)
    largest = float(np.abs(expected - found).max(initial=0.0))
    best = np.sort(expected, 1)[:, -2:]
    unexplained = differing & (best[:, 1] - best[:, 0] >= largest)
    return Agreement(len(expected), int((~differing).sum()), int(unexplained.sum()), largest)
