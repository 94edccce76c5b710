"""`autotl backbones list`, `show` and `fetch`."""

import contextlib
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from autotl import api
from autotl.cli.options import standard_options
from autotl.cli.output import emit
from autotl.cli.words import size

if TYPE_CHECKING:
    from rich.console import Console

BYTES_PER_PARAMETER = 4


@click.group()
def backbones() -> None:
    """List, show and download pretrained networks."""


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
        for label, value in _description(record).items():
            console.print(f"{label:<15} {value}", markup=False, highlight=False, soft_wrap=True)

    emit(record, as_json, render)


@backbones.command("fetch")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@standard_options
def fetch(names: Sequence[str], as_json: bool) -> None:
    """Download the pretrained weights of each backbone NAME, for work without a network.

    \b
    Examples:
      autotl backbones fetch resnet50-v2
      autotl backbones fetch mobilenet-v2 efficientnet-v2-b0 --json

    Weights that are here already are checked and kept. For a machine without a network, run this on one that has it
    and copy the file, whose place is printed, to the same place there.
    """
    wanted = [api.backbone(name) for name in names]  # an unknown name ends this before anything is downloaded
    fetched = []
    for record in wanted:
        if not record["available"]:
            click.echo(f"Downloading {record['name']}, {_download_size(record)}", err=True)
        with contextlib.redirect_stdout(sys.stderr):  # some downloaders draw their progress there
            fetched.append(api.fetch_backbone(record["name"]))

    def render(console: "Console") -> None:
        for item in fetched:
            what = "downloaded" if item["downloaded"] else "here already"
            place = "" if item["path"] is None else f" {item['path']}"
            console.print(f"{item['name']}: {what}{place}", markup=False, highlight=False, soft_wrap=True)

    emit({"backbones": fetched}, as_json, render)


def _description(record: Mapping[str, Any]) -> dict[str, str]:
    weights = record["weights"]
    top1 = record["imagenet_top1"]
    digests = [f"{kind} {weights[kind]}" for kind in ("sha256", "md5") if weights[kind] is not None]
    lines = {
        "name": record["name"],
        "from": f"{record['distribution']} {record['version']} ({record['entry_point']})",
        "image size": _image_sizes(record),
        "parameters": _parameters(record),
        "ImageNet top-1": "unknown" if top1 is None else f"{top1:.1f} %",
        "weights": _where(record),
        "weights from": weights["source"],
        "digest": ", ".join(digests) if digests else "not published",
        "trained on": weights["dataset"],
        "licence": weights["licence"],
        "restriction": weights["restriction"],
        "paper": record["reference"],
        "not exported": "; ".join(f"{name} ({why})" for name, why in record["not_exported"].items()) or None,
    }
    return {label: value for label, value in lines.items() if value is not None}


def _state(item: Mapping[str, Any]) -> str:
    if not item["weights"]["is_pretrained"]:
        return "random"
    return "ready" if item["available"] else "download"


def _where(record: Mapping[str, Any]) -> str:
    state = _state(record)
    if state == "random":
        return "none: it begins with random ones"
    return "on this machine" if state == "ready" else f"downloaded when first used, {_download_size(record)}"


def _image_sizes(record: Mapping[str, Any]) -> str:
    native = f"{record['image_size']} px"
    if not record["resizable"]:
        return f"{native}, no other"
    multiple = "" if record["size_multiple"] == 1 else f", multiples of {record['size_multiple']}"
    return f"{native}, resizable from {record['min_image_size']} px{multiple}"


def _download_size(record: Mapping[str, Any]) -> str:
    """What the publisher says, else an estimate: the files hold little besides the parameters."""
    published, parameters = record["weights"]["size_bytes"], record["parameters"]
    if published is not None:
        return f"{size(published)}B"
    return "of unknown size" if parameters is None else f"about {size(BYTES_PER_PARAMETER * parameters)}B"


def _parameters(item: Mapping[str, Any]) -> str:
    return "unknown" if item["parameters"] is None else size(item["parameters"])


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
    restricted = "" if item["weights"]["restriction"] is None else " (restricted)"
    return (
        item["name"],
        _state(item),
        str(item["image_size"]),
        _parameters(item),
        "" if top1 is None else f"{top1:.1f}",
        f"{item['weights']['licence']}{restricted}",
        origin,
    )
