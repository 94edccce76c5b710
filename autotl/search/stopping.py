"""How a search is stopped: by Ctrl-C, by a signal, or by the file that `autotl stop` leaves in its run directory.

The first word asks for an orderly stop: the driver ends where it next waits, between two events, so that nothing is
half written down. The second one ends it at once.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from autotl.errors import UsageError
from autotl.runs.directory import Run, command_of, open_run, open_search
from autotl.runs.files import read_json, write_json
from autotl.runs.locking import find_holder, is_driven

ORDERLY, NOW, FINISH = "orderly", "now", "finish"
ENDS_AT_FIRST = ("inline",)  # executors whose jobs run in the driver's process: it would wait for their ends
DEFAULTS = (signal.SIG_DFL, signal.default_int_handler)


@dataclass
class Stopping:
    """What was asked of a driver.

    Attributes:
        path: where `autotl stop` says what it wants; None for nowhere.
        is_asked: whether it is to stop.
        at_once: whether it is to stop without waiting for its jobs.
        finishes: whether it is to run no further trial, and to deliver the best model of what is known.
        is_patient: whether the first signal waits until somebody looks.
    """

    path: Path | None = None
    is_asked: bool = False
    at_once: bool = False
    finishes: bool = False
    is_patient: bool = True

    def look(self) -> None:
        """Raise KeyboardInterrupt if the driver is to stop. To be called where that harms nothing."""
        how = None if self.path is None else _read_how(self.path)
        self.finishes = self.finishes or how == FINISH
        self.at_once = self.at_once or how == NOW
        self.is_asked = self.is_asked or how in (ORDERLY, NOW)
        if self.is_asked:
            raise KeyboardInterrupt

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """A signal's handler."""
        self.at_once = self.is_asked
        self.is_asked = True
        if self.at_once or not self.is_patient:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Take Ctrl-C and SIGTERM for the length of a `with` block; those that are handled or ignored stay so."""
        if threading.current_thread() is not threading.main_thread():
            yield  # signals are the main thread's: whoever has one may write the file
            return
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        taken = {number: handler for number, handler in before.items() if handler in DEFAULTS}
        try:
            for number in taken:
                signal.signal(number, self.on_signal)
            yield
        finally:
            for number, handler in taken.items():
                signal.signal(number, handler)


def ask_to_stop(path: Path, how: str) -> dict[str, Any]:
    """Ask the driver of a run to stop, by a file that it looks for between two events, wherever it runs.

    Args:
        path: the run directory.
        how: ORDERLY, NOW or FINISH.

    Returns:
        run, command (that made it), how, driver ({pid, host} or None), and asked: whether there was anybody to ask.

    Raises:
        UsageError: there is no run, or nothing that it could finish with.
    """
    run = open_run(path)
    holder = find_holder(run)
    answer: dict[str, Any] = {"run": str(run.path), "command": command_of(run), "how": how}
    answer |= {"driver": None, "asked": is_driven(run)}
    if not answer["asked"]:
        return answer
    if how == FINISH:
        check_finish(open_search(path), read_json(run.request_path).get("cv_test"))
    write_json(run.stop_path, {"how": how})
    if holder is not None:
        answer["driver"] = asdict(holder)
    return answer


def check_finish(run: Run, parts: int | None) -> None:
    """Insist that there is something to finish with: of a nested search, that its last part has begun.

    Raises:
        UsageError: there is not.
    """
    if parts is not None and not run.study_path.exists():
        raise UsageError(
            f"--finish delivers the best model of what is known, and of a search with --cv-test {parts} nothing is "
            f"known before its last part has begun. Leave --finish out: autotl resume {run.path}"
        )


def _read_how(path: Path) -> str | None:
    try:
        how = read_json(path)["how"]
    except OSError:  # there is none, or the file system is in trouble, which nobody meant by it
        return None
    except (ValueError, KeyError, TypeError):
        return ORDERLY  # somebody made it by hand: that is clear enough
    return how if how in (NOW, FINISH) else ORDERLY
