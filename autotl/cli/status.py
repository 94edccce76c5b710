"""`autotl status` and `autotl report`."""

from typing import TYPE_CHECKING

import click

from autotl import api
from autotl.cli.output import emit, make_table, standard_options, visible
from autotl.cli.rendering import render_result
from autotl.cli.words import brief, configuration, duration, score

if TYPE_CHECKING:
    from rich.console import Console


@click.command()
@click.argument("run")
@standard_options
def status(run: str, as_json: bool) -> None:
    """Show what the run directory RUN has come to.

    \b
    Examples:
      autotl status runs/photos-20260101-120000
      autotl status runs/photos-20260101-120000 --json
    """
    found = api.status(run)

    def render(console: "Console") -> None:
        if found.get("result") is not None:
            render_result(console, found["result"])
            return
        counts = ", ".join(f"{count} {state}" for state, count in found["trials"].items())
        stage = "" if found["stage"] is None else f" in stage {found['stage']}"
        console.print(visible(f"{found['run']}: {found['state']}{stage}"), markup=False, soft_wrap=True)
        console.print(f"trials: {counts}; {duration(found['seconds'])} of work")
        if found["best"] is not None:
            best = found["best"]
            line = f"best: trial {best['number']}, score {score(best['score'])}, {configuration(best['config'])}"
            console.print(visible(line), markup=False, soft_wrap=True)
        rows = [
            (item["number"], item["stage"], item["state"], score(item["score"]), brief(item["config"]))
            for item in found["recent"]
        ]
        if rows:
            console.print(make_table(("trial>", "stage", "state", "score>", "configuration"), rows))
        if found["state"] == "interrupted":
            console.print(f"Next:  autotl resume {found['run']}", markup=False, soft_wrap=True)

    emit(found, as_json, render)


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
