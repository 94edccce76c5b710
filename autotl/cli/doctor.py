"""`autotl doctor`."""

from typing import TYPE_CHECKING

import click

from autotl import api
from autotl.cli.options import standard_options
from autotl.cli.output import emit, make_table

if TYPE_CHECKING:
    from rich.console import Console


@click.command()
@click.option("--cache-dir", metavar="DIR", help="Examine this folder as the cache.")
@standard_options
def doctor(cache_dir: str | None, as_json: bool) -> None:
    """See whether this machine is ready for a search, and what to do where it is not.

    \b
    Examples:
      autotl doctor
      autotl doctor --json
    """
    found = api.doctor(cache_dir)

    def render(console: "Console") -> None:
        rows = [(check["status"], check["name"], check["detail"]) for check in found["checks"]]
        console.print(make_table(("", "check", "found"), rows))
        for check in found["checks"]:
            if check["advice"]:
                console.print(f"{check['name']}: {check['advice']}", markup=False, soft_wrap=True)
        if found["ok"]:
            console.print("Ready. Try:  autotl search sample:clipart")

    emit(found, as_json, render)
