"""The weights of one layer under one scheme: pruned, rounded, and refitted in closed form to lose least.

What is minimised is 0.5 * sum_k fisher_k * (w_k - w0_k) H (w_k - w0_k)^T, H the second moments of the layer's inputs
about their mean: a shift of the output's mean is repaired by batch-norm re-estimation or by the bias.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from compress.cache import ByteCache
from compress.criteria import norm_scores, set_costs, spliced_scores, sum_blocks
from compress.exchange import exchanged, round_flops
from compress.left import Left
from compress.masks import KeptChannels
from compress.problem import MEAN_SHARE, Problem, ProblemBlock, build_problem, outputs_left
from compress.profile import LayerProfile
from compress.prune import Partition, groups_of, partition, select
from compress.quantize import DEFAULT_WEIGHTS, SMALLEST_SCALE, WeightGrid, WeightQuantiser, weight_grid, weight_levels
from compress.rounding import Effort, Piece, round_pieces
from compress.solver import Grid, masked_least_squares, quadratic_error
from plan.layer import Layer
from plan.scheme import STRUCTURED, Dense, Method, NofM

BoolArray = NDArray[np.bool_]
ITERATIONS, ROUGH_ITERATIONS = 24, 8
"""Conjugate-gradient steps of the last refit, and of those between the rounds of a growing mask."""
REFIT_FLOPS = 6e9
"""Work that growing a mask, or refitting under the last one, may take, a fraction of a second: large layers grow their
masks in fewer rounds and stop refitting earlier."""
FEWEST_ROUNDS, EXCHANGED_ROUNDS = 2, 4
"""Rounds in which large masks grow at least, and those whose weights are exchanged afterwards at most."""
EXCHANGE_FLOPS = 2e10
"""Work that exchanges of kept for removed weights may take, up to a second: large layers go without."""
SCALE_BITS = 6
"""Widest weights whose scales are refitted: the rounding error of wider ones is lost among the others."""
SCALE_FLOPS = 1e9
"""Work of one product beyond which a layer's scales are not refitted: each refit costs a pass of descent."""
NO_INTERCEPT = 1.0
"""Share of the squared input mean in the metric of feature-map reconstruction, which refits without an intercept."""
FISHER_FLOOR = 1.0
"""Added to every output's Fisher information, in means of the layer, when units compete across outputs: nearly equal
terms. On ResNet-20 at 60 % element sparsity the divergence from the dense network falls by a sixth against 0.1."""


@dataclass(frozen=True)
class Request:
    """What is asked of one layer: the channels that are left, the method, its density, and the weights' width."""

    kept: KeptChannels
    method: Method
    density: float
    weight_bits: int


@dataclass(frozen=True)
class RepairOptions:
    """Which closed-form repairs run.

    update: refit what is left (masked least squares, rounding in order, descent); without it weights are pruned and
        rounded as they are
    rounds: steps in which a second-order mask is grown at most, weights refitted between them
    exchanges: rounds in which weights of a second-order n:m mask are exchanged at most
    passes: of coordinate descent after rounding
    scales: times that the scales are refitted to the levels at up to 6 bits, each followed by a pass of descent
    starts: scales that this begins from, the best end taken for every output
    signed: whether scales of weights up to 3 bits may be negative, so that the extra level is where it is of use
    quantiser: how the levels of weights are placed
    """

    update: bool = True
    rounds: int = 10
    exchanges: int = 5
    passes: int = 1
    scales: int = 2
    starts: int = 2
    signed: bool = True
    quantiser: WeightQuantiser = DEFAULT_WEIGHTS


@dataclass(frozen=True)
class RepairedLayer:
    """A layer's weights as they are stored.

    levels: int8 (K, D), int16 above 8 bits or with zero points, zero where removed
    scale: float32 (K,), some negative at up to 3 bits
    packed_mask: uint8 (K, ceil(D / 8)), a bit per weight that is kept; bits: width
    zero_point: int64 (K,), what is added to a level where it is stored; None where all are 0
    """

    levels: NDArray[np.int8] | NDArray[np.int16]
    scale: NDArray[np.float32]
    packed_mask: NDArray[np.uint8]
    bits: int
    zero_point: NDArray[np.int64] | None = None

    @property
    def mask(self) -> BoolArray:
        """Which weights are kept, bool (K, D)."""
        return np.unpackbits(self.packed_mask, axis=1, count=self.levels.shape[1]).astype(np.bool_)

    @property
    def weight(self) -> NDArray[np.float32]:
        """The weights, float32 (K, D)."""
        weight: NDArray[np.float32] = self.levels * self.scale[:, None]
        return weight

    @property
    def nbytes(self) -> int:
        """Memory taken, bytes."""
        return self.levels.nbytes + self.scale.nbytes + self.packed_mask.nbytes


DEFAULT_REPAIR = RepairOptions()


class LayerRepair:
    """Repairs one layer under any scheme; the factors of its moments come from a cache shared by all layers."""

    def __init__(self, layer: Layer, stats: LayerProfile, problems: ByteCache[Problem], options: RepairOptions) -> None:
        self.layer = layer
        self.stats = stats
        self.problems = problems
        self.options = options
        self.groups = layer.groups
        self.apart = layer.groups == 1 and options.quantiser.per_channel and options.quantiser.symmetric
        self.weight = torch.from_numpy(stats.weight)

    def repair(self, request: Request) -> RepairedLayer:
        """Returns the layer's weights under the request.

        Raises:
            MismatchError: a convolution with several groups keeps unequal numbers of channels in them.
        """
        left = Left.of(self.layer, request.kept)
        rebuilds = request.method.algorithm == "fm-reconstruction"
        if not self.options.update:
            mask = left.spread(self._mask_of(request, left, self.weight))
            weight = self._targets(self._problem(request.kept.inputs, NO_INTERCEPT)) if rebuilds else self.weight
            return self._finish(weight * mask * request.kept.output_gain, mask, request.weight_bits, None)
        problem = self._problem(request.kept.inputs, NO_INTERCEPT if rebuilds else MEAN_SHARE)
        mask, weight = self._refitted(request, left, problem)
        return self._finish(weight, mask, request.weight_bits, problem)

    def target(self, kept_inputs: BoolArray) -> Tensor:
        """Returns the dense weights (K, D) with removed inputs, bool (C,), made up for by those that stay."""
        return self._targets(self._problem(kept_inputs))

    def refit(self, problem: Problem, found: RepairedLayer) -> tuple[RepairedLayer, Tensor]:
        """Returns a repaired layer refitted and rounded anew to another problem, under the mask that it has.

        Second come the refitted weights before they were rounded, (K, D).
        """
        mask = torch.from_numpy(found.mask)
        weight = self._solve(self._targets(problem), mask, problem, _iterations(problem))
        return self._finish(weight, mask, found.bits, problem), weight

    def error(self, repaired: RepairedLayer, kept_outputs: BoolArray) -> float:
        """Returns the expected loss increase, 0.5 * sum_k fisher_k * d_k H d_k^T.

        Inherited input removals count; removed outputs, bool (K,), do not: their readers are charged for them.
        """
        difference = torch.from_numpy(repaired.weight) - self.weight
        fisher = torch.from_numpy(self.stats.fisher * kept_outputs).reshape(self.groups, -1)
        total = 0.0
        for block in self._problem(np.ones(self.layer.C, dtype=bool)).blocks:
            part = self._gather(difference, block)
            rows = quadratic_error(part, block.factors.moment) - block.factors.damping[:, None] * part.square().sum(1)
            total += 0.5 * float((rows * fisher).sum(dtype=torch.float64))
        return total

    def _problem(self, kept_inputs: BoolArray, mean_share: float = MEAN_SHARE) -> Problem:
        return self.problems.get(
            (self.layer.name, kept_inputs.tobytes(), mean_share),
            lambda: build_problem(self.layer, self.stats, kept_inputs, mean_share),
        )

    def _refitted(self, request: Request, left: Left, problem: Problem) -> tuple[Tensor, Tensor]:
        """Returns the mask, bool (K, D), and the weights refitted under it, both in dense coordinates."""
        weight = self._targets(problem)
        granularity = request.method.granularity
        if isinstance(granularity, Dense) or granularity.kind in STRUCTURED:
            mask = left.spread(torch.ones(left.shape.rows, left.shape.columns, dtype=torch.bool))
            return mask, self._solve(weight, mask, problem, _iterations(problem)) if self.groups > 1 else weight * mask
        if request.method.algorithm not in ("second-order", "splicing"):
            mask = left.spread(self._mask_of(request, left, self.weight))
            return mask, self._solve(weight, mask, problem, _iterations(problem))
        mask, current = self._grown(request, left, problem)
        if isinstance(granularity, NofM) and self._exchanges(request.method):
            grown, mask = mask, self._exchanged(mask, granularity, left, problem)
            if mask is not grown:
                current = self._solve(current, mask, problem, _iterations(problem))
        return mask, current

    def _grown(self, request: Request, left: Left, problem: Problem) -> tuple[Tensor, Tensor]:
        """Returns a mask that grew in rounds, each refitted to the one before, and the weights refitted under it."""
        granularity, rounds = request.method.granularity, self._rounds(problem)
        if self._exchanges(request.method):
            rounds = min(rounds, EXCHANGED_ROUNDS)
        cut, current = partition(granularity, left.shape), self._targets(problem)
        mask = left.spread(torch.ones(left.shape.rows, left.shape.columns, dtype=torch.bool))
        for step in range(1, rounds + 1):
            if request.method.algorithm == "splicing":
                scores = spliced_scores(left.take(self._released(current, problem)), left.take(mask))
            else:
                scores = self._costs(current, left, cut, problem)
            share = 1 - (1 - step / rounds) ** 2
            kept = select(
                scores, granularity=granularity, cut=cut, shape=left.shape, density=request.density, share=share
            )
            mask = left.spread(torch.from_numpy(kept))
            current = self._solve(current, mask, problem, _iterations(problem) if step == rounds else ROUGH_ITERATIONS)
        return mask, current

    def _exchanged(self, mask: Tensor, granularity: NofM, left: Left, problem: Problem) -> Tensor:
        """Returns the mask, bool (K, D), after as many rounds of exchanges as are asked for and affordable.

        Single weights compete in the whole layer and their masks grow well: exchanges within outputs would bring the
        outputs of ResNet-20 at 60 % a fourteenth nearer to the dense ones, and cost seconds at every new density.
        """
        own, together = left.take(mask), self.groups == len(problem.blocks) == 1
        rounds = min(self.options.exchanges, int(EXCHANGE_FLOPS / max(round_flops(own), 1.0))) if together else 0
        if not rounds:
            return mask
        inverse = problem.blocks[0].inverse_of(torch.from_numpy(left.columns[0]))
        pools = torch.from_numpy(groups_of(granularity, left.shape))
        return left.spread(exchanged(own, left.take(self._targets(problem)), inverse, pools, rounds))

    def _exchanges(self, method: Method) -> bool:
        """Returns whether weights of a mask are exchanged after it has grown."""
        return (
            isinstance(method.granularity, NofM) and method.algorithm == "second-order" and self.options.exchanges > 0
        )

    def _released(self, weight: Tensor, problem: Problem) -> Tensor:
        """Returns refitted weights (K, D), each removed one at the value it would take if it alone came back."""
        released = weight.clone()
        for block in problem.blocks:
            own = self._gather(weight, block)
            diagonal = block.factors.moment.diagonal(dim1=-2, dim2=-1)[..., None]
            best = own - block.factors.moment @ (own - block.target) / diagonal
            found = torch.where(own == 0, best, own)
            released[:, block.columns] = found.transpose(1, 2).reshape(self.layer.K, -1)
        return released

    def _rounds(self, problem: Problem) -> int:
        """Returns in how many steps a mask grows: as asked, fewer where a refit is dear."""
        affordable = int(REFIT_FLOPS / (ROUGH_ITERATIONS * problem.product_flops))
        return min(self.options.rounds, max(affordable, FEWEST_ROUNDS))

    def _mask_of(self, request: Request, left: Left, weight: Tensor) -> Tensor:
        """Returns the mask of the tensor that is left, ranked by norms, or by costs on the untouched weights."""
        granularity = request.method.granularity
        if isinstance(granularity, Dense) or granularity.kind in STRUCTURED:
            return torch.ones(left.shape.rows, left.shape.columns, dtype=torch.bool)
        cut = partition(granularity, left.shape)
        if request.method.algorithm == "second-order":
            scores = self._costs(weight, left, cut, self._problem(request.kept.inputs))
        else:
            rule = "level" if request.method.algorithm == "splicing" else request.method.algorithm
            scores = norm_scores(left.take(weight), cut, rule)  # splicing without refits is level
        return torch.from_numpy(
            select(scores, granularity=granularity, cut=cut, shape=left.shape, density=request.density)
        )

    def _costs(self, weight: Tensor, left: Left, cut: Partition, problem: Problem) -> NDArray[np.float64]:
        """Returns what removing each unit costs, float64 (n_blocks, n_sets)."""
        total = torch.zeros(self.layer.K, cut.n_sets)
        for block in problem.blocks:
            columns = block.columns.numpy()
            for g in range(self.groups):
                sets = left.sets(g, cut)[columns]
                rows = slice(g * self.layer.K // self.groups, (g + 1) * self.layer.K // self.groups)
                factors = block.factors
                costs = set_costs(
                    weight[rows][:, block.columns], factors.inverse[g], factors.moment[g], sets, cut.n_sets + 1
                )
                total[rows] += costs[:, : cut.n_sets]
        fisher = torch.from_numpy(self.stats.fisher)
        fisher = fisher + FISHER_FLOOR * fisher.mean() + 1e-30
        costs = (total * fisher[:, None])[torch.from_numpy(left.rows)].double()
        return sum_blocks(costs, cut.row_block).numpy()

    def _targets(self, problem: Problem) -> Tensor:
        """Returns the targets of all blocks in dense coordinates (K, D); dead columns keep their weights."""
        weight = self.weight.clone()
        for block in problem.blocks:
            weight[:, block.columns] = block.target.transpose(1, 2).reshape(self.layer.K, -1)
        return weight

    def _solve(self, start: Tensor, mask: Tensor, problem: Problem, iterations: int) -> Tensor:
        """Returns the weights refitted under the mask, (K, D), beginning from a first guess (K, D)."""
        solution, rows = start * mask, outputs_left(mask, self.apart)
        for block in problem.for_outputs(rows).blocks:
            free = self._gather(mask[rows], block).float()
            found = masked_least_squares(
                block.target, free, block.factors.moment, start=self._gather(start[rows], block), iterations=iterations
            )
            solution[rows[:, None], block.columns] = found.transpose(1, 2).reshape(len(rows), -1)
        return solution

    def _gather(self, values: Tensor, block: ProblemBlock) -> Tensor:
        """Returns the columns of a block, (G, d, K / G), of values (K, D)."""
        return values[:, block.columns].reshape(self.groups, -1, len(block.columns)).transpose(1, 2).contiguous()

    def _finish(self, weight: Tensor, mask: Tensor, bits: int, problem: Problem | None) -> RepairedLayer:
        """Rounds what is left of the weights, in order and with descent where there is a problem to solve."""
        rows, small = outputs_left(mask, self.apart), bits <= 8 and self.options.quantiser.symmetric
        part = None if problem is None else problem.for_outputs(rows)
        levels, grid = self._rounded(weight[rows], mask[rows], bits, part, self._scales(bits, problem))
        stored = torch.zeros(mask.shape, dtype=torch.int8 if small else torch.int16)
        stored[rows] = levels.to(stored.dtype)
        scale = torch.full((self.layer.K,), SMALLEST_SCALE).index_copy_(0, rows, grid.scale.reshape(-1))
        zero_point = None if grid.zero_point is None else grid.zero_point.reshape(-1).long().numpy()
        return RepairedLayer(stored.numpy(), scale.numpy(), np.packbits(mask.numpy(), axis=1), bits, zero_point)

    def _rounded(
        self, weight: Tensor, mask: Tensor, bits: int, own: Problem | None, scales: int
    ) -> tuple[Tensor, Grid]:
        """Returns the levels (n, D) of weights (n, D), and the grid that they are on."""
        quantiser, blocks = self.options.quantiser, () if own is None else own.blocks
        levels_of = weight_grid(weight, bits, self._importance(own), quantiser, signed=self.options.signed)
        levels = (weight / levels_of.scale[:, None]).round().clamp(levels_of.low[:, None], levels_of.high[:, None])
        pieces = [Piece(block, self._gather(weight, block), self._gather(mask, block).float()) for block in blocks]
        effort = Effort(self.options.passes, scales, self.options.starts if scales else 1)
        grid, found = round_pieces(pieces, self._grid(levels_of, bits), effort)
        for piece, multiples in zip(pieces, found, strict=True):
            levels[:, piece.block.columns] = multiples.transpose(1, 2).reshape(len(weight), -1)
        return levels * mask, grid

    def _scales(self, bits: int, problem: Problem | None) -> int:
        """Returns how often scales are refitted: as asked for narrow weights of small layers, a scale per output."""
        narrow = bits <= SCALE_BITS and self.options.quantiser.per_channel
        return self.options.scales if narrow and problem is not None and problem.product_flops <= SCALE_FLOPS else 0

    def _grid(self, levels: WeightGrid, bits: int) -> Grid:
        """Returns the levels as the solver takes them, by convolution group."""
        scale = levels.scale.reshape(self.groups, -1)
        zero_point = None if self.options.quantiser.symmetric else levels.zero_point.reshape(self.groups, -1)
        return Grid(scale, *weight_levels(bits), zero_point)

    def _importance(self, problem: Problem | None) -> Tensor:
        """Returns the weight of every column's squared rounding error, (K, D) or (1, D)."""
        if problem is None:
            return torch.ones(1, self.weight.shape[1])
        importance = torch.zeros(self.groups, self.weight.shape[1])
        for block in problem.blocks:
            importance[:, block.columns] = block.factors.moment.diagonal(dim1=-2, dim2=-1)
        return importance.repeat_interleave(self.layer.K // self.groups, 0) if self.groups > 1 else importance


def _iterations(problem: Problem) -> int:
    """Returns how many steps the last refit takes at most."""
    return min(ITERATIONS, max(int(REFIT_FLOPS / problem.product_flops), ROUGH_ITERATIONS))
