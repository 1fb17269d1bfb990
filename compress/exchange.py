"""Kept weights exchanged for removed ones of the same group where the refitted error of their output falls.

A mask that keeps n of every m weights is rarely the best one after it grew. For one output with the weights P
removed and V = H^-1 of the layer, everything about the best refit follows from S = (V_PP)^-1 (Hassibi and Stork 1993,
"Second order derivatives for network pruning", for several weights at once): it loses t_P S t_P; a kept weight is
w_q = t_q - V_qP S t_P, and removing it too costs w_q^2 / (V_qq - V_qP S V_Pq); bringing p back gains
(S t_P)_p^2 / S_pp. Pairs of both are exchanged, and an output whose error did not fall takes its last exchanges back.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

SHARE, SMALLER = 0.3, 1 / 3
"""Share of an output's promising exchanges that is made at once, and by how much it falls where the error did not fall:
exchanges that are each for the good may together do harm."""
ENOUGH = 1e-3
"""An output whose error fell by a smaller share in a round stays as it is: 10 % of the time for 0.1 % of the error."""
AT_ONCE = 1 << 20
"""Numbers of all outputs' matrices that are worked on at once, 4 MB: what a core keeps at hand."""
TINY = 1e-30


def exchanged(mask: Tensor, target: Tensor, inverse: Tensor, pools: Tensor, rounds: int) -> Tensor:
    """Returns a mask that keeps as many weights of every output in every pool, and after a refit loses no more.

    Args:
        mask: bool (K, D), True = kept, as many in every row
        target: (K, D), the weights that refitted ones should come near to
        inverse: (D, D), of the layer's moments
        pools: int64 (pools, m), the columns that may be exchanged with each other, filled up with D
        rounds: of exchanges
    """
    if bool(mask.all()):
        return mask
    size = max(1, AT_ONCE // inverse.numel())
    parts = zip(torch.split(mask, size), torch.split(target, size), strict=True)
    return torch.cat([_exchanged(part, own, inverse, pools, rounds) for part, own in parts])


def _exchanged(mask: Tensor, target: Tensor, inverse: Tensor, pools: Tensor, rounds: int) -> Tensor:
    """Does the work of `exchanged` on a few outputs, (k, D)."""
    best, trial = mask.clone(), mask.clone()
    least, share = torch.full((len(mask),), torch.inf), torch.full((len(mask),), SHARE)
    offers = _Offers.none(len(mask), len(pools))
    active = torch.arange(len(mask))
    for number in range(rounds + 1):
        found = _Refit.of(trial[active], target[active], inverse)
        fell = found.error < least[active]
        done = fell & (found.error > (1 - ENOUGH) * least[active])
        better, worse = active[fell], active[~fell]
        best[better], least[better] = trial[better], found.error[fell]
        if number == rounds:
            break
        share[worse] *= SMALLER
        offers.put(active, found.offers(pools, share[active]), fell)
        trial[active] = offers.accepted(active, best[active])
        active = active[~done & (trial[active] != best[active]).any(1)]
        if not len(active):
            break
    return best


@dataclass(frozen=True)
class _Offers:
    """Exchanges offered to every output, one in each pool.

    out, back: int64 (K, pools), the columns that leave and come back; rank: (K, pools), 0 for the best; wanted: (K,),
    how many are made at once
    """

    out: Tensor
    back: Tensor
    rank: Tensor
    wanted: Tensor

    @classmethod
    def none(cls, rows: int, pools: int) -> _Offers:
        """Returns no offers yet."""
        nothing = torch.zeros(rows, pools, dtype=torch.int64)
        return cls(nothing, nothing.clone(), nothing.clone(), torch.zeros(rows, dtype=torch.int64))

    def put(self, rows: Tensor, new: _Offers, fresh: Tensor) -> None:
        """Replaces the offers of some rows where they are fresh, bool (n,); of the others fewer are made at once."""
        own = rows[fresh]
        self.out[own], self.back[own], self.rank[own] = new.out[fresh], new.back[fresh], new.rank[fresh]
        self.wanted[own] = new.wanted[fresh]
        self.wanted[rows[~fresh]] = (self.wanted[rows[~fresh]] * SMALLER).long()

    def accepted(self, rows: Tensor, mask: Tensor) -> Tensor:
        """Returns the mask (n, D) of some rows after the best of their offers."""
        made = self.rank[rows] < self.wanted[rows][:, None]
        row = torch.arange(len(rows))[:, None].expand_as(made)
        mask = mask.clone()
        mask[row[made], self.out[rows][made]] = False
        mask[row[made], self.back[rows][made]] = True
        return mask


def round_flops(mask: Tensor) -> float:
    """Returns about how much work a round of exchanges on a mask (K, D) is."""
    removed = float((~mask[:1]).sum())
    return len(mask) * removed**2 * (2.0 * mask.shape[1] - removed)


@dataclass(frozen=True)
class _Refit:
    """Every output refitted under its mask. With V_PP = L L^T, whatever S = L^-T L^-1 is asked for follows from L^-1.

    mask: bool (K, D); removed: int64 (K, p) and kept: int64 (K, s), their columns; across: (K, p, s), L^-1 V_PS;
    inner: (K, p, p), L^-1; own: (K, p), S_pp; pull: (K, p), S t_P; error: (K,); weight, spare: (K, s), w_q and
    V_qq - V_qP S V_Pq
    """

    mask: Tensor
    removed: Tensor
    kept: Tensor
    across: Tensor
    inner: Tensor
    own: Tensor
    pull: Tensor
    error: Tensor
    weight: Tensor
    spare: Tensor

    @classmethod
    def of(cls, mask: Tensor, target: Tensor, inverse: Tensor) -> _Refit:
        """Returns the refit to targets (K, D), in the metric with this inverse (D, D), under a mask (K, D)."""
        removed, kept = _columns(~mask), _columns(mask)
        size = removed.shape[1]
        rows = inverse.index_select(0, removed.reshape(-1)).reshape(len(mask), size, -1)
        blocks = rows.gather(2, torch.cat((removed, kept), 1)[:, None].expand(-1, size, -1))
        inner = _inverse_root(blocks[:, :, :size])
        across = inner @ blocks[:, :, size:]
        reduced = inner @ target.gather(1, removed)[..., None]
        pull = (inner.transpose(1, 2) @ reduced)[..., 0]
        weight = target.gather(1, kept) - (across.transpose(1, 2) @ reduced)[..., 0]
        spare = (inverse.diagonal()[kept] - across.square().sum(1)).clamp_min_(TINY)
        own, error = inner.square().sum(1), reduced[..., 0].square().sum(1)
        return cls(mask, removed, kept, across, inner, own, pull, error, weight, spare)

    def offers(self, pools: Tensor, share: Tensor) -> _Offers:
        """Returns the most promising exchange of every pool; a share (K,) of those that promise anything is wanted."""
        cost = self._laid_out(self.kept, self.weight.square() / self.spare, torch.inf)
        gain = self._laid_out(self.removed, self.pull.square() / self.own, -torch.inf)
        least, leaving = cost[:, pools].min(2)
        most, coming = gain[:, pools].max(2)
        number = torch.arange(len(pools))
        out, back = pools[number, leaving], pools[number, coming]
        change = self._change(self._place(self.kept, out), self._place(self.removed, back))
        change = torch.where(torch.isfinite(least) & torch.isfinite(most), change, torch.inf)
        wanted = ((change < 0).sum(1) * share).ceil().long()
        return _Offers(out, back, change.argsort(1).argsort(1), wanted)

    def _laid_out(self, columns: Tensor, values: Tensor, elsewhere: float) -> Tensor:
        """Returns values (K, n) at their columns (K, n), one value everywhere else, (K, D + 1)."""
        laid = torch.full((len(values), self.mask.shape[1] + 1), elsewhere)
        return laid.scatter_(1, columns, values)

    def _place(self, columns: Tensor, wanted: Tensor) -> Tensor:
        """Returns where wanted columns (K, n) stand in a row of columns, 0 where they do not."""
        place = torch.zeros(len(columns), self.mask.shape[1] + 1, dtype=torch.int64)
        place.scatter_(1, columns, torch.arange(columns.shape[1]).expand_as(columns))
        return place.gather(1, wanted)

    def _change(self, out: Tensor, back: Tensor) -> Tensor:
        """Returns by how much errors change (K, n) when one weight leaves and one comes back, each pair by itself.

        Args:
            out: places in `kept`, (K, n)
            back: places in `removed`, (K, n)
        """
        row = torch.arange(len(out))[:, None]
        reach = (self.across[row, :, out] * self.inner[row, :, back]).sum(2)
        own, pull = self.own.gather(1, back), self.pull.gather(1, back)
        weight = self.weight.gather(1, out) + reach * pull / own
        spare = self.spare.gather(1, out) + reach.square() / own
        return weight.square() / spare - pull.square() / own


def _inverse_root(matrices: Tensor) -> Tensor:
    """Returns L^-1 of positive definite matrices L L^T, (K, p, p) both."""
    lower = torch.linalg.cholesky(matrices)
    identity = torch.eye(lower.shape[-1]).expand_as(lower)
    root: Tensor = torch.linalg.solve_triangular(lower, identity, upper=False)
    return root


def _columns(chosen: Tensor) -> Tensor:
    """Returns the chosen columns of every row of a bool (K, D), as many in each, int64 (K, n)."""
    return chosen.nonzero()[:, 1].reshape(len(chosen), -1)
