import numpy as np
import pytest
import torch

from compress.divergence import divergence, log_probabilities


def test_divergence_by_hand() -> None:
    dense, changed = ([[0.5, 0.5], [0.9, 0.1]], [[0.25, 0.75], [0.9, 0.1]])
    expected = 0.5 * (0.5 * np.log(2.0) + 0.5 * np.log(0.5 / 0.75))
    found = divergence(torch.tensor(changed).log(), log_probabilities(torch.tensor(dense).log()))
    assert found == pytest.approx(expected, rel=1e-5)


def test_equal_outputs_do_not_diverge() -> None:
    outputs = torch.tensor([[1.0, -2.0, 0.5]])
    assert divergence(outputs, log_probabilities(outputs + 3.0)) == pytest.approx(0.0, abs=1e-12)
