"""The run's event log: one JSON object a line, appended in one write, readable after any death."""

import errno
import json
import math
import os
from datetime import UTC, datetime
from typing import Any

from autotl.runs.directory import Run


def append_event(run: Run, kind: str, **fields: Any) -> None:
    """Append `{"time": ..., "kind": kind, **fields}` to the run's event log.

    One write to a file opened for appending: a reader, or a second writer, never meets two events interleaved.
    Non-finite numbers become the strings "NaN", "Infinity" and "-Infinity", so that every line is JSON.

    Args:
        run: the run.
        kind: what happened, e.g. "trial_finished".
        fields: JSON values; `time` and `kind` are taken.

    Raises:
        OSError: when the event could not be written whole, e.g. on a full disk.
    """
    moment = datetime.now(UTC).isoformat(timespec="milliseconds")
    event = _finite({"time": moment, "kind": kind, **fields})
    line = json.dumps(event, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    descriptor = os.open(run.events_path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        size = os.fstat(descriptor).st_size
        if size > 0 and os.pread(descriptor, 1, size - 1) != b"\n":
            line = b"\n" + line  # The last writer died in mid-line: leave its fragment on a line of its own.
        if os.write(descriptor, line) != len(line):
            raise OSError(errno.ENOSPC, "only a part of an event could be written", str(run.events_path))
    finally:
        os.close(descriptor)


def read_events(run: Run) -> list[dict[str, Any]]:
    """All whole events of the run, oldest first; what a killed writer left of a line is passed over."""
    return read_new_events(run, 0)[0]


def read_new_events(run: Run, offset: int) -> tuple[list[dict[str, Any]], int]:
    """The whole events from a place in the log on, and the place where the next ones will be.

    Args:
        run: the run.
        offset: in bytes; 0 for the beginning, later what the last call answered.
    """
    try:
        with run.events_path.open("rb") as file:
            file.seek(offset)
            content = file.read()
    except FileNotFoundError:
        return [], offset
    events, end = [], offset
    for line in content.splitlines(keepends=True):
        event = _parse(line)
        if event is not None:
            events.append(event)
        if event is not None or line.endswith(b"\n"):
            end += len(line)  # half a line at the end may yet become a whole one
    return events, end


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None


def _finite(value: Any) -> Any:
    """`value` with every non-finite number as a string."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
