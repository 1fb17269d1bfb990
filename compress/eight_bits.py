"""Convolutions of 8-bit levels on oneDNN: products of unsigned by signed bytes, summed in 32 bits, scaled once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from compress.quantize import ActivationRange


@dataclass(frozen=True, eq=False)
class Packed:
    """Levels of a convolution's weights as oneDNN wants them.

    levels: opaque; geometry: stride, padding, dilation and groups
    """

    levels: Tensor
    geometry: tuple[list[int], list[int], list[int], int]

    @classmethod
    def of(cls, conv: nn.Conv2d, levels: Tensor, *, shifted: bool) -> Packed:
        """Returns the levels, int8 (K, C, R, S), packed for a convolution padded by numbers.

        Args:
            conv: whose geometry it is.
            levels: of its weights.
            shifted: whether the levels that it is to read have a zero point.
        """
        geometry = list(conv.stride), [int(side) for side in conv.padding], list(conv.dilation), conv.groups
        scale = torch.ones(len(levels))
        return cls(torch.ops.onednn.qconv_prepack(levels, scale, 1.0, int(shifted), *geometry, None), geometry)

    def convolved(
        self, read: Tensor, chosen: ActivationRange, scale: Tensor, bias: Tensor | None, target: ActivationRange | None
    ) -> Tensor:
        """Returns the sums: float32 values, or uint8 levels of a target, cut off at 255 alone.

        Args:
            read: levels, uint8 (N, C, H, W).
            chosen: the range that they are of.
            scale: of every output, float32 (K,).
            bias: likewise, None for none.
            target: range to which sums are rounded at once, None for values.
        """
        wanted = (1.0, 0, torch.float32) if target is None else (target.scale, target.zero_point, torch.uint8)
        weights = self.levels, scale, torch.zeros(len(scale), dtype=torch.int64), bias
        inputs = read, chosen.scale, chosen.zero_point
        found: Tensor = torch.ops.onednn.qconv2d_pointwise(*inputs, *weights, *self.geometry, *wanted, "none", [], "")
        return found


@lru_cache(maxsize=1)
def integers_are_exact() -> bool:
    """Returns whether this processor and build multiply levels exactly, found out on the largest sums there are."""
    levels = torch.full((1, 64, 3, 3), 255, dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
    weights = torch.tensor([127, -128], dtype=torch.int8).repeat_interleave(64 * 9).reshape(2, 64, 3, 3)
    try:
        packed = Packed.of(nn.Conv2d(64, 2, 3, device="meta"), weights, shifted=False)
        found = packed.convolved(levels, ActivationRange(8, 1.0, 0), torch.ones(2), None, None)
    except (AttributeError, RuntimeError):
        return False
    wanted = [255.0 * value * 64 * 9 for value in (127, -128)]
    return bool(found.flatten().tolist() == wanted)
