"""Second moments of inputs: what few samples may not claim."""

import numpy as np
import pytest
import torch
from torch import nn

from compress.moments import MomentSum, shrunk


def summed(columns: int, samples: int, seed: int = 0) -> tuple[MomentSum, torch.Tensor]:
    module = nn.Linear(columns, 3)
    vectors = torch.randn(samples, columns, generator=torch.Generator().manual_seed(seed)) + 2.0
    sums = MomentSum(module, samples, 0)
    sums.add(vectors)
    return sums, vectors


def test_the_share_by_hand() -> None:
    """Two inputs of variance 2 and 8 and covariance 2, eight samples: noise (2 * 8 + 4) / 8 against 4, so 5/8 goes."""
    mean = torch.tensor([[1.0, -3.0]])
    covariance = torch.tensor([[[2.0, 2.0], [2.0, 8.0]]])
    found = shrunk(covariance + mean[:, :, None] * mean[:, None, :], mean, 8)
    expected = np.array([[2.0, 0.75], [0.75, 8.0]]) + np.outer([1.0, -3.0], [1.0, -3.0])
    np.testing.assert_allclose(found[0].numpy(), expected, rtol=1e-5)


def test_enough_samples_are_taken_as_they_are() -> None:
    sums, vectors = summed(columns=8, samples=32)
    np.testing.assert_allclose(sums.moments()[0], (vectors.T @ vectors / 32).numpy(), rtol=1e-5)


def test_few_samples_leave_no_direction_free() -> None:
    """Of 64 independent inputs seen 16 times, the plain covariance calls 49 directions free; none is."""
    sums, vectors = summed(columns=64, samples=16)
    mean = sums.mean()[0]
    plain = (vectors.T @ vectors / 16).numpy() - np.outer(mean, mean)
    kept = sums.moments()[0] - np.outer(mean, mean)
    assert (np.linalg.eigvalsh(plain) < 1e-4).sum() == 49
    assert np.linalg.eigvalsh(kept).min() > 0.1
    np.testing.assert_allclose(np.diag(kept), np.diag(plain), rtol=1e-4)


@pytest.mark.parametrize("samples", [20, 60])
def test_what_is_kept_is_nearer_to_the_truth(samples: int) -> None:
    """Inputs that share one factor: the true covariance is 1 + the identity."""
    rng = np.random.default_rng(0)
    vectors = torch.from_numpy((rng.normal(size=(samples, 1)) + rng.normal(size=(samples, 24))).astype(np.float32))
    sums = MomentSum(nn.Linear(24, 3), samples, 0)
    sums.add(vectors)
    mean, truth = sums.mean()[0], np.ones((24, 24)) + np.eye(24)
    plain = (vectors.T @ vectors / samples).numpy() - np.outer(mean, mean)
    kept = sums.moments()[0] - np.outer(mean, mean)
    assert np.linalg.norm(np.linalg.inv(kept) - np.linalg.inv(truth)) < np.linalg.norm(
        np.linalg.inv(plain + 1e-6 * np.eye(24)) - np.linalg.inv(truth)
    )


def test_constant_inputs_stay_as_they_are() -> None:
    mean = torch.tensor([[1.0, 2.0, 0.0]])
    moment = mean[:, :, None] * mean[:, None, :]
    np.testing.assert_allclose(shrunk(moment, mean, 2).numpy(), moment.numpy(), atol=1e-6)
