"""What becomes of an error: words on stderr, one JSON object on stdout where that was asked for, an exit code."""

import errno
import os
import sys
import tempfile
import traceback

import click

from autotl.cli.output import visible, write_json
from autotl.errors import AutotlError, Interrupted

USAGE_EXIT_CODE = 2
INTERRUPTED_EXIT_CODE = 130
_FULL = (errno.ENOSPC, errno.EDQUOT)


def fail(error: BaseException, as_json: bool, shows_traceback: bool) -> int:
    """Tell of an error and return the exit code of the process.

    A traceback is for developers (`-v`, `AUTOTL_DEBUG=1`); everyone else gets one line, and a file with the rest.
    """
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    if isinstance(error, BrokenPipeError):
        _discard_output()  # whoever reads us, `head` say, has seen enough
        return 1
    if shows_traceback and not isinstance(error, click.ClickException):
        traceback.print_exception(error, file=sys.stderr)
    kind, message, code = _explain(error)
    if isinstance(error, click.UsageError):
        error.show()
    else:
        prefix = "" if kind == Interrupted.kind else "Error: "
        click.echo(prefix + "\n".join(visible(line) for line in message.splitlines()), err=True)
    known = (AutotlError, click.ClickException, click.Abort, KeyboardInterrupt, MemoryError)
    if not isinstance(error, known) and getattr(error, "errno", None) not in _FULL:
        click.echo(f"The whole story is in {_save_traceback(error)}; please report it.", err=True)
    try:
        if as_json:
            write_json({"error": {"kind": kind, "message": message}})
        sys.stdout.flush()
    except OSError:  # stdout is what there is no room for
        _discard_output()
    return code


def _explain(error: BaseException) -> tuple[str, str, int]:
    """Kind, message and exit code of an error."""
    match error:
        case AutotlError():
            return error.kind, str(error), error.exit_code
        case click.UsageError():
            return "usage", error.format_message(), USAGE_EXIT_CODE
        case click.ClickException():
            return "runtime", error.format_message(), error.exit_code
        case click.Abort() | KeyboardInterrupt():
            return Interrupted.kind, "Stopped.", INTERRUPTED_EXIT_CODE
        case MemoryError():
            return "runtime", "there is not enough memory. Close other programs, or use --jobs 1 or smaller images.", 1
        case OSError() if error.errno in _FULL:
            place = "" if error.filename is None else f" of {error.filename}"
            return "runtime", f"the disk{place} is full. Make room, and give the same command again.", 1
    return "runtime", f"{type(error).__name__}: {error}", 1


def _save_traceback(error: BaseException) -> str:
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="autotl-error-", suffix=".log", delete=False, encoding="utf-8", errors="replace"
        ) as file:
            traceback.print_exception(error, file=file)
            return file.name
    except OSError:
        return "the traceback (run again with -v)"


def _discard_output() -> None:
    """Let what is still buffered go nowhere, or the interpreter complains about it while it exits."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
