"""`autotl backbones list` and `autotl backbones show`."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from autotl import api
from autotl.cli.output import emit, standard_options
from autotl.cli.words import size

if TYPE_CHECKING:
    from rich.console import Console


@click.group()
def backbones() -> None:
    """List and show pretrained networks."""


@backbones.command("list")
@standard_options
def list_command(as_json: bool) -> None:
    """List the installed backbones.

    \b
    Examples:
      autotl backbones list
      autotl backbones list --json

    A space that says "installed" takes those that are ready; others download their weights when named.
    """
    found = api.backbones()
    if as_json:
        emit({"backbones": found}, as_json, lambda console: None)
    else:
        _write_table(found)


@backbones.command("show")
@click.argument("name")
@standard_options
def show(name: str, as_json: bool) -> None:
    """Show all about the backbone NAME.

    \b
    Examples:
      autotl backbones show efficientnet-lite0
    """
    record = api.backbone(name)

    def render(console: "Console") -> None:
        weights = record["weights"]
        top1 = record["imagenet_top1"]
        lines = {
            "name": record["name"],
            "from": f"{record['distribution']} {record['version']} ({record['entry_point']})",
            "image size": f"{record['image_size']} px, at least {record['min_image_size']}",
            "parameters": size(record["parameters"]),
            "ImageNet top-1": "unknown" if top1 is None else f"{top1:.1f} %",
            "weights": "on this machine" if record["available"] else "downloaded when first used",
            "weights from": weights["source"],
            "trained on": weights["dataset"],
            "licence": weights["licence"],
            "sha256": "not published" if weights["sha256"] is None else weights["sha256"],
            "paper": record["reference"],
        }
        for label, value in lines.items():
            console.print(f"{label:<15} {value}", markup=False, soft_wrap=True)

    emit(record, as_json, render)


def _write_table(found: Sequence[Mapping[str, Any]]) -> None:
    """Plain columns: this command is typed often, and importing rich would take a third of its time."""
    header = ("name", "weights", "image size", "parameters", "top-1 %", "licence", "from")
    rows = [header, *(_row(item) for item in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    for item in found:
        if item["problem"] is not None:
            click.echo(f"Warning: {item['problem']}", err=True)
    if not found:
        click.echo("No backbone is installed. Try: pip install autotl-efficientnet-lite", err=True)


def _row(item: Mapping[str, Any]) -> tuple[str, ...]:
    origin = f"{item['distribution']} {item['version']}"
    if item["problem"] is not None:
        return (item["name"], "broken", "", "", "", "", origin)
    top1 = item["imagenet_top1"]
    return (
        item["name"],
        "ready" if item["available"] else "download",
        str(item["image_size"]),
        size(item["parameters"]),
        "" if top1 is None else f"{top1:.1f}",
        item["weights"]["licence"],
        origin,
    )
