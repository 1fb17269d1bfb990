"""Batches hold what fits: everything where weights stay at hand, the largest activation where they stream by."""

from dataclasses import replace

import pytest

from compress.batches import batch_of
from networks.trace import TracedNetwork


@pytest.mark.parametrize(
    ("channels", "side", "alone", "behind_a_large_layer"),
    [(16, 32, (4 << 20) // (4 * 16 * 32 * 32), 128), (96, 112, 4, 8), (512, 448, 4, 4), (4, 8, 128, 128)],
)
def test_batches_by_hand(
    traced: TracedNetwork, channels: int, side: int, alone: int, behind_a_large_layer: int
) -> None:
    layer = replace(traced.network.layers[0], K=channels, P=side, Q=side)
    large = replace(layer, K=2000, C=1000, R=1, S=1, P=1, Q=1)
    assert 4 * large.weights > 4 << 20 > 4 * layer.weights
    assert batch_of(replace(traced.network, layers=(layer,))) == alone
    assert batch_of(replace(traced.network, layers=(layer, large))) == behind_a_large_layer
