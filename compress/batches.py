"""How many images run together: memory passes are what batches of the wrong size cost."""

from __future__ import annotations

import torch

from plan.layer import Network

LARGEST_BATCH, SMALLEST_BATCH = 128, 4
BATCH_BYTES = 40 << 20
"""Largest activation of a batch, about: MobileNetV2 at 224 pixels runs twice as fast in batches of 8 as of 128."""
CACHED_BYTES = 4 << 20
"""The same where all weights take no more, so that a core keeps both at hand: measuring a plan of ResNet-20 takes 1.66
processor seconds in batches of 64, 1.93 in batches of 128 (`experiments.bench.measure_speed`). ResNet-50's weights
stream by once a batch: 4.8 and 4.1 seconds."""
CUDA_BYTES, LARGEST_CUDA_BATCH = 256 << 20, 1024
"""The same on CUDA devices, which small batches leave idle; a pass takes a few times that memory. Not measured yet."""


def batch_of(network: Network) -> int:
    """Returns how many images are best run together: as many as keep the largest activation within 40 MB, or 4 MB."""
    largest = _largest_bytes(network)
    weights = sum(4 * layer.weights for layer in network.layers)
    limit = CACHED_BYTES if weights <= CACHED_BYTES else BATCH_BYTES
    return min(max(limit // largest, SMALLEST_BATCH), LARGEST_BATCH)


def batch_on(device: torch.device, network: Network) -> int:
    """Returns how many images are best run together on a device: a whole number of the batches of `batch_of`."""
    batch = batch_of(network)
    if device.type != "cuda":
        return batch
    return batch * max(min(CUDA_BYTES // _largest_bytes(network), LARGEST_CUDA_BATCH) // batch, 1)


def _largest_bytes(network: Network) -> int:
    """Returns the size of the largest activation of one image."""
    return max(4 * layer.K * layer.P * layer.Q for layer in network.layers)
