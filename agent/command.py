"""What every command does around its work: one line and status 2 for what the user can mend."""

from __future__ import annotations

import errno
import sys
import warnings
from collections.abc import Callable

from plan.errors import EspalierError

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
