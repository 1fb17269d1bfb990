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
PARTS = 32
"""Parts of the calibration images whose moments are compared."""
FEWEST_COLUMNS = 16

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
    return unfolded_at(module, inputs, sampled_positions(module, inputs, per_image, generator))


def sampled_positions(module: WeightLayer, inputs: Tensor, per_image: int, generator: torch.Generator) -> Tensor:
    """Returns which output positions of a layer are sampled, flat and ascending, int64 (positions,)."""
    if isinstance(module, nn.Linear):
        return _positions(inputs[0].numel() // inputs.shape[-1], per_image, generator)
    rows, columns = (_outputs(module, size, axis) for axis, size in enumerate(_padded_size(module, inputs)))
    return _positions(rows * columns, per_image, generator)


def unfolded_at(module: WeightLayer, inputs: Tensor, chosen: Tensor) -> Tensor:
    """Returns the input vectors of chosen output positions, int64 (positions,), as `unfolded`."""
    if isinstance(module, nn.Linear):
        rows = inputs.reshape(inputs.shape[0], -1, inputs.shape[-1])
        return rows[:, chosen.to(rows.device)].reshape(1, -1, rows.shape[-1])
    padded = F.pad(inputs, module._reversed_padding_repeated_twice)
    index = _window_index(module, padded.shape[-2], padded.shape[-1], chosen)
    count, channels, height, width = padded.shape
    flat = padded.permute(0, 2, 3, 1).reshape(count, height * width, channels)
    gathered = flat.index_select(1, index.reshape(-1).to(flat.device))
    shape = (count * index.shape[0], index.shape[1], module.groups, channels // module.groups)
    if shape[3] == 1:  # a plain transpose, three times as fast as the general order of axes
        return gathered.reshape(-1, module.groups).t().contiguous().reshape(module.groups, shape[0], -1)
    return gathered.reshape(shape).permute(2, 0, 3, 1).reshape(module.groups, shape[0], -1).contiguous()


def _padded_size(module: nn.Conv2d, inputs: Tensor) -> tuple[int, int]:
    left, right, top, bottom = module._reversed_padding_repeated_twice
    return inputs.shape[-2] + top + bottom, inputs.shape[-1] + left + right


def window_means(module: WeightLayer, inputs: Tensor) -> Tensor:
    """Returns the mean over all output positions of each image's input vectors, (groups, images, D), as `unfolded`."""
    if isinstance(module, nn.Linear):
        return inputs.reshape(inputs.shape[0], -1, inputs.shape[-1]).mean(1)[None]
    padded = F.pad(inputs, module._reversed_padding_repeated_twice)
    rows, columns = (_taps(module, padded.shape[axis - 2], axis) for axis in (0, 1))
    taps = torch.stack([padded[:, :, row, column].mean((2, 3)) for row in rows for column in columns], 2)
    return taps.reshape(len(inputs), module.groups, -1).transpose(0, 1).contiguous()


def _taps(module: nn.Conv2d, size: int, axis: int) -> list[slice]:
    """Returns for every tap of the kernel along an axis the pixels that it sees."""
    stride, span = module.stride[axis], module.stride[axis] * (_outputs(module, size, axis) - 1) + 1
    starts = [module.dilation[axis] * tap for tap in range(module.kernel_size[axis])]
    return [slice(start, start + span, stride) for start in starts]


def _outputs(module: nn.Conv2d, size: int, axis: int) -> int:
    """Returns how many outputs a padded size gives along an axis."""
    return (size - module.dilation[axis] * (module.kernel_size[axis] - 1) - 1) // module.stride[axis] + 1


def _positions(total: int, wanted: int, generator: torch.Generator) -> Tensor:
    if wanted >= total:
        return torch.arange(total)
    return torch.randperm(total, generator=generator)[:wanted].sort().values


def _window_index(module: nn.Conv2d, height: int, width: int, chosen: Tensor) -> Tensor:
    """Returns flat pixel indices of the chosen windows, (positions, R * S)."""
    (kernel_h, kernel_w), (stride_h, stride_w) = module.kernel_size, module.stride
    dilation_h, dilation_w = module.dilation
    columns = _outputs(module, width, 1)
    top = (chosen // columns) * stride_h * width + (chosen % columns) * stride_w
    offsets = torch.arange(kernel_h)[:, None] * dilation_h * width + torch.arange(kernel_w)[None, :] * dilation_w
    return top[:, None] + offsets.reshape(1, -1)


def shrunk(covariance: Tensor, share: Tensor) -> Tensor:
    """Returns covariances (G, D, D) less a share (G,) of each, variances left alone."""
    kept = covariance * (1.0 - share)[:, None, None]
    kept.diagonal(dim1=1, dim2=2).copy_(covariance.diagonal(dim1=1, dim2=2))
    return kept


def off_diagonal(matrices: Tensor) -> Tensor:
    """Returns the sum of squares of all entries off the diagonal, (G,), of matrices (G, D, D)."""
    return (matrices.square().sum((1, 2)) - matrices.diagonal(dim1=1, dim2=2).square().sum(1)).clamp_min(0.0)


class CovarianceSum:
    """Sums of x x^T, and how far they differ from one part of the images to the next.

    What one image gives is not independent, so the sampling variance of a covariance is measured between parts. The
    share by which covariances are shrunk is the sampling variance of all of them over the sum of their squares, at most
    1: Schaefer and Strimmer 2005 ("A shrinkage approach to large-scale covariance matrix estimation"), target D. Small
    matrices are left alone: their few numbers are known well enough, and how bright images are moves all of them.
    """

    def __init__(self) -> None:
        self.products = self.squares = self.total = torch.zeros(())
        self.count = 0
        self.parts = 0

    def add(self, vectors: Tensor) -> None:
        """Adds one part of the images, vectors (G, n, D) about a centre that all parts share."""
        products = vectors.transpose(1, 2) @ vectors
        squares, total = off_diagonal(products) / vectors.shape[1], vectors.sum(1)
        if not self.parts:
            self.products, self.squares, self.total = products, squares, total
        else:
            self.products.add_(products)
            self.squares.add_(squares)
            self.total.add_(total)
        self.count += vectors.shape[1]
        self.parts += 1

    def mean(self) -> Tensor:
        """Returns the mean about the centre, (G, D)."""
        if not self.parts:
            raise ValueError("no inputs were added, the layer was never called")
        return self.total / self.count

    def covariance(self) -> tuple[Tensor, Tensor]:
        """Returns the covariance (G, D, D) and the share (G,) by which it is to be shrunk."""
        mean = self.mean()
        moment = self.products / self.count
        covariance = moment - mean[:, :, None] * mean[:, None, :]
        if self.parts < 2 or moment.shape[-1] < FEWEST_COLUMNS:
            return covariance, torch.zeros(len(moment), device=moment.device)
        noise = (self.squares / self.count - off_diagonal(moment)).clamp_min(0.0) / (self.parts - 1)
        between = off_diagonal(covariance).clamp_min(torch.finfo(covariance.dtype).tiny)
        return covariance, (noise / between).clamp(0.0, 1.0)


def summed(vectors: Tensor, images: int) -> CovarianceSum:
    """Returns the sums over vectors (G, n, D) of so many images, as many of each, in up to `PARTS` parts."""
    sums = CovarianceSum()
    for part in torch.split(vectors, -(-images // PARTS) * (vectors.shape[1] // images), 1):
        sums.add(part)
    return sums


class MomentSum:
    """Running sums of x x^T and x over the calibration images of one layer, about the mean of the first images."""

    def __init__(self, module: WeightLayer, images: int, seed: int) -> None:
        self.module = module
        self.columns = module.weight[0].numel()
        groups = module.groups if isinstance(module, nn.Conv2d) else 1
        self.per_image = max(1, -(-samples_wanted(self.columns, groups) // max(1, images)))
        self.images_a_part = max(1, -(-images // PARTS))
        self.generator = torch.Generator().manual_seed(seed)
        self.blocks = column_blocks(self.columns, module.weight[0, 0].numel())
        self.sums = [CovarianceSum() for _ in self.blocks]
        self.image_means: list[Tensor] = []
        self.centre: Tensor | None = None

    def add(self, inputs: Tensor) -> None:
        """Adds one batch of inputs."""
        vectors = unfolded(self.module, inputs.detach(), self.per_image, self.generator)
        if self.centre is None:
            self.centre = vectors.mean(1, keepdim=True)
        size = self.images_a_part * (vectors.shape[1] // len(inputs))
        for part in torch.split(vectors - self.centre, size, 1):
            for block, sums in zip(self.blocks, self.sums, strict=True):
                sums.add(part[..., block])
        self.image_means.append(window_means(self.module, inputs.detach()) - self.centre)

    def moments(self, coherence: float = 0.0) -> FloatArray | tuple[FloatArray, ...]:
        """Returns E[x x^T] as (G, D, D), or a tuple of such blocks where D is above 4,608, covariances shrunk.

        Unshrunk, 100 images would call many a change of the weights free that other images are moved by.

        Args:
            coherence: times the covariance of x's mean over an image's positions is added; see `coherence`.
        """
        mean, means = self._mean(), torch.cat(self.image_means, 1)
        arrays = []
        for block, sums in zip(self.blocks, self.sums, strict=True):
            found = shrunk(*sums.covariance()) + mean[:, block, None] * mean[:, None, block]
            if coherence > 0.0:
                found += coherence * shrunk(*summed(means[..., block], means.shape[1]).covariance())
            arrays.append(found.cpu().numpy())
        return arrays[0] if len(arrays) == 1 else tuple(arrays)

    def mean(self) -> FloatArray:
        """Returns E[x], (G, D) float32."""
        mean: FloatArray = self._mean().cpu().numpy()
        return mean

    def _mean(self) -> Tensor:
        if self.centre is None:
            raise ValueError("no inputs were added, the layer was never called")
        return torch.cat([sums.mean() for sums in self.sums], 1) + self.centre[:, 0]
