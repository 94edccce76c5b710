"""Watching a search: one live picture in a terminal, a line for each event in a pipe or a log, or nothing."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any

import click

from autotl.cli.output import visible
from autotl.cli.progress import Progress, advance
from autotl.cli.words import brief, duration, metric_name, score

if TYPE_CHECKING:
    from rich.console import Console

OnEvent = Callable[[dict[str, Any]], None]
REFRESHES_PER_SECOND = 4


@contextmanager
def open_view(is_quiet: bool, metric: str | None) -> Iterator[OnEvent]:
    """A place on stderr that shows the events of a search while a `with` block lasts."""
    if is_quiet:
        yield lambda event: None
        return
    from autotl.cli.output import open_console

    console = open_console(stderr=True)
    if console.is_terminal and not console.is_dumb_terminal:
        with _screen(console, metric) as on_event:
            yield on_event
    else:
        yield PlainLines(metric)


@contextmanager
def _screen(console: "Console", metric: str | None) -> Iterator[OnEvent]:
    from rich.live import Live

    from autotl.cli.screen import draw

    view = _Latest(Progress(started=monotonic()))

    # rich redraws from a thread of its own: it reads one frozen state, whichever is the latest.
    with Live(
        get_renderable=lambda: draw(view.state, monotonic(), metric),
        console=console,
        refresh_per_second=REFRESHES_PER_SECOND,
        redirect_stdout=False,
        redirect_stderr=False,
    ):
        yield view


class _Latest:
    """Holds the latest state."""

    def __init__(self, state: Progress) -> None:
        self.state = state

    def __call__(self, event: dict[str, Any]) -> None:
        self.state = advance(self.state, event, monotonic())


class PlainLines:
    """Writes a line to stderr for every event that tells something; of progress, every quarter."""

    def __init__(self, metric: str | None) -> None:
        self.metric = metric
        self.quarter = 0

    def __call__(self, event: dict[str, Any]) -> None:
        line = self._progress(event) if event["event"] == "progress" else plain_line(event, self.metric)
        if event["event"] == "phase":
            self.quarter = 0
        if line is not None:
            click.echo(visible(line), file=sys.stderr)

    def _progress(self, event: Mapping[str, Any]) -> str | None:
        quarter = 4 * event["done"] // event["total"] if event["total"] else 0
        if quarter <= self.quarter:
            return None
        self.quarter = quarter
        return f"  {event['done']} of {event['total']}"


def plain_line(event: Mapping[str, Any], metric: str | None) -> str | None:
    """An event as one line of text; None for those that only a screen shows."""
    match event["event"]:
        case "phase":
            return f"{event['phase']}: {event['detail']}"
        case "plan":
            limit = "" if event["seconds"] is None else f", about {duration(event['seconds'])}"
            return f"plan: {event['trials']} trials{limit}"
        case "trial":
            return _trial_line(event, metric)
        case "epoch":
            return f"  trial {event['number']}, step {event['step']}: {score(event['value'])}"
        case "note":
            return f"note: {event['message']}"
    return None


def _trial_line(event: Mapping[str, Any], metric: str | None) -> str:
    parts = [f"trial {event['number']} ({event['stage']}) {event['state']}"]
    if event["score"] is not None:
        parts.append(f"{metric_name(metric)} {score(event['score'])}")
    if event.get("accuracy") is not None and metric != "accuracy":
        parts.append(f"accuracy {event['accuracy']:.3f}")
    parts.append(duration(event["seconds"]))
    parts.append(brief(event["config"]))
    if event.get("error") is not None:
        parts.append(f"error: {first_line(event['error'])}")
    return ", ".join(parts) + (" * best so far" if event.get("best") else "")


def first_line(text: str) -> str:
    """The first line of an error, for places that have one line only."""
    lines = text.strip().splitlines()
    return lines[0] if lines else ""


@contextmanager
def open_progress(label: str) -> Iterator[Callable[[int, int], None]]:
    """A bar for one long step, in a terminal only."""
    from autotl.cli.output import open_console

    console = open_console(stderr=True)
    if not console.is_terminal:
        yield lambda done, total: None
        return
    from rich.progress import Progress as Bars

    with Bars(console=console, transient=True) as bars:
        task = bars.add_task(label, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)
