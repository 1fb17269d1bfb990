"""Second moments and means of what a layer multiplies its weights with: unfolded inputs, sampled at some positions."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from compress.modules import WeightLayer

LARGEST_MOMENT = 4608
BLOCK_COLUMNS = 2304
FLOPS_PER_LAYER = 1e10
MOST_SAMPLES = 32768
SAMPLES_PER_COLUMN = 4
VALUES_PER_LAYER = 2e7

FloatArray = NDArray[np.float32]


def samples_wanted(columns: int, groups: int) -> int:
    """Returns how many input vectors of that length are enough and affordable: at least four per column."""
    affordable = int(min(FLOPS_PER_LAYER / (2 * columns), VALUES_PER_LAYER) / (groups * columns))
    return max(SAMPLES_PER_COLUMN * columns, min(MOST_SAMPLES, affordable))


def column_blocks(columns: int, unit: int) -> list[slice]:
    """Returns the runs of columns whose moments are kept together: all of them up to 4,608, else about 2,304 each.

    A run never splits the `unit` columns of one channel.
    """
    if columns <= LARGEST_MOMENT:
        return [slice(0, columns)]
    step = max(unit, BLOCK_COLUMNS // unit * unit)
    return [slice(start, min(start + step, columns)) for start in range(0, columns, step)]


def unfolded(module: WeightLayer, inputs: Tensor, per_image: int, generator: torch.Generator) -> Tensor:
    """Returns input vectors of a convolution or linear layer, (groups, samples, D) float32, D in (channel, r, s) order.

    Args:
        module: nn.Conv2d or nn.Linear
        inputs: what the module was called with
        per_image: output positions sampled per image, the same ones for every image of the batch
        generator: draws the positions
    """
    if isinstance(module, nn.Linear):
        rows = inputs.reshape(inputs.shape[0], -1, inputs.shape[-1])
        chosen = _positions(rows.shape[1], per_image, generator)
        return rows[:, chosen].reshape(1, -1, rows.shape[-1])
    padded = F.pad(inputs, module._reversed_padding_repeated_twice)
    index = _window_index(module, padded.shape[-2], padded.shape[-1], per_image, generator)
    count, channels, height, width = padded.shape
    flat = padded.permute(0, 2, 3, 1).reshape(count, height * width, channels)
    gathered = flat.index_select(1, index.reshape(-1))
    shape = (count * index.shape[0], index.shape[1], module.groups, channels // module.groups)
    if shape[3] == 1:  # a plain transpose, three times as fast as the general order of axes
        return gathered.reshape(-1, module.groups).t().contiguous().reshape(module.groups, shape[0], -1)
    return gathered.reshape(shape).permute(2, 0, 3, 1).reshape(module.groups, shape[0], -1).contiguous()


def _positions(total: int, wanted: int, generator: torch.Generator) -> Tensor:
    if wanted >= total:
        return torch.arange(total)
    return torch.randperm(total, generator=generator)[:wanted].sort().values


def _window_index(module: nn.Conv2d, height: int, width: int, wanted: int, generator: torch.Generator) -> Tensor:
    """Returns flat pixel indices of the chosen windows, (positions, R * S)."""
    (kernel_h, kernel_w), (stride_h, stride_w) = module.kernel_size, module.stride
    dilation_h, dilation_w = module.dilation
    rows = (height - dilation_h * (kernel_h - 1) - 1) // stride_h + 1
    columns = (width - dilation_w * (kernel_w - 1) - 1) // stride_w + 1
    chosen = _positions(rows * columns, wanted, generator)
    top = (chosen // columns) * stride_h * width + (chosen % columns) * stride_w
    offsets = torch.arange(kernel_h)[:, None] * dilation_h * width + torch.arange(kernel_w)[None, :] * dilation_w
    return top[:, None] + offsets.reshape(1, -1)


def shrunk(moment: Tensor, mean: Tensor, samples: int) -> Tensor:
    """Returns second moments (G, D, D) whose covariances are shrunk towards zero, variances and means left alone.

    The share taken from every covariance, estimated per group, is the sampling variance of all of them over the sum of
    their squares, at most 1: Schaefer and Strimmer 2005 ("A shrinkage approach to large-scale covariance matrix
    estimation"), target D, with the variance (c_ii c_jj + c_ij^2) / n that normal inputs give.

    Args:
        moment: (G, D, D), E[x x^T].
        mean: (G, D), E[x].
        samples: how many input vectors were averaged.
    """
    outer = mean[:, :, None] * mean[:, None, :]
    covariance = moment - outer
    variance = covariance.diagonal(dim1=1, dim2=2)
    own, squares = variance.square().sum(1), covariance.square().sum((1, 2))
    between = (squares - own).clamp_min(torch.finfo(moment.dtype).tiny)
    noise = (variance.sum(1).square() - own + between) / samples
    share = (noise / between).clamp(0.0, 1.0)
    kept = covariance * (1.0 - share)[:, None, None]
    kept.diagonal(dim1=1, dim2=2).copy_(variance)
    return kept + outer


class MomentSum:
    """Running sums of x x^T and x over the calibration images of one layer."""

    def __init__(self, module: WeightLayer, images: int, seed: int) -> None:
        self.module = module
        self.columns = module.weight[0].numel()
        self.unit = module.weight[0, 0].numel()
        groups = module.groups if isinstance(module, nn.Conv2d) else 1
        self.per_image = max(1, -(-samples_wanted(self.columns, groups) // max(1, images)))
        self.generator = torch.Generator().manual_seed(seed)
        self.blocks = column_blocks(self.columns, self.unit)
        self.squares: list[Tensor] = []
        self.total: Tensor | None = None
        self.count = 0

    def add(self, inputs: Tensor) -> None:
        """Adds one batch of inputs."""
        vectors = unfolded(self.module, inputs.detach(), self.per_image, self.generator)
        products = [vectors[..., block].transpose(1, 2) @ vectors[..., block] for block in self.blocks]
        total = vectors.sum(1)
        if self.total is None:
            self.squares, self.total = products, total
        else:
            for square, product in zip(self.squares, products, strict=True):
                square.add_(product)
            self.total.add_(total)
        self.count += vectors.shape[1]

    def moments(self) -> FloatArray | tuple[FloatArray, ...]:
        """Returns E[x x^T] as (G, D, D), or a tuple of such blocks where D is above 4,608.

        Where the images gave fewer than four samples a column, the covariance is shrunk (`shrunk`): 100 samples of
        1,280 inputs would call any change of the weights free that leaves those 100 outputs alone.
        """
        found = [square / self.count for square in self.squares]
        if self.count < SAMPLES_PER_COLUMN * self.columns:
            mean = torch.from_numpy(self.mean())
            parts = zip(found, self.blocks, strict=True)
            found = [shrunk(square, mean[:, block], self.count) for square, block in parts]
        arrays = tuple(square.numpy() for square in found)
        return arrays[0] if len(arrays) == 1 else arrays

    def mean(self) -> FloatArray:
        """Returns E[x], (G, D) float32."""
        if self.total is None:
            raise ValueError("no inputs were added, the layer was never called")
        mean: FloatArray = (self.total / self.count).numpy()
        return mean
