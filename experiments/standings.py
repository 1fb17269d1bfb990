"""What the cells of the arena come to: means with 95 % intervals over seeds, hypervolumes, and courses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from experiments.cells import Cell, Point
from plan.assignment import FloatArray

LARGEST_DROP = 5.0
"""Hypervolumes are taken within 0 to 5 points and 0 to the dense network's objective, as a share of that box."""


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its 95 % interval by Student's t (infinitely wide for one seed), and how many seeds."""

    mean: float
    half_width: float
    seeds: int

    def text(self, scale: float = 1.0, digits: int = 1) -> str:
        """Returns `61.2 +- 0.8`, the interval left out for one seed."""
        mean = f"{scale * self.mean:.{digits}f}"
        return mean if not np.isfinite(self.half_width) else f"{mean} ± {scale * self.half_width:.{digits}f}"


@dataclass(frozen=True)
class Standing:
    """One contestant on one network.

    Attributes:
        saved: fraction of the objective saved by the best measured plan at each drop limit, None where no seed has one.
        final_saved, test_drop: of the final plan, chosen on all validation images.
        hypervolume: of the measured frontier.
        union_share: that hypervolume against the one of all contestants' frontiers on the network together.
        evaluations, seconds: spent.
    """

    net: str
    contestant: str
    mode: str
    saved: dict[float, Estimate | None]
    final_saved: Estimate | None
    test_drop: Estimate | None
    hypervolume: Estimate
    union_share: Estimate
    evaluations: float
    seconds: Estimate


def estimate(values: Sequence[float]) -> Estimate:
    """Returns mean and interval of one value per seed."""
    found = np.asarray(values, dtype=np.float64)
    if len(found) < 2:
        return Estimate(float(found.mean()), float("inf"), len(found))
    width = float(stats.t.ppf(0.975, len(found) - 1) * found.std(ddof=1) / np.sqrt(len(found)))
    return Estimate(float(found.mean()), width, len(found))


def union_hypervolumes(cells: Iterable[Cell]) -> dict[str, float]:
    """Returns for every network the hypervolume of the frontier that all its cells have together."""
    points: dict[str, list[Point]] = {}
    for cell in cells:
        points.setdefault(cell.net, []).extend(cell.points)
    return {net: hypervolume(own) for net, own in points.items()}


def standing(cells: Sequence[Cell], drops: Sequence[float], union: float) -> Standing:
    """Returns how a contestant stands on a network, from one cell per seed.

    A limit is only counted where every seed has a plan that keeps it: a mean over the lucky ones would mislead.

    Args:
        cells: of one contestant on one network.
        drops: limits on the drop, points.
        union: hypervolume of all contestants' frontiers on the network together (`union_hypervolumes`).
    """
    first, volumes = cells[0], [hypervolume(cell.points) for cell in cells]
    final = [cell for cell in cells if cell.objective is not None]
    whole = len(final) == len(cells)
    return Standing(
        net=first.net,
        contestant=first.contestant,
        mode=first.mode,
        saved={drop: _saved(cells, drop) for drop in drops},
        final_saved=estimate([1.0 - float(cell.objective or 0.0) for cell in final]) if whole else None,
        test_drop=estimate([float(cell.test_drop or 0.0) for cell in final]) if whole else None,
        hypervolume=estimate(volumes),
        union_share=estimate([volume / union if union > 0 else 1.0 for volume in volumes]),
        evaluations=float(np.mean([len(cell.points) for cell in cells])),
        seconds=estimate([cell.seconds for cell in cells]),
    )


def _saved(cells: Sequence[Cell], drop: float) -> Estimate | None:
    best = [best_objective(cell.points, drop) for cell in cells]
    return None if None in best else estimate([1.0 - float(value or 0.0) for value in best])


def best_objective(points: Iterable[Point], drop: float) -> float | None:
    """Returns the least objective of plans within a measured drop, None where there is none."""
    return min((point.objective for point in points if point.drop_points <= drop), default=None)


def hypervolume(points: Iterable[Point]) -> float:
    """Returns the share of the box of drops up to 5 points and objectives up to 1 that plans dominate."""
    inside = [
        (max(p.drop_points, 0.0), p.objective) for p in points if p.drop_points < LARGEST_DROP and p.objective < 1
    ]
    area, height = 0.0, 1.0
    for drop, objective in sorted(inside):
        if objective < height:
            area += (LARGEST_DROP - drop) * (height - objective)
            height = objective
    return area / LARGEST_DROP


def course(cells: Sequence[Cell], drop: float, *, by_seconds: bool) -> tuple[FloatArray, FloatArray]:
    """Returns where the best so far may change, and the mean saving there over seeds, nan before all have one."""
    tracks = []
    for cell in cells:
        at = np.array([point.seconds if by_seconds else float(point.evaluations) for point in cell.points])
        kept = [1.0 - point.objective if point.drop_points <= drop else -np.inf for point in cell.points]
        tracks.append((at, np.maximum.accumulate(np.array(kept))))
    places = np.unique(np.concatenate([at for at, _ in tracks]))
    values = []
    for at, best in tracks:
        row = np.searchsorted(at, places, side="right") - 1
        values.append(np.where(row >= 0, best[np.maximum(row, 0)], -np.inf))
    found = np.stack(values).min(axis=0)
    mean = np.mean(np.where(np.isfinite(found), np.stack(values), 0.0), axis=0)
    return places, np.where(np.isfinite(found), mean, np.nan)
