"""`autotl worker`."""

from typing import TYPE_CHECKING, Any

import click

from autotl import api
from autotl.cli.options import slot_options, standard_options
from autotl.cli.output import emit, visible

if TYPE_CHECKING:
    from rich.console import Console


@click.command()
@click.option("--storage", required=True, metavar="URL", help="The search's database: postgresql+psycopg://HOST/DB.")
@click.option("--study", required=True, metavar="NAME", help="The search's name there.")
@slot_options
@click.option("--cache-dir", metavar="DIR", help="Where this machine keeps features.  [default: as the search says]")
@click.option(
    "--wait-seconds",
    type=click.FloatRange(min=0),
    default=600,
    show_default=True,
    help="For the search to begin, or to go on after its process was killed.",
)
@click.option("-q", "--quiet", is_flag=True, help="No progress.")
@standard_options
def worker(as_json: bool, quiet: bool, **options: Any) -> None:
    """Compute trials of a search that runs on another machine, until it ends.

    \b
    Examples:
      autotl worker --storage postgresql+psycopg://db.example/autotl --study photos
      autotl worker --storage postgresql+psycopg://db.example/autotl --study photos --gpus 0,1 --gpu-share 0.5

    The search is started with the same --storage and --study. Its run directory and its images must have the same paths
    here. Whoever may write to the database can have any code run here. Ctrl-C stops in order, twice at once: what was
    running runs again elsewhere.
    """
    summary = api.worker(**options, on_message=None if quiet else _tell)

    def render(console: "Console") -> None:
        jobs = summary["jobs"]
        console.print(f"Done: {jobs['finished']} jobs ended well, {jobs['failed']} failed.", soft_wrap=True)

    emit(summary, as_json, render)


def _tell(message: str) -> None:
    click.echo(visible(message), err=True)
