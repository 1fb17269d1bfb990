"""Optional libraries of searchers."""

from __future__ import annotations

import importlib.util

from plan.errors import MissingExtraError


def needs(library: str, method: str) -> None:
    """Checks that an optional library is there.

    Raises:
        MissingExtraError: it is not installed; names the extra.
    """
    if importlib.util.find_spec(library) is None:
        raise MissingExtraError(
            f"--method {method} needs {library}, which is not installed; install espalier[searchers], or choose another"
        )
