"""What one compressed layer costs the whole network: measured, on images without labels."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from compress.measure import BATCH, Measurer
from plan.scheme import Scheme

IMAGES = 128
RECALIBRATION_BATCHES = 1


class OneLayerLoss:
    """Measures how far the outputs move when a single layer is compressed.

    Args:
        measurer: of the network; its working network is left with the last layer asked for.
        images: calibration images as the network takes them; the last 128 are run, the first batch repairs statistics.
    """

    def __init__(self, measurer: Measurer, images: Tensor) -> None:
        self.measurer = measurer
        self.images = images[-IMAGES:]
        measurer.unload()
        self.dense = self._log_probabilities()

    def __call__(self, layer: int, scheme: Scheme) -> float:
        """Returns the mean divergence of the outputs from the dense network's, KL(dense || changed), in nats."""
        self.measurer.load_one(layer, scheme, RECALIBRATION_BATCHES)
        changed = self._log_probabilities()
        return float(functional.kl_div(changed, self.dense, reduction="batchmean", log_target=True))

    def _log_probabilities(self) -> Tensor:
        batches = torch.split(self.images, BATCH)
        return torch.cat([functional.log_softmax(self.measurer.logits(batch).double(), dim=1) for batch in batches])
