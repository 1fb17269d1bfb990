"""A private stream of numpy's and torch's global random numbers.

stable-baselines3 draws from global state (buffers, distributions, initial weights). An agent owns a stream of it and
swaps it in while it works, so that nothing else in the process can move its numbers, nor it anybody else's.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

GlobalState = tuple[dict[str, Any], torch.Tensor]


def _read_global() -> GlobalState:
    state: Any = np.random.get_state(legacy=False)  # noqa: NPY002 - the state that stable-baselines3 draws from
    return state, torch.get_rng_state()


def _write_global(state: GlobalState) -> None:
    np.random.set_state(state[0])  # noqa: NPY002
    torch.set_rng_state(state[1])


class RandomStream:
    """Global random state that belongs to one owner; `with stream:` makes it current. May be nested."""

    def __init__(self, seed: int) -> None:
        legacy: Any = np.random.RandomState(seed).get_state(legacy=False)
        self._own: GlobalState = legacy, torch.Generator().manual_seed(seed).get_state()
        self._outer: GlobalState | None = None
        self._depth = 0

    def __enter__(self) -> RandomStream:
        """Makes this stream the global one."""
        if self._depth == 0:
            self._outer = _read_global()
            _write_global(self._own)
        self._depth += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Puts the process's own state back when the outermost use ends."""
        self._depth -= 1
        if self._depth == 0 and self._outer is not None:
            self._own = _read_global()
            _write_global(self._outer)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Returns the current position as plain arrays."""
        numpy_state, torch_state = _read_global() if self._depth else self._own
        inner = numpy_state["state"]
        return {
            "numpy_key": inner["key"].copy(),
            "numpy_numbers": np.array([inner["pos"], numpy_state["has_gauss"]], dtype=np.int64),
            "numpy_gauss": np.array(numpy_state["gauss"], dtype=np.float64),
            "torch": torch_state.numpy().copy(),
        }

    def restore(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Continues at a position that `arrays` returned."""
        position, has_gauss = (int(value) for value in arrays["numpy_numbers"])
        numpy_state = {
            "bit_generator": "MT19937",
            "state": {"key": arrays["numpy_key"], "pos": position},
            "has_gauss": has_gauss,
            "gauss": float(arrays["numpy_gauss"]),
        }
        self._own = numpy_state, torch.from_numpy(arrays["torch"].copy())
        if self._depth:
            _write_global(self._own)
