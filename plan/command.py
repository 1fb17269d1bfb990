"""What every command does around its work: one line and status 2 for what the user can mend."""

from __future__ import annotations

import argparse
import errno
import gc
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from plan.errors import EspalierError, InvalidValueError
from plan.registry import close_names

DONE, DIFFERENT, REFUSED, INTERRUPTED = 0, 1, 2, 130
FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
INFEASIBLE = 1
"""Of a question whose answer is no: nothing to mend, and no plan."""


def run_command(work: Callable[[], int]) -> int:
    """Returns the exit status of a command's work; errors of the user's input become one line on stderr."""
    warnings.filterwarnings("ignore", module="torch")
    try:
        return work()
    except EspalierError as error:
        sys.stderr.write(" ".join(f"error: {error}".split()) + "\n")
        return REFUSED
    except OSError as error:  # of a library that writes for us, as TensorBoard's writer
        if error.errno not in FULL_DISK:
            raise
        sys.stderr.write(
            f"error: cannot write {error.filename or 'a file'}: {error.strerror}; free space, then use --resume\n"
        )
        return REFUSED
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return INTERRUPTED


@contextmanager
def without_collecting() -> Iterator[None]:
    """Pauses the search for garbage where there is next to none: it makes importing torch a fifth longer."""
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are `InvalidValueError`s of one line, with a hint for misspelt flags."""

    def error(self, message: str) -> NoReturn:
        """Raises the message as an error of the user's input."""
        flags = [flag for action in self._actions for flag in action.option_strings]
        unknown = re.search(r"unrecognized arguments: (\S+)", message)
        hint = close_names(unknown[1], flags) if unknown else ""
        raise InvalidValueError(f"{message}{hint} (see --help)")
