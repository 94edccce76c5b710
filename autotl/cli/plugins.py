"""`autotl plugins list`, `new` and `check`."""

import contextlib
import sys
from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

import click

from autotl import api
from autotl.cli.noise import muted_libraries
from autotl.cli.options import is_verbose, standard_options
from autotl.cli.output import emit, visible

LINE_WIDTH = 100
MAX_NAMES = 12  # of a kind and a distribution, for people


@click.group()
def plugins() -> None:
    """List, write and check plugins: backbones and heads that others publish."""


@plugins.command("list")
@standard_options
def list_command(as_json: bool) -> None:
    """List all that is registered, by distribution, and whether it works.

    \b
    Examples:
      autotl plugins list
      autotl plugins list --json

    Every plugin is imported. One that is broken is shown as what it is and hurts no other.
    """
    found = api.plugins()
    if as_json:
        emit({"plugins": found}, as_json, lambda console: None)
        return
    for number, item in enumerate(found):
        if number > 0:
            click.echo()
        _write_distribution(item)


@plugins.command("new")
@click.argument("name")
@click.option("--kind", type=click.Choice(["backbone", "head"]), required=True, help="What the plugin publishes.")
@click.option("--out", default=".", metavar="DIR", help="Where to make the folder NAME; here when left out.")
@standard_options
def new(name: str, kind: str, out: str, as_json: bool) -> None:
    """Write a small complete package for a plugin called NAME.

    \b
    Examples:
      autotl plugins new my-network --kind backbone
      autotl plugins new my-head --kind head --out plugins

    It installs and passes its test as it is. Nothing is ever overwritten.
    """
    written = api.new_plugin(name, kind=kind, out=out)
    if as_json:
        emit(written, as_json, lambda console: None)
        return
    click.echo(f"Wrote {visible(written['folder'])}:")
    for file in written["files"]:
        click.echo(f"  {file}")
    click.echo("Next:")
    for command in written["next"]:
        click.echo(f"  {visible(command)}")


@plugins.command("check")
@click.argument("name")
@click.option(
    "--weights", type=click.Choice(["random", "pretrained"]), default="random", show_default=True,
    help="What a backbone is built with.",
)  # fmt: skip
@standard_options
def check(name: str, weights: str, as_json: bool) -> int:
    """Check the installed backbone or head NAME, or all of the distribution NAME, against the contract.

    \b
    Examples:
      autotl plugins check my-network
      autotl plugins check autotl-efficientnet-lite --weights pretrained

    Networks are built at their smallest sizes. Exits with 1 if a rule is broken.
    """
    with muted_libraries(not is_verbose()), contextlib.redirect_stdout(sys.stderr):  # of plugins that print
        result = api.check_plugin(name, weights=weights)
    if as_json:
        emit(result, as_json, lambda console: None)
    else:
        for one in result["checked"]:
            _write_check(one)
    return 0 if result["passed"] else 1


def _write_distribution(item: Mapping[str, Any]) -> None:
    """One block: how many of each kind and their names; each one that does not work on a line of its own."""
    click.echo(f"{visible(item['distribution'])} {visible(item['version'])}")
    working: dict[str, list[str]] = {}
    for entry in item["entries"]:
        if entry["status"] == "ok":
            working.setdefault(entry["kind"], []).append(visible(entry["name"]))
    for kind, names in working.items():
        count = f"{len(names)} {kind}" if len(names) == 1 else f"{len(names)} {kind}s"
        more = f", and {len(names) - MAX_NAMES} more (--json has all)" if len(names) > MAX_NAMES else ""
        click.echo(_wrapped(f"ok: {count}: {', '.join(names[:MAX_NAMES])}{more}"))
    for entry in item["entries"]:
        if entry["status"] != "ok":
            click.echo(_wrapped(f"{entry['status']}: {entry['kind']} {visible(entry['name'])}: {entry['problem']}"))


def _write_check(result: Mapping[str, Any]) -> None:
    click.echo(f"{result['kind']} {visible(result['name'])}")
    for one in result["checks"]:
        click.echo(_line("ok", one["name"], one["found"]))
    broken = result["broken"]
    if broken is None:
        seconds = sum(one["seconds"] for one in result["checks"])
        click.echo(f"It keeps the contract: {len(result['checks'])} checks in {seconds:.1f} s.")
        return
    click.echo(_line("BROKEN", broken["name"], broken["text"]))
    details: Sequence[tuple[str, str]] = [("found", broken["found"]), ("do", broken["advice"])]
    for label, text in details:
        if text:
            click.echo(_line("", label, text))


def _line(mark: str, label: str, text: str) -> str:
    return _wrapped(f"{mark:<7} {label:<14} {text}", indent=25)


def _wrapped(text: str, indent: int = 4) -> str:
    """A paragraph without control characters, which may stand in what a plugin's error says."""
    clean = " ".join(visible(line) for line in text.splitlines())
    return fill(
        clean, LINE_WIDTH, initial_indent="  ", subsequent_indent=" " * indent, break_long_words=False,
        break_on_hyphens=False, replace_whitespace=False, drop_whitespace=True,
    )  # fmt: skip
