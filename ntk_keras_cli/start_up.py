"""TensorFlow's messages about the machine, kept off standard error while it is imported."""

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator

__all__ = ["without_start_up_lines"]

# Messages about the machine that TensorFlow writes while it is imported, whatever its log level.
_START_UP = re.compile(
    r"I\d{4} "
    r"|\d{4}-\d\d-\d\d [\d:.]+: I "
    r"|WARNING: All log messages before absl"
    r"|To enable the following instructions"
    r"|.*(Unable to register cu|computation placer already registered|Could not find TensorRT)"
    r"|.*failed call to cuInit.*\(303\)"  # no driver of a GPU
)


@contextlib.contextmanager
def without_start_up_lines() -> Iterator[None]:
    """Keeps what TensorFlow writes about the machine while it is imported off standard error.

    TensorFlow's log level does not apply to lines written before its logging is set up, so that
    file descriptor 2 is redirected. Everything else that was written, such as a warning, follows
    at the end; after an error, everything does. ``TF_CPP_MIN_LOG_LEVEL=0`` shows all lines.
    """
    # Level 2 leaves errors: every graph in double precision causes warnings otherwise.
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2") == "0" or sys.stderr is None:
        yield
        return
    kept: re.Pattern[str] | None = None
    sys.stderr.flush()
    standard_error = os.dup(2)
    with tempfile.TemporaryFile("w+", errors="replace") as written:
        os.dup2(written.fileno(), 2)
        try:
            yield
            kept = _START_UP
        finally:
            sys.stderr.flush()
            os.dup2(standard_error, 2)
            os.close(standard_error)
            written.seek(0)
            lines = [line for line in written if not (kept and kept.match(line))]
            sys.stderr.write("".join(lines))
