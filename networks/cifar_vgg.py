"""VGG-16 for 32x32 images: thirteen convolutions (Simonyan and Zisserman) with batch norms, and one linear layer."""

from __future__ import annotations

import torch.nn.functional as functional
from torch import Tensor, nn

STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class CifarVgg16(nn.Module):
    """VGG-16 for (N, 3, 32, 32) images; five poolings leave one pixel of 512 channels.

    Larger images work too: what is left of them is averaged.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for widths in STAGES:
            for width in widths:
                layers += [nn.Conv2d(inputs, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
                inputs = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(inputs, classes)
        for module in self.features:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def forward(self, x: Tensor) -> Tensor:
        y = functional.adaptive_avg_pool2d(self.features(x), 1).flatten(1)
        scores: Tensor = self.classifier(y)
        return scores
