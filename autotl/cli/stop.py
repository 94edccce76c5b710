"""`autotl stop`."""

from typing import TYPE_CHECKING

import click

from autotl import api
from autotl.cli.options import standard_options
from autotl.cli.output import emit, visible
from autotl.cli.status_view import how_to_go_on

if TYPE_CHECKING:
    from rich.console import Console

ASKED = {
    "orderly": "was asked to stop. What has finished is saved; go on with:  {again}",
    "now": "was asked to stop at once. What has finished is saved; go on with:  {again}",
    "finish": "runs no further trial, and delivers the best of what is known. Watch it:  autotl status {run} --watch",
}


@click.command()
@click.argument("run")
@click.option("--now", is_flag=True, help="End what runs at once, like a second Ctrl-C.")
@click.option("--finish", is_flag=True, help="Run no further trial: deliver the best model of what is known.")
@standard_options
def stop(run: str, now: bool, finish: bool, as_json: bool) -> None:
    """Stop the search in the run directory RUN, as Ctrl-C would where it runs.

    \b
    Examples:
      autotl stop runs/photos-20260101-120000
      autotl stop runs/photos-20260101-120000 --finish

    The process that drives the search may run in another terminal, or on another machine that shares the file system.
    It starts no more jobs, gives those that run some seconds to come to an end, and exits with code 130.
    """
    answer = api.stop(run, now=now, finish=finish)

    def render(console: "Console") -> None:
        if not answer["asked"]:
            line = f"No process drives {answer['run']}: there is nothing to stop."
        else:
            driver = answer["driver"]
            who = "The process" if driver is None else f"Process {driver['pid']} on {driver['host']}"
            line = f"{who} {ASKED[answer['how']].format(run=answer['run'], again=how_to_go_on(answer))}"
        console.print(visible(line), markup=False, soft_wrap=True)

    emit(answer, as_json, render)
