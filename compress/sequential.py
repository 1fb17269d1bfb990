"""Layers refitted to what the layers before them became: one pass of dense and compressed network side by side.

Cached repairs take the dense network's inputs. Here every layer, in order of execution, is refitted so that with its
real inputs X' (pruned, rounded, of a compressed network) it gives the dense outputs W X: the least-squares target is
W E[X X'^T] E[X' X'^T]^-1, under the mask that the cached repair chose, rounded and descended as there. A layer whose
outputs are added to a shortcut also makes up for what the shortcut lacks, as far as its own inputs tell. Statistics are
repaired on the way. Source: the asymmetric calibration of Li et al., GPTAQ (arXiv 2504.02692), with masks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from compress.adaround import Samples
from compress.addition import addition_behind
from compress.behind import behind
from compress.modules import WeightLayer
from compress.moments import (
    LARGEST_MOMENT,
    sampled_positions,
    samples_wanted,
    shrunk,
    summed,
    unfolded_at,
    window_means,
)
from compress.problem import DEAD, MEAN_SHARE, Problem, ProblemBlock
from compress.recalibrate import SMALLEST_VARIANCE, channel_axis, channel_statistics, per_channel, running, spread_gain
from compress.solver import Factors, factorise

CORRECTION = 0.75
"""How much of the step that the other half of the images confirms is taken. Least squares shrinks outputs where inputs
are noisy. Divergence from the dense network's outputs with 0.5, 0.75 and 1 of it, ResNet-20, 3,000 validation images:
0.0584, 0.0556, 0.0540 at 2:4 and 4/6 bits; 0.0412, 0.0394, 0.0394 at 3/5 bits; 0.0206, 0.0221, 0.0217 at 4/5 bits."""


@dataclass(frozen=True)
class Refit:
    """How one layer is refitted.

    anchor: (K, D), the weights from which its target starts: the dense ones, with removed inputs made up for
    kept_inputs: bool (C,); what stands in the others is no signal: batch norms behind removed filters divide by nothing
    solve: takes the layer's problem, and samples where they are asked for, and returns its weights, (K, D)
    coherence: of its output errors, as the profile found it
    sampled: whether samples are asked for
    """

    anchor: Tensor
    kept_inputs: Tensor
    solve: Callable[[Problem, Samples | None], Tensor]
    coherence: float = 0.0
    sampled: bool = False


class PairedPass(fx.Interpreter):
    """Runs a quantised network on a batch twice as long: the dense network's images first, then the compressed one's.

    Args:
        module: the working network, quantisers in place, weights those of the cached repairs.
        dense_weights: by module path, the weights before compression.
        refits: by module path, what refits a layer; layers that are not in it keep their weights.
        unnormed: module paths of layers that no batch norm follows, whose outputs' means are put right.
        spread: whether their outputs' spreads are put right too.
        seed: draws the positions at which inputs are sampled.
    """

    def __init__(
        self,
        module: fx.GraphModule,
        dense_weights: dict[str, Tensor],
        refits: dict[str, Refit],
        *,
        unnormed: Collection[str],
        spread: bool,
        seed: int,
    ) -> None:
        super().__init__(module)
        self.network = module
        self.nodes = {str(node.target): node for node in module.graph.nodes if node.op == "call_module"}
        self.additions = {target: addition_behind(module, self.nodes[target]) for target in refits}
        self.unnormed = unnormed
        self.spread = spread
        self.dense_weights = dense_weights
        self.refits = refits
        self.generator = torch.Generator().manual_seed(seed)

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Runs one module on both halves."""
        module = self.fetch_attr(target)
        if target in self.dense_weights:
            return self._layer(str(target), module, args[0])
        if hasattr(module, "chosen"):
            dense, compressed = args[0].chunk(2)
            return torch.cat((dense, module(compressed)))
        if isinstance(module, nn.BatchNorm2d):
            return _normed(module, *args[0].chunk(2))
        return super().call_module(target, args, kwargs)

    def _layer(self, target: str, layer: WeightLayer, inputs: Tensor) -> Tensor:
        dense_inputs, inputs_now = inputs.chunk(2)
        kept = layer.weight.detach().clone()
        layer.weight.copy_(self.dense_weights[target])
        dense = layer(dense_inputs)
        layer.weight.copy_(kept)
        if target in self.refits:
            refit, dense_weight = self.refits[target], self.dense_weights[target]
            pair = sampled_pair(layer, inputs, self.generator, self._lacking(target, dense))
            samples = (
                Samples(pair.compressed, behind(self.network, self.nodes[target], layer)) if refit.sampled else None
            )
            solved = refit.solve(paired_problem(dense_weight, pair, refit), samples)
            layer.weight.copy_(solved.reshape(layer.weight.shape))
        compressed = layer(inputs_now)
        if target in self.unnormed:
            compressed = _matched(dense, compressed, channel_axis(layer), self.spread)
        return torch.cat((dense, compressed))

    def _lacking(self, target: str, outputs: Tensor) -> Tensor | None:
        """Returns what a layer's outputs (N, K, P, Q) could make up for of what is added to them; None if nothing is.

        What is added is known where everything that it follows from has run.
        """
        addition = self.additions[target]
        value = None if addition is None else self._known(addition.other)
        if addition is None or value is None or value[: len(outputs)].shape != outputs.shape:
            return None
        dense, compressed = value.chunk(2)
        return addition.in_outputs(dense - compressed)

    def _known(self, node: fx.Node) -> Tensor | None:
        """Returns the value of a node that ran, or of functions of such nodes, as a shortcut's padding is."""
        value: Tensor | None = self.env.get(node)
        if value is not None or node.op != "call_function":
            return value
        read = {input_node: self._known(input_node) for input_node in node.all_input_nodes}
        if any(found is None for found in read.values()):
            return None
        before = dict(self.env)
        self.env.update(read)
        value = self.run_node(node)
        self.env = before
        return value


def _matched(dense: Tensor, compressed: Tensor, axis: int, spread: bool) -> Tensor:
    """Returns the compressed outputs with the dense mean, and where asked with a spread nearer to the dense one."""
    (dense_mean, dense_variance), (mean, variance) = (
        channel_statistics(dense, axis),
        channel_statistics(compressed, axis),
    )
    gain = spread_gain(dense_variance, variance) if spread else torch.ones_like(mean)
    return compressed * per_channel(gain, axis) + per_channel(dense_mean - gain * mean, axis)


def _normed(norm: nn.BatchNorm2d, dense: Tensor, compressed: Tensor) -> Tensor:
    """Returns both halves normalised, the compressed one with its own statistics relative to the dense one's."""
    mean, variance = running(norm).mean, running(norm).variance
    kept_mean, kept_variance = mean.clone(), variance.clone()
    normed = norm(dense)
    dense_mean, dense_variance = channel_statistics(dense)
    found_mean, found_variance = channel_statistics(compressed)
    spread = (found_variance / (dense_variance + SMALLEST_VARIANCE)).sqrt()
    mean.copy_(found_mean + (kept_mean - dense_mean) * spread)
    variance.mul_((found_variance + SMALLEST_VARIANCE) / (dense_variance + SMALLEST_VARIANCE))
    result = torch.cat((normed, norm(compressed)))
    mean.copy_(kept_mean)
    variance.copy_(kept_variance)
    return result


@dataclass(frozen=True)
class Pair:
    """Input vectors of one layer at the same positions of the same images, (G, n, D) in either network.

    dense_means, means: of every image over all positions, (G, images, D)
    lacking: what the outputs should make up for beside, (G, n, K / G), and its means, (G, images, K / G); of no outputs
        where there is nothing
    """

    dense: Tensor
    compressed: Tensor
    dense_means: Tensor
    means: Tensor
    lacking: tuple[Tensor, Tensor] | None = None

    @property
    def images(self) -> int:
        """How many images the vectors come from, as many of each."""
        return self.means.shape[1]

    def of(self, images: slice) -> Pair:
        """Returns the vectors of some images."""
        each = self.dense.shape[1] // self.images
        vectors = slice(images.start * each, images.stop * each)
        lacking = self.lacking and (self.lacking[0][:, vectors], self.lacking[1][:, images])
        parts = self.dense[:, vectors], self.compressed[:, vectors], self.dense_means[:, images], self.means[:, images]
        return Pair(*parts, lacking)


def sampled_pair(layer: nn.Module, inputs: Tensor, generator: torch.Generator, lacking: Tensor | None = None) -> Pair:
    """Returns sampled input vectors.

    Args:
        layer: convolution or linear
        inputs: (2 N, ...), the dense network's inputs and then the compressed one's, of the same images
        generator: draws the positions
        lacking: (N, K, P, Q), what the outputs should make up for beside
    """
    if not isinstance(layer, nn.Conv2d | nn.Linear):
        raise TypeError(f"a {type(layer).__name__} holds no weights to refit")
    groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
    wanted = samples_wanted(layer.weight[0].numel(), groups)
    chosen = sampled_positions(layer, inputs, max(1, -(-wanted // (inputs.shape[0] // 2))), generator)
    dense, compressed = unfolded_at(layer, inputs, chosen).chunk(2, dim=1)
    dense_means, means = window_means(layer, inputs).chunk(2, dim=1)
    return Pair(dense, compressed, dense_means, means, None if lacking is None else _by_group(lacking, groups, chosen))


def _by_group(outputs: Tensor, groups: int, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Returns outputs (N, K, P, Q) at chosen positions, (G, n, K / G), and their means, (G, N, K / G)."""
    count, channels = outputs.shape[:2]
    flat = outputs.reshape(count, channels, -1).transpose(1, 2)
    parts = (flat[:, chosen.to(flat.device)].reshape(-1, channels), flat.mean(1))
    at, means = (part.reshape(len(part), groups, -1).transpose(0, 1).contiguous() for part in parts)
    return at, means


def paired_problem(dense_weight: Tensor, pair: Pair, refit: Refit) -> Problem:
    """Returns the least-squares problem of a layer whose compressed inputs are to give the dense outputs.

    Args:
        dense_weight: its dense weights
        pair: its inputs
        refit: where the target starts, and which inputs there are
    """
    groups, _, columns = pair.dense.shape
    weight, start = (part.reshape(groups, -1, columns).transpose(1, 2) for part in (dense_weight, refit.anchor))
    whole = _normal(pair, weight, refit.coherence)
    alive = torch.arange(columns) if groups > 1 else _alive(whole.moment[0].diagonal(), refit.kept_inputs)
    alive = alive.to(weight.device)
    if not len(alive):
        return Problem(())
    factors, best = whole.only(alive).solved(start[:, alive])
    target = torch.lerp(start[:, alive], best, CORRECTION * held_out_step(pair, weight, start, refit.coherence, alive))
    return Problem((ProblemBlock(alive, factors, target),))


def _alive(diagonal: Tensor, kept_inputs: Tensor) -> Tensor:
    """Returns the columns (n,) of kept inputs that are not next to zero, by falling second moment."""
    order = torch.argsort(diagonal, descending=True, stable=True)
    kept = kept_inputs.repeat_interleave(len(diagonal) // len(kept_inputs))
    return order[(kept & (diagonal > DEAD * diagonal[kept].mean()))[order]]


@dataclass(frozen=True)
class Normal:
    """Normal equations of a layer's weights: moment E[x' x'^T], (G, D, D), and product E[x' x^T] W, (G, D, K / G)."""

    moment: Tensor
    product: Tensor

    def only(self, columns: Tensor) -> Normal:
        """Returns the equations of some columns."""
        return Normal(self.moment[:, columns][:, :, columns], self.product[:, columns])

    def solved(self, start: Tensor) -> tuple[Factors, Tensor]:
        """Returns the factors and (H + damping)^-1 (product + damping * start)."""
        factors = factorise(self.moment)
        return factors, factors.inverse @ (self.product + factors.damping[:, None, None] * start)


def _normal(pair: Pair, weight: Tensor, coherence: float) -> Normal:
    moment, cross = _moments(pair, coherence)
    product = cross @ weight
    if pair.lacking is not None:
        product += _with_lacking(pair.compressed, pair.lacking[0], pair.images)
        if coherence > 0.0:
            product += coherence * _with_lacking(pair.means, pair.lacking[1], pair.images)
    return Normal(moment, product)


def _with_lacking(inputs: Tensor, lacking: Tensor, images: int) -> Tensor:
    """Returns the covariance of inputs (G, n, D) with what is lacking (G, n, K / G), shrunk as that of the inputs."""
    inputs, lacking = (values - values.mean(1, keepdim=True) for values in (inputs, lacking))
    _, share = summed(inputs, images).covariance()
    return (1.0 - share)[:, None, None] * (inputs.transpose(1, 2) @ lacking / inputs.shape[1])


def held_out_step(pair: Pair, weight: Tensor, start: Tensor, coherence: float, columns: Tensor) -> float:
    """Returns how far, 0 to 1, weights should go towards the least-squares ones of one half of the images.

    The step that loses least on the other half, for both halves together: few images leave least squares free to
    explain what only they contain.
    """
    half = pair.images // 2
    if not half:
        return 0.0
    parts = pair.of(slice(0, half)), pair.of(slice(half, 2 * half))
    first, second = (_normal(part, weight, coherence).only(columns) for part in parts)
    anchor, gain, curvature = start[:, columns], 0.0, 0.0
    for own, other in ((first, second), (second, first)):
        step = own.solved(anchor)[1] - anchor
        gain += float((step * (other.product - other.moment @ anchor)).sum(dtype=torch.float64))
        curvature += float((step * (other.moment @ step)).sum(dtype=torch.float64))
    return min(max(gain / curvature, 0.0), 1.0) if curvature > 0.0 else 0.0


def _moments(pair: Pair, coherence: float) -> tuple[Tensor, Tensor]:
    """Returns E[x' x'^T] and E[x' x^T] about the means, (G, D, D), in the metric of the profile's moments.

    `MEAN_SHARE` of the means stays.
    """
    dense_mean, mean = pair.dense.mean(1, keepdim=True), pair.compressed.mean(1, keepdim=True)
    own, cross = _covariances(pair.dense - dense_mean, pair.compressed - mean, pair.images)
    if coherence > 0.0:
        of_means = _covariances(pair.dense_means - dense_mean, pair.means - mean, pair.images)
        own, cross = own + coherence * of_means[0], cross + coherence * of_means[1]
    means = MEAN_SHARE * mean.transpose(1, 2)
    return own + means * mean, cross + means * dense_mean


def _covariances(dense: Tensor, compressed: Tensor, images: int) -> tuple[Tensor, Tensor]:
    """Returns the covariance of compressed vectors, and theirs with the dense ones, (G, D, D).

    Both are shrunk by the share that is chance in the first, so that equal inputs still ask for equal weights.
    """
    covariance, share = summed(compressed, images).covariance()
    cross = compressed.transpose(1, 2) @ dense / compressed.shape[1]
    cross -= compressed.mean(1)[:, :, None] * dense.mean(1)[:, None, :]
    return shrunk(covariance, share), shrunk(cross, share)


def can_refit(layer: WeightLayer) -> bool:
    """Returns whether the moments of a layer's inputs are kept as one block."""
    return layer.weight[0].numel() <= LARGEST_MOMENT
