"""`autotl spaces list` and `autotl spaces show`."""

from typing import TYPE_CHECKING

import click

from autotl import api
from autotl.cli.options import standard_options
from autotl.cli.output import emit, make_table

if TYPE_CHECKING:
    from rich.console import Console


@click.group()
def spaces() -> None:
    """List and show search spaces."""


@spaces.command("list")
@standard_options
def list_command(as_json: bool) -> None:
    """List the search spaces that ship with autotl.

    \b
    Examples:
      autotl spaces list
    """
    found = api.spaces()

    def render(console: "Console") -> None:
        console.print(make_table(("name", "what it is for"), [(item["name"], item["about"]) for item in found]))

    emit({"spaces": found}, as_json, render)


@spaces.command("show")
@click.argument("name")
@standard_options
def show(name: str, as_json: bool) -> None:
    """Check the search space NAME (a shipped name, or a .toml file) and print it with its origin.

    \b
    Examples:
      autotl spaces show quick
      autotl spaces show quick > mine.toml     a start for one of your own
      autotl spaces show mine.toml --json
    """
    found = api.space(name)
    origin_and_text = f"# {found['path']}\n{found['text']}"
    emit(found, as_json, lambda console: console.out(origin_and_text, end="", highlight=False))
