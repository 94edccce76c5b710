"""A child process that may die: converters and runtimes are native code, and take with them whoever called them.

What a child says are lines of JSON on its standard output; all that libraries print goes into a log file.
"""

import json
import os
import signal
import subprocess
import sys
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
    """How a child ended: its exit code (minus the signal that killed it), and the last of its log."""

    code: int
    last_words: str

    @property
    def words(self) -> str:
        """For people: "was killed by signal 6 (SIGABRT); its last words: ..."."""
        how = f"ended with exit code {self.code}"
        if self.code < 0:
            with suppress(ValueError):
                how = f"was killed by signal {-self.code} ({signal.Signals(-self.code).name})"
        return f"{how}; its last words: {self.last_words}" if self.last_words else how


def run_child(command: Sequence[str], log: Path, on_message: Callable[[Mapping[str, Any]], None]) -> Ending:
    """Runs a child to its end. Whatever ends this function early, Ctrl-C say, ends the child at once.

    Args:
        command: what follows the interpreter and its options.
        log: where all goes that is no message.
        on_message: gets each message as it comes.
    """
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [*PYTHON, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stream,
            cwd=log.parent,
            env={**os.environ, **ENVIRONMENT, "TMPDIR": str(log.parent)},  # what a crash leaves goes with the rest
            start_new_session=True,  # a group of its own, so that its children can be ended with it
        )
        try:
            assert process.stdout is not None
            for line in process.stdout:
                with suppress(ValueError):  # what a library printed before its output went elsewhere
                    message = json.loads(line)
                    if isinstance(message, dict):
                        on_message(message)
            process.stdout.close()
            code = process.wait()
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
    return Ending(code, _last_words(log, 1 if code > 0 else LAST_LINES))


def open_channel() -> TextIO:
    """For a child: where its messages go. From now on all else that is printed goes to the log."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return channel


def tell(channel: TextIO, **message: Any) -> None:
    """For a child: sends a message."""
    channel.write(json.dumps(message) + "\n")
    channel.flush()


def _last_words(log: Path, count: int) -> str:
    """The last lines of a log on one line; of a traceback the last line says it all."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 20_000))
        lines = [line.strip() for line in file.read().decode("utf-8", errors="replace").splitlines()]
    return " / ".join([line for line in lines if line][-count:])[-600:]
