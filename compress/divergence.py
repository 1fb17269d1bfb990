"""How far the outputs of a changed network lie from the dense one's."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def log_probabilities(outputs: Tensor) -> Tensor:
    """Returns the logarithms of the classes' probabilities, float64 (N, classes), for outputs (N, classes)."""
    return functional.log_softmax(outputs.double(), dim=1)


def divergence(outputs: Tensor, dense: Tensor) -> float:
    """Returns the mean Kullback-Leibler divergence in nats of outputs (N, classes) from what is dense.

    Args:
        outputs: of the changed network, (N, classes)
        dense: `log_probabilities` of the dense network's, (N, classes)
    """
    return float(functional.kl_div(log_probabilities(outputs), dense, reduction="batchmean", log_target=True))
