"""A child process that may die: converters and runtimes are native code, and take with them whoever called them.

What a child says are lines of JSON on its standard output; all that libraries print goes into a log file. Its standard
input is a pipe that nobody writes to: where that ends, the parent is gone, and the child ends too.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TextIO

LAST_LINES = 5
# -P: the folder somebody happens to stand in is no place to import modules from. -B: nothing is left beside a script.
PYTHON = (sys.executable, "-P", "-B")
# Converters need no GPU, and a GPU's shortened arithmetic would look like a fault of what was converted.
ENVIRONMENT = {"CUDA_VISIBLE_DEVICES": "-1", "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "2"}


class Ending(NamedTuple):
    """How a child ended: its exit code (minus the signal that killed it), the last of its log, the limit it broke."""

    code: int
    last_words: str
    late_seconds: float | None = None

    @property
    def words(self) -> str:
        """For people: "was killed by signal 6 (SIGABRT); its last words: ..."."""
        how = f"ended with exit code {self.code}"
        if self.late_seconds is not None:
            how = f"was ended since it was not done after {self.late_seconds:g} s"
        elif self.code < 0:
            with suppress(ValueError):
                how = f"was killed by signal {-self.code} ({signal.Signals(-self.code).name})"
        return f"{how}; its last words: {self.last_words}" if self.last_words else how


def run_child(
    command: Sequence[str], log: Path, on_message: Callable[[Mapping[str, Any]], None], timeout_seconds: float
) -> Ending:
    """Runs a child to its end. Whatever ends this function early, Ctrl-C say, ends the child at once.

    Args:
        command: what follows the interpreter and its options; the program calls `end_with_parent`, or does the same.
        log: where all goes that is no message.
        on_message: gets each message as it comes.
        timeout_seconds: a child that takes longer hangs, and is ended.
    """
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [*PYTHON, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stream,
            cwd=log.parent,
            env={**os.environ, **ENVIRONMENT, "TMPDIR": str(log.parent)},  # what a crash leaves goes with the rest
            start_new_session=True,  # a group of its own, so that its children can be ended with it
        )
        is_late = threading.Event()

        def end_late() -> None:
            is_late.set()
            _end_group(process)

        limit = threading.Timer(timeout_seconds, end_late)
        limit.daemon = True
        try:
            limit.start()
            code = _listen(process, on_message)
        except BaseException:
            _end_group(process)
            process.wait()
            raise
        finally:
            limit.cancel()
    return Ending(code, _last_words(log, 1 if code > 0 else LAST_LINES), timeout_seconds if is_late.is_set() else None)


def end_with_parent() -> None:
    """For a child: from now on it ends, with all children of its own, when its parent has ended in whatever way."""

    def watch() -> None:
        while os.read(0, 1):  # not by `sys.stdin`, whose lock would be held while the interpreter exits
            pass
        os.killpg(os.getpid(), signal.SIGKILL)  # of its own group and of no other

    threading.Thread(target=watch, daemon=True).start()


def open_channel() -> TextIO:
    """For a child: where its messages go. From now on all else that is printed goes to the log."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return channel


def tell(channel: TextIO, **message: Any) -> None:
    """For a child: sends a message."""
    channel.write(json.dumps(message) + "\n")
    channel.flush()


def _listen(process: subprocess.Popen[bytes], on_message: Callable[[Mapping[str, Any]], None]) -> int:
    assert process.stdin is not None and process.stdout is not None
    with process.stdin, process.stdout:
        for line in process.stdout:
            with suppress(ValueError):  # what a library printed before its output went elsewhere
                message = json.loads(line)
                if isinstance(message, dict):
                    on_message(message)
        return process.wait()


def _end_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _last_words(log: Path, count: int) -> str:
    """The last lines of a log on one line; of a traceback the last line says it all."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 20_000))
        lines = [line.strip() for line in file.read().decode("utf-8", errors="replace").splitlines()]
    return " / ".join([line for line in lines if line][-count:])[-600:]
