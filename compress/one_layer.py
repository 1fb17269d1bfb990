"""What one compressed layer, or one rounded tensor, costs the whole network: measured, on images without labels."""

from __future__ import annotations

from torch import Tensor

from compress.divergence import divergence, log_probabilities
from compress.measure import Measurer
from compress.prefix import Prefix
from compress.recalibrate import Recalibration
from plan.scheme import Scheme

IMAGES, FEWEST_IMAGES = 128, 32
PASS_MACS = 1.2e10
"""Multiplications that one pass over the images may take: large networks are run on fewer images."""


class OneLayerLoss:
    """Measures how far the outputs move when a single layer or a single stored tensor is compressed.

    The images run as one batch. Batch-norm statistics and biases are repaired from this very batch while it passes, so
    that one pass gives the repaired network's outputs; what stands in front of the change is run once for all. Ask in
    the order of layers.

    Args:
        measurer: of the network; its working network is the dense one between calls.
        images: as the network takes them, best such that no repair saw: on those that it did, a layer with few
            positions and many weights seems to lose next to nothing. The last 128 are run, fewer of a large network.
    """

    def __init__(self, measurer: Measurer, images: Tensor) -> None:
        count = int(PASS_MACS / max(measurer.traced.network.macs, 1))
        batch = measurer.working.arranged(images[-min(max(count, FEWEST_IMAGES), IMAGES) :])
        measurer.unload()
        self.measurer = measurer
        self.prefix = Prefix(measurer.module, batch)
        own = measurer.recalibration
        self.recalibration = Recalibration(own.norms, own.layers, spread=own.spread)
        kept: list[Tensor] = []
        self.recalibration.observe(lambda: kept.append(self.prefix.outputs()))
        self.dense = log_probabilities(kept[0])

    def weights(self, layer: int, scheme: Scheme) -> float:
        """Returns what a layer's weights under a scheme cost, KL(dense || changed) in nats, mean over the images.

        What the layer's channel group loses with it is gone too; activations stay as they are.
        """
        nodes = self.measurer.traced.layer_nodes
        with self.measurer.one_loaded(layer, scheme) as changed:
            self.prefix.advance(min(self.prefix.place(nodes[index]) for index in changed))
            return self._divergence()

    def activations(self, layer: int, bits: int) -> float:
        """Returns what rounding a layer's input tensor to so many bits costs, as `weights` does."""
        with self.measurer.one_rounded(layer, bits) as quantiser:
            self.prefix.advance(self.prefix.place_of(quantiser))
            return self._divergence()

    def _divergence(self) -> float:
        kept: list[Tensor] = []
        self.recalibration.correct(lambda: kept.append(self.prefix.outputs()))
        return divergence(kept[0], self.dense)
