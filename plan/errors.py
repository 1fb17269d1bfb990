"""Every error that a user's input can cause.

One root, `EspalierError`: commands print its text as one line and exit with status 2. A message says what was given,
what is allowed and what to do next. Subclasses also inherit the builtin that fits, so that callers who know only Python
catch what they expect.
"""

from __future__ import annotations

from collections.abc import Sequence


class EspalierError(Exception):
    """Something the user gave cannot be used; the text says what, what is allowed, and what to do next."""


class UnknownNameError(EspalierError, LookupError):
    """A name that no registry holds."""


class InvalidValueError(EspalierError, ValueError):
    """A value outside its allowed range or set."""


class FileFormatError(EspalierError, ValueError):
    """A file that is not what its name or its content claims."""

    def __init__(self, path: str, problems: Sequence[str]) -> None:
        self.path = path
        self.problems = tuple(problems)
        super().__init__(f"{path}: " + "; ".join(self.problems))


class MissingFileError(EspalierError, FileNotFoundError):
    """A path that does not exist or cannot be read."""


class MismatchError(EspalierError, ValueError):
    """Two inputs that do not belong together: weights of another network, labels of other data, an edited plan."""


class UnsupportedNetworkError(EspalierError, TypeError):
    """A network that cannot be traced or holds nothing to compress."""


class IllegalChoiceError(EspalierError, ValueError):
    """A choice that the space masks on this layer or hardware."""


class InfeasibleError(EspalierError, ValueError):
    """Limits that no plan of the space meets."""


class MissingExtraError(EspalierError, ImportError):
    """An optional dependency that is not installed; the text names the extra."""


class UnwritableError(EspalierError, OSError):
    """An output path that cannot be written."""
