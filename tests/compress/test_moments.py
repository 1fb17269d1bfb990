"""Second moments of inputs: what few images may not claim."""

import numpy as np
import pytest
import torch
from torch import nn

from compress.moments import CovarianceSum, MomentSum, off_diagonal, shrunk, unfolded, window_means


def moments_of(vectors: torch.Tensor) -> MomentSum:
    sums = MomentSum(nn.Linear(vectors.shape[-1], 3), len(vectors), 0)
    for batch in vectors.split(50):
        sums.add(batch)
    return sums


def covariance_of(sums: MomentSum) -> np.ndarray:
    mean = sums.mean()[0]
    return sums.moments()[0] - np.outer(mean, mean)


def test_the_share_by_hand() -> None:
    """Two parts with x_0 x_1 = 2 and 4, every vector with its opposite: the mean, 3, has variance 1, so 1/9 goes."""
    sums = CovarianceSum()
    for product in (2.0, 4.0):
        vector = torch.zeros(1, 1, 16)
        vector[0, 0, :2] = torch.tensor([1.0, product])
        sums.add(torch.cat((vector, -vector), 1))
    covariance, share = sums.covariance()
    assert off_diagonal(covariance).tolist() == [18.0]
    assert share.tolist() == pytest.approx([1 / 9])
    found = shrunk(covariance, share)[0]
    assert found[0, 1] == pytest.approx(3.0 * 8 / 9)
    assert found.diagonal().tolist() == covariance[0].diagonal().tolist()


def test_nothing_is_said_without_inputs() -> None:
    with pytest.raises(ValueError, match="never called"):
        CovarianceSum().covariance()


def test_many_samples_are_taken_nearly_as_they_are() -> None:
    rng = np.random.default_rng(0)
    vectors = torch.from_numpy((rng.normal(size=(20000, 1)) + rng.normal(size=(20000, 16))).astype(np.float32)) + 2.0
    plain = (vectors.T @ vectors / len(vectors)).numpy()
    np.testing.assert_allclose(moments_of(vectors).moments()[0], plain, rtol=0.01)


def test_few_columns_are_taken_as_they_are() -> None:
    vectors = torch.randn(40, 8, generator=torch.Generator().manual_seed(0)) + 2.0
    np.testing.assert_allclose(moments_of(vectors).moments()[0], (vectors.T @ vectors / 40).numpy(), rtol=1e-4)


def test_few_samples_leave_no_direction_free() -> None:
    """Of 64 independent inputs seen 16 times, the plain covariance calls 49 directions free; none is."""
    vectors = torch.randn(16, 64, generator=torch.Generator().manual_seed(0)) + 2.0
    plain = np.cov(vectors.numpy().T, bias=True)
    kept = covariance_of(moments_of(vectors))
    assert (np.linalg.eigvalsh(plain) < 1e-4).sum() == 49
    assert np.linalg.eigvalsh(kept).min() > 0.1
    np.testing.assert_allclose(np.diag(kept), np.diag(plain), rtol=1e-3)


@pytest.mark.parametrize("samples", [20, 60])
def test_what_is_kept_is_nearer_to_the_truth(samples: int) -> None:
    """Inputs that share one factor: the true covariance is 1 + the identity."""
    rng = np.random.default_rng(0)
    vectors = (rng.normal(size=(samples, 1)) + rng.normal(size=(samples, 24))).astype(np.float32)
    truth, plain = np.ones((24, 24)) + np.eye(24), np.cov(vectors.T, bias=True)
    kept = covariance_of(moments_of(torch.from_numpy(vectors)))
    assert np.linalg.norm(np.linalg.inv(kept) - np.linalg.inv(truth)) < np.linalg.norm(
        np.linalg.inv(plain + 1e-6 * np.eye(24)) - np.linalg.inv(truth)
    )


def test_positions_of_one_image_are_not_taken_for_many_samples() -> None:
    """Sixteen positions that say the same leave as much doubt as one."""
    generator = torch.Generator().manual_seed(0)
    once = torch.randn(24, 32, generator=generator)
    repeated = MomentSum(nn.Conv2d(32, 3, 1), 24, 0)
    repeated.add(once[:, :, None, None].expand(24, 32, 4, 4))
    np.testing.assert_allclose(repeated.moments()[0], moments_of(once).moments()[0], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    "module",
    [
        nn.Conv2d(4, 6, 3, padding=1, bias=False),
        nn.Conv2d(4, 4, 3, stride=2, groups=4),
        nn.Conv2d(4, 6, (1, 3), dilation=2, padding=(0, 2)),
        nn.Conv2d(4, 6, 1, stride=2),
    ],
    ids=["padded", "depthwise", "dilated", "pointwise"],
)
def test_window_means_are_those_of_all_windows(module: nn.Conv2d) -> None:
    images = torch.randn(3, 4, 9, 8, generator=torch.Generator().manual_seed(0))
    positions = module(images)[0, 0].numel()
    every = unfolded(module, images, positions, torch.Generator().manual_seed(0))
    expected = every.reshape(module.groups, 3, positions, -1).mean(2)
    torch.testing.assert_close(window_means(module, images), expected)


def test_coherence_adds_what_images_differ_by() -> None:
    """Two positions that are 1 and 3 on one image, -1 and -3 on the other: about the mean 0, x is 5 and x's mean 4."""
    inputs = torch.tensor([[1.0, 3.0], [-1.0, -3.0]])[:, None, :, None]
    sums = MomentSum(nn.Conv2d(1, 1, 1), 2, 0)
    sums.add(inputs)
    assert float(sums.moments()[0, 0, 0]) == pytest.approx(5.0)
    assert float(sums.moments(10.0)[0, 0, 0]) == pytest.approx(45.0)
