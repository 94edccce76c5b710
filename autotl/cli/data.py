"""`autotl data check`."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from autotl import api
from autotl.cli.live import open_progress
from autotl.cli.options import standard_options
from autotl.cli.output import emit, make_table, visible
from autotl.cli.words import duration

if TYPE_CHECKING:
    from rich.console import Console

SPLITS = ("train", "val", "test")
LISTED = 10
NAMED = 4


@click.group()
def data() -> None:
    """Check a data set."""


@data.command("check")
@click.argument("dataset")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the split.")
@click.option("--cache-dir", metavar="DIR", help="Where the result of the check is kept.")
@standard_options
def check(dataset: str, seed: int, cache_dir: str | None, as_json: bool) -> None:
    """Show what a search would see of DATASET: images by class and split, and what is wrong with them.

    \b
    Examples:
      autotl data check photos/
      autotl data check photos.zip --json

    Exit code 3 when the data set cannot be used.
    """
    with open_progress("reading images") as on_progress:
        found = api.check_data(dataset, seed=seed, cache_dir=cache_dir, on_progress=on_progress)
    emit(found, as_json, lambda console: _render(console, found))


def _render(console: "Console", found: Mapping[str, Any]) -> None:
    console.print(make_table(("class", "train>", "val>", "test>", "all>"), _class_rows(found["classes"])))
    side = found["side"]
    _print(console, f"{found['images']} images of {found['files']} files, sides from {side['smallest']} to "
           f"{side['largest']} px (median {side['median']}), read in {duration(found['seconds'])}")  # fmt: skip
    _print_counts(console, "formats", found["formats"])
    _print_counts(console, "treated specially", found["notes"])
    for note in found["layout"]["notes"]:
        _print(console, f"note: {note}")
    _list(console, "skipped", [f"{item['path']}: {item['reason']}" for item in found["skipped"]])
    for kind, words in (("exact", "copies"), ("near", "near duplicates")):
        group = found["duplicates"][kind]
        if group["groups"]:
            _print(console, f"{words}: {group['images']} images in {group['groups']} groups, each kept in one split")
    _list(console, "the same picture with different labels", _labelled(found["duplicates"]["labels_differ"]))
    _list(console, "equal files with different labels, kept out of training", _labelled(found["conflicts"]))
    leaks = [f"{_some(leak['dropped'])} ({leak['split']}: {_some(leak['kept'])})" for leak in found["leaks"]]
    _list(console, "dropped from training, since another split has the same picture", leaks)
    similar = [_some(group) for group in found["similar_across_splits"]]
    _list(console, "similar pictures on both sides of the given splits, kept", similar)


def _class_rows(classes: Mapping[str, Mapping[str, int]]) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = [
        (name, *(counts[split] for split in SPLITS), sum(counts.values())) for name, counts in classes.items()
    ]
    totals = [sum(counts[split] for counts in classes.values()) for split in SPLITS]
    return [*rows, ("all", *totals, sum(totals))]


def _labelled(groups: Sequence[Sequence[Mapping[str, str]]]) -> list[str]:
    return [_some([f"{item['path']} ({item['label']})" for item in group]) for group in groups]


def _some(names: Sequence[str]) -> str:
    more = [f"and {len(names) - NAMED} more"] if len(names) > NAMED else []
    return ", ".join([*names[:NAMED], *more])


def _print_counts(console: "Console", title: str, counts: Mapping[str, int]) -> None:
    if counts:
        _print(console, f"{title}: " + ", ".join(f"{count} {name}" for name, count in counts.items()))


def _list(console: "Console", title: str, lines: Sequence[str]) -> None:
    """The first few of a list; all of them are in the JSON."""
    if not lines:
        return
    _print(console, f"{title}: {len(lines)}", style="yellow")
    for line in lines[:LISTED]:
        _print(console, f"  {line}")
    if len(lines) > LISTED:
        _print(console, f"  and {len(lines) - LISTED} more (--json lists them)")


def _print(console: "Console", text: str, style: str | None = None) -> None:
    console.print(visible(text), style=style, markup=False, soft_wrap=True)
