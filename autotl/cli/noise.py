"""Keeping what C++ libraries write straight to file descriptor 2 away from the person at the terminal.

TensorFlow announces itself from C++ before its own log level counts, and no environment variable stops that.
"""

import io
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from autotl.errors import AutotlError

STDERR = 2


@contextmanager
def muted_libraries(is_muted: bool) -> Iterator[None]:
    """Send descriptor 2 to a file for a while; Python's own `sys.stderr` goes where it went before.

    What was held back is shown after all when an error ends the block that nobody has explained.
    """
    if not is_muted:
        yield
        return
    sys.stderr.flush()
    python_stderr, terminal = sys.stderr, os.dup(STDERR)
    with tempfile.TemporaryFile() as noise:
        os.dup2(noise.fileno(), STDERR)
        if _descriptor_of(python_stderr) == STDERR:
            sys.stderr = os.fdopen(os.dup(terminal), "w", buffering=1, errors="backslashreplace")
        try:
            yield
        except (AutotlError, BrokenPipeError):
            raise
        except Exception:
            noise.seek(0)
            with os.fdopen(os.dup(terminal), "wb") as stream:
                shutil.copyfileobj(noise, stream)
            raise
        finally:
            replacement, sys.stderr = sys.stderr, python_stderr
            replacement.flush()
            if replacement is not python_stderr:
                replacement.close()
            os.dup2(terminal, STDERR)
            os.close(terminal)


def _descriptor_of(stream: object) -> int | None:
    """The descriptor behind a stream; None for one in memory."""
    try:
        return stream.fileno() if isinstance(stream, io.TextIOBase) else None
    except (OSError, ValueError):
        return None
