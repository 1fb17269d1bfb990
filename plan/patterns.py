"""The positions of a 3 x 3 kernel that pattern pruning keeps: eight shapes of four positions, eight of five.

Positions are numbered row by row, 4 is the centre, which every pattern keeps. Four positions: the 2 x 2 squares at the
corners, whose sum is a Gaussian filter, and the T-shapes, whose sum is a Laplacian of Gaussian (Ma et al., PCONV, AAAI
2020, section on sparse convolution patterns; among the natural patterns of Niu et al., PatDNN, ASPLOS 2020). Five
positions: every union of a square with a T-shape that has three positions in common with it.
"""

from __future__ import annotations

from plan.errors import InvalidValueError

Shape = tuple[int, ...]
SQUARES: tuple[Shape, ...] = ((0, 1, 3, 4), (1, 2, 4, 5), (3, 4, 6, 7), (4, 5, 7, 8))
TEES: tuple[Shape, ...] = ((1, 3, 4, 5), (1, 3, 4, 7), (1, 4, 5, 7), (3, 4, 5, 7))
UNIONS: tuple[Shape, ...] = tuple(
    tuple(sorted({*square, *tee})) for square in SQUARES for tee in TEES if len({*square} & {*tee}) == 3
)
PATTERNS: dict[int, tuple[Shape, ...]] = {4: (*SQUARES, *TEES), 5: UNIONS}
"""By number of kept positions."""
INDEX_BITS = 3
"""Stored per kernel: which of the eight patterns it has."""


def patterns_of(keep: int) -> tuple[Shape, ...]:
    """Returns the patterns that keep so many positions.

    Raises:
        InvalidValueError: there are none.
    """
    if keep not in PATTERNS:
        raise InvalidValueError(f"pattern keeps {keep} of 9 positions (allowed: {', '.join(map(str, PATTERNS))})")
    return PATTERNS[keep]
