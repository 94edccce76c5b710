"""`autotl status` and `autotl report`."""

import contextlib
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from autotl import api
from autotl.cli.live import open_view
from autotl.cli.options import standard_options
from autotl.cli.output import emit, open_console, visible
from autotl.cli.pareto_view import pareto_lines, pareto_table
from autotl.cli.rendering import render_result
from autotl.cli.status_view import next_step, progress_line, status_lines, status_tables

if TYPE_CHECKING:
    from rich.console import Console

REFRESH_SECONDS = 1.0


@click.command()
@click.argument("run")
@click.option("--watch", is_flag=True, help="Show it anew every second, until the search ends. Ctrl-C leaves.")
@click.option("--pareto", is_flag=True, help="Show the trials that are worth their price: accuracy, latency, size.")
@click.option("--measure", is_flag=True, help="With --pareto: measure here and now what the search has not measured.")
@standard_options
def status(run: str, watch: bool, pareto: bool, measure: bool, as_json: bool) -> None:
    """Show what the run directory RUN has come to.

    \b
    Examples:
      autotl status runs/photos-20260101-120000
      autotl status runs/photos-20260101-120000 --watch
      autotl status runs/photos-20260101-120000 --pareto
      autotl status runs/photos-20260101-120000 --json

    It reads the run directory alone, so it works from wherever that can be seen. With --watch and --json, the one
    object comes when the search has ended.

    With --pareto it shows the finished trials that no other one beats in validation accuracy, milliseconds for an image
    and bytes of the file at once; autotl export RUN --trial N makes a model of any. Networks are measured by a search
    with --latency-budget or --max-size, or by --measure, which takes some seconds for each.
    """
    if (measure and not pareto) or (watch and pareto):
        raise click.UsageError("--measure goes with --pareto, and --pareto without --watch.")
    if pareto:
        _show_pareto(run, measure, as_json)
        return
    found = _watch(api.watch(run, REFRESH_SECONDS), is_quiet=as_json) if watch else api.status(run)

    def render(console: "Console") -> None:
        if found["result"] is not None and found["command"] == "search":
            render_result(console, found["result"])
            return
        for line in status_lines(found):
            console.print(visible(line), markup=False, soft_wrap=True)
        for table in status_tables(found):
            console.print(table)
        if (following := next_step(found)) is not None:
            console.print(visible(following), markup=False, soft_wrap=True)

    emit(found, as_json, render)


def _show_pareto(run: str, measure: bool, as_json: bool) -> None:
    with open_view(is_quiet=as_json or not measure, metric=None) as on_event:
        found = api.pareto(run, measure=measure, on_event=on_event)

    def render(console: "Console") -> None:
        console.print(pareto_table(found))
        for line in pareto_lines(found):
            console.print(visible(line), markup=False, soft_wrap=True)

    emit(found, as_json, render)


def _watch(statuses: Iterator[Mapping[str, Any]], is_quiet: bool) -> Mapping[str, Any]:
    """Show one status after the other; the last one is returned, also when Ctrl-C ends it."""
    last = next(statuses)
    with contextlib.suppress(KeyboardInterrupt), _open_display(is_quiet) as show:
        show(last)
        for status in statuses:
            last = status
            show(last)
    return last


@contextlib.contextmanager
def _open_display(is_quiet: bool) -> "Iterator[Any]":
    """A place for a status that is shown anew: a picture in a terminal, else a line for everything new."""
    console = open_console(stderr=True)
    if is_quiet:
        yield lambda status: None
    elif console.is_terminal and not console.is_dumb_terminal:
        from rich.console import Group
        from rich.live import Live
        from rich.text import Text

        with Live(console=console, auto_refresh=False, transient=True) as live:

            def draw(status: Mapping[str, Any]) -> None:
                lines = [Text(visible(line)) for line in status_lines(status)]
                live.update(Group(*lines, *status_tables(status)), refresh=True)

            yield draw
    else:
        yield _Lines()


class _Lines:
    """Writes a line to stderr when something else is to be told than before."""

    def __init__(self) -> None:
        self.last = ""

    def __call__(self, status: Mapping[str, Any]) -> None:
        line = progress_line(status)
        if line != self.last:
            click.echo(visible(line), file=sys.stderr)
        self.last = line


@click.command()
@click.argument("run")
@standard_options
def report(run: str, as_json: bool) -> None:
    """Write the HTML report of the run directory RUN and print its path.

    \b
    Examples:
      autotl report runs/photos-20260101-120000
    """
    path = str(api.report(run))
    emit({"report": path}, as_json, lambda console: console.print(path, markup=False, soft_wrap=True))
