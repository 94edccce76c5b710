"""`autotl search` and `autotl resume`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from autotl import api
from autotl.cli.live import open_view
from autotl.cli.options import run_options, slot_options, standard_options
from autotl.cli.output import emit, visible
from autotl.cli.pareto_view import broken_promise, budget_lines
from autotl.cli.rendering import render_result
from autotl.cli.words import METRIC_NAMES

if TYPE_CHECKING:
    from rich.console import Console


@click.command()
@click.argument("dataset")
@click.option("--space", default="quick", show_default=True, help="Search space: a shipped name, or a .toml file.")
@click.option("--trials", type=click.IntRange(min=1), help="Trials in total.  [default: as the space says]")
@click.option("--budget", help="Wall time, like 90s, 10m or 1h30m.  [default: no limit]")
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed gives the same trials.")
@click.option(
    "--backbone",
    "backbones",
    multiple=True,
    metavar="NAME",
    help="Only this backbone (repeatable): a name, your own .keras file, a model that autotl made.",
)
@click.option("--normalisation", metavar="MODE", help="What your .keras file expects: inside, unit, symmetric, ...")
@click.option(
    "--metric",
    type=click.Choice(list(METRIC_NAMES)),
    default="log_loss",
    show_default=True,
    help="What validation chooses by.",
)
@click.option("--ensemble", is_flag=True, help="Put several backbones into one model, where that is surely better.")
@click.option(
    "--cv-test",
    type=click.IntRange(2, 20),
    metavar="K",
    help="Few images: no test split, K searches are each tested on a part of their own.",
)
@click.option("--latency-budget", metavar="TIME", help="Most time for one image on this machine, like 20ms.")
@click.option("--max-size", metavar="SIZE", help="Most bytes of the model's file, like 10MB or 9.5MiB.")
@click.option(
    "--deploy",
    metavar="FORMAT[:PRECISION]",
    help="Export the model at the end, like litert:int8; both budgets are then those of the exported one.",
)
@slot_options
@click.option("--ray-address", "executor_address", metavar="ADDR", help="auto, local, or the cluster's address.")
@click.option("--storage", metavar="URL", help="A database where machines that run autotl worker join in.")
@click.option("--study", metavar="NAME", help="The search's name there.")
@run_options
@standard_options
def search(as_json: bool, quiet: bool, metric: str, dataset: str, storage: str | None, **options: Any) -> None:
    """Search for the best model for DATASET and deliver it.

    \b
    Examples:
      autotl search photos/
      autotl search photos.zip --space standard --budget 30m
      autotl search labels.csv --backbone efficientnet-lite0 --trials 40
      autotl search photos/ --backbone my-network.keras --normalisation symmetric
      autotl search photos/ --backbone runs/birds-20260101-120000
      autotl search photos/ --latency-budget 20ms --max-size 10MB --deploy litert:int8
      autotl search sample:clipart --json > result.json

    DATASET is a folder with a folder of images for each class, or for each split and class; a CSV file with the columns
    path and label (split and group if you like); a zip of any of these; or a set that ships with autotl. Progress goes
    to stderr, the result to stdout. Ctrl-C stops in order, twice at once; the same command with the same --out, or
    autotl resume, goes on.

    With a budget of the model, each network is measured before the first trial, and what is over it is not tried. The
    exit code is 4 where none holds, and 1 where the delivered model was measured to break the budget after all.
    """
    if storage is not None:
        if options["executor_address"] is not None or options["executor"] not in ("local", "shared"):
            raise click.UsageError("With --storage trials run where autotl worker does: leave the other executor out.")
        options |= {"executor": "shared", "executor_address": storage}
    with open_view(is_quiet=quiet, metric=metric) as on_event:
        result = api.search(dataset, metric=metric, on_event=on_event, **options)
    _emit_result(result.values, as_json)


@click.command()
@click.argument("run")
@click.option("--finish", is_flag=True, help="Run no further trial: deliver the best model of what is known.")
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@standard_options
def resume(run: str, finish: bool, as_json: bool, quiet: bool) -> None:
    """Go on with the search in the run directory RUN.

    \b
    Examples:
      autotl resume runs/photos-20260101-120000
      autotl resume runs/photos-20260101-120000 --finish

    What had finished counts; what was cut off goes on from its last checkpoint. Of a finished search, the result is
    shown. A run whose images, search space or plugins have changed meanwhile is refused.
    """
    with open_view(is_quiet=quiet, metric=None) as on_event:
        result = api.resume(run, finish=finish, on_event=on_event)
    _emit_result(result.values, as_json)


def _emit_result(result: Mapping[str, Any], as_json: bool) -> None:
    def render(console: "Console") -> None:
        render_result(console, result)
        for line in budget_lines(result):
            console.print(visible(line), markup=False, soft_wrap=True)

    emit(result, as_json, render)
    if (problem := broken_promise(result)) is not None:
        click.echo(f"Error: {visible(problem[0])}", err=True)
        raise SystemExit(problem[1])
